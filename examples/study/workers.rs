//! Other processes: this program started again, to do one thing.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A process that ends, and is waited for, when this is dropped.
#[derive(Debug)]
pub(crate) struct Worker(Child);

impl Worker {
    /// Starts this program as `job`, with its input and output in pipes of ours.
    pub(crate) fn start(job: &[&str]) -> io::Result<(Self, ChildStdin, ChildStdout)> {
        let mut child = command(job)?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("a process without pipes"));
        };
        Ok((Self(child), input, output))
    }

    /// Holds a process that was started otherwise.
    pub(crate) fn of(child: Child) -> Self {
        Self(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// This program as `job`, not started yet.
pub(crate) fn command(job: &[&str]) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--job").args(job);
    Ok(command)
}

/// Runs this program as `job` to its end and returns the numbers that it printed.
pub(crate) fn numbers(job: &[&str]) -> io::Result<Vec<f64>> {
    let output = command(job)?.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("{job:?}: {}", output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let parse = |word: &str| word.parse().map_err(|_| io::Error::other(format!("{job:?}: {text}")));
    text.split_whitespace().map(parse).collect()
}

/// This process's input, without a buffer.
pub(crate) fn input() -> io::Result<File> {
    Ok(owned(io::stdin().as_fd().try_clone_to_owned()?))
}

/// This process's output, without a buffer.
pub(crate) fn output() -> io::Result<File> {
    Ok(owned(io::stdout().as_fd().try_clone_to_owned()?))
}

fn owned(descriptor: OwnedFd) -> File {
    File::from(descriptor)
}
