//! `put`, `get` and `del`: one request each. Keys and values are bytes; they are printed as they
//! are, a key and its value on a line each.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;

use serde_json::{Map, Value, json};

use crate::client::{Repeat, ask, base64, bytes_of, number_of, parsed, prefix_end, print, run};
use crate::endpoint::Endpoints;
use crate::exit::Failure;

/// Store a value under a key.
#[derive(Debug, clap::Args)]
pub(crate) struct Put {
    key: OsString,
    /// The value; - reads it from standard input
    value: OsString,
    /// The lease that the key ends with, in hexadecimal
    #[arg(long, value_parser = lease)]
    lease: Option<i64>,
    #[command(flatten)]
    endpoints: Endpoints,
}

/// Show a key's value, or all keys with a prefix.
#[derive(Debug, clap::Args)]
pub(crate) struct Get {
    key: OsString,
    /// All keys that begin with KEY
    #[arg(long)]
    prefix: bool,
    /// The state as it was at this revision; 0 is the latest
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    rev: i64,
    /// At most so many keys; 0 is no limit
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    limit: i64,
    /// Print no values
    #[arg(long, conflicts_with = "value_only")]
    keys_only: bool,
    /// Print no keys
    #[arg(long)]
    value_only: bool,
    /// Print the server's answer as it is
    #[arg(long)]
    json: bool,
    /// Be content with what the asked node knows: quicker, needs no quorum, may be old
    #[arg(long)]
    stale: bool,
    #[command(flatten)]
    endpoints: Endpoints,
}

/// Delete a key, or all keys with a prefix; prints how many there were.
#[derive(Debug, clap::Args)]
pub(crate) struct Del {
    key: OsString,
    /// All keys that begin with KEY
    #[arg(long)]
    prefix: bool,
    #[command(flatten)]
    endpoints: Endpoints,
}

fn lease(text: &str) -> Result<i64, String> {
    i64::from_str_radix(text, 16).map_err(|_| "a lease is a hexadecimal number".into())
}

impl Put {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let mut value = self.value.into_vec();
        if value == b"-" {
            value.clear();
            let read = std::io::stdin().lock().read_to_end(&mut value);
            read.map_err(|error| Failure::usage(format!("standard input: {error}")))?;
        }
        let mut body = json!({
            "key": base64(&self.key.into_vec()),
            "value": base64(&value),
        });
        if let Some(lease) = self.lease {
            body["lease"] = json!(lease.to_string());
        }
        let endpoints = self.endpoints.resolve()?;
        run(ask(&endpoints, "/v3/kv/put", &body, Repeat::Never))?;
        print(b"OK\n")
    }
}

impl Get {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let endpoints = self.endpoints.resolve()?;
        let mut body = range(self.key.clone(), self.prefix);
        if self.rev > 0 {
            body.insert("revision".into(), json!(self.rev.to_string()));
        }
        if self.limit > 0 {
            body.insert("limit".into(), json!(self.limit.to_string()));
        }
        if self.keys_only {
            body.insert("keys_only".into(), json!(true));
        }
        if self.stale {
            body.insert("serializable".into(), json!(true));
        }
        let body = Value::Object(body);
        let answer = run(ask(&endpoints, "/v3/kv/range", &body, Repeat::Harmless))?;
        if self.json {
            return print(&[answer.trim_ascii_end(), b"\n"].concat());
        }
        let answer = parsed(&answer)?;
        let found = answer.get("kvs").and_then(Value::as_array);
        let found = found.map_or(&[][..], Vec::as_slice);
        if found.is_empty() && !self.prefix {
            let key = self.key.to_string_lossy();
            return Err(Failure::refused(format!("there is no key `{key}`")));
        }
        let mut text = Vec::new();
        for entry in found {
            if !self.value_only {
                text.extend(bytes_of(entry, "key")?);
                text.push(b'\n');
            }
            if !self.keys_only {
                text.extend(bytes_of(entry, "value")?);
                text.push(b'\n');
            }
        }
        print(&text)
    }
}

impl Del {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let endpoints = self.endpoints.resolve()?;
        let body = Value::Object(range(self.key, self.prefix));
        let answer = run(ask(&endpoints, "/v3/kv/deleterange", &body, Repeat::Never))?;
        let deleted = number_of(&parsed(&answer)?, "deleted");
        print(format!("{deleted}\n").as_bytes())
    }
}

/// The fields that name one key or all keys with a prefix.
pub(crate) fn range(key: OsString, prefix: bool) -> Map<String, Value> {
    let mut key = key.into_vec();
    let mut fields = Map::new();
    if prefix {
        fields.insert("range_end".into(), json!(base64(&prefix_end(&key))));
        if key.is_empty() {
            key.push(0);
        }
    }
    fields.insert("key".into(), json!(base64(&key)));
    fields
}
