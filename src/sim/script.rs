//! Scenarios as text files.
