//! What can be configured, as one table, and where each value comes from: a flag, or else the
//! environment, or else the file, or else the default.
//!
//! Everything is text here, with its source; [`settings`](crate::settings) gives it types and says
//! what makes no sense, naming the source.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command};
use toml::de::{DeTable, DeValue};

use crate::exit::Failure;

/// How a value is written in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Text,
    /// Texts with commas between them; in the file, a list.
    List,
}

/// One thing that can be configured.
#[derive(Debug)]
struct Field {
    /// Its name in the file.
    key: &'static str,
    flag: &'static str,
    /// Its name in the environment. Others that begin with `QUORATE_` are left alone: orchestrators
    /// put such names there for their own ends.
    variable: &'static str,
    kind: Kind,
    /// Empty if it follows from others.
    default: &'static str,
    value_name: &'static str,
    help: &'static str,
}

macro_rules! fields {
    ($($key:literal $flag:literal $variable:literal $kind:ident $default:literal
        $value_name:literal $help:literal;)*) => {
        &[$(Field {
            key: $key, flag: $flag, variable: $variable, kind: Kind::$kind, default: $default,
            value_name: $value_name, help: $help,
        }),*]
    };
}

const FIELDS: &[Field] = fields! {
    "node_id" "node-id" "QUORATE_NODE_ID" Number "1" "ID"
        "The number of this node in its cluster, 1 or greater, never used for another node";
    "name" "name" "QUORATE_NAME" Text "" "NAME"
        "Its name, for people [default: node-ID]";
    "data_dir" "data-dir" "QUORATE_DATA_DIR" Text "quorate-data" "DIR"
        "Where everything durable is; one node each";
    "cluster" "cluster" "QUORATE_CLUSTER" List "" "ID=HOST:PORT,.."
        "All members and where they listen for each other [default: this node alone]";
    "cluster_name" "cluster-name" "QUORATE_CLUSTER_NAME" Text "quorate" "NAME"
        "Nodes talk to nodes of their own cluster only; the cluster's id is made of this name";
    "cluster_id" "cluster-id" "QUORATE_CLUSTER_ID" Text "" "HEX"
        "The cluster's id itself, 1 to 16 hexadecimal digits, instead of a name";
    "listen_client" "listen-client" "QUORATE_LISTEN_CLIENT" Text "127.0.0.1:2379" "ADDR:PORT"
        "Where clients are served; port 0 takes a free one";
    "listen_peer" "listen-peer" "QUORATE_LISTEN_PEER" Text "127.0.0.1:2380" "ADDR:PORT"
        "Where the other members are heard; not opened by a node alone";
    "advertise_client" "advertise-client" "QUORATE_ADVERTISE_CLIENT" List "" "[ID=]URL,.."
        "Where clients are told to find this node, and ID=URL where to find others [default: where \
         clients are served, unless that is a wildcard as 0.0.0.0]";
    "engine" "engine" "QUORATE_ENGINE" Text "raft" "raft|helix"
        "How the members agree: raft, if they may crash; helix, if fewer than a third of them may \
         do anything at all (four members at least, and keys)";
    "secret_key" "secret-key" "QUORATE_SECRET_KEY" Text "" "FILE"
        "For helix: the file with this member's secret key, as `quorate keygen` makes it";
    "member_keys" "member-keys" "QUORATE_MEMBER_KEYS" List "" "ID=KEY,.."
        "For helix: the public keys of all members, as `quorate keygen` prints them";
    "timing" "timing" "QUORATE_TIMING" Text "lan" "lan|wan|flash"
        "How patient the node is: for one building, between cities, or for boards with slow flash";
    "heartbeat_ms" "heartbeat-ms" "QUORATE_HEARTBEAT_MS" Number "" "MS"
        "Instead of the preset: the longest silence of a leader";
    "election_min_ms" "election-min-ms" "QUORATE_ELECTION_MIN_MS" Number "" "MS"
        "Instead of the preset: the shortest wait before an election, at least three heartbeats";
    "election_max_ms" "election-max-ms" "QUORATE_ELECTION_MAX_MS" Number "" "MS"
        "Instead of the preset: the longest such wait";
    "view_timeout_ms" "view-timeout-ms" "QUORATE_VIEW_TIMEOUT_MS" Number "" "MS"
        "For helix, instead of the preset: how long the first leader of a height has; each next \
         one has twice as long";
    "view_timeout_max_ms" "view-timeout-max-ms" "QUORATE_VIEW_TIMEOUT_MAX_MS" Number "" "MS"
        "For helix, instead of the preset: the longest such time; 0 for no limit";
    "sync" "sync" "QUORATE_SYNC" Text "auto" "auto|inline|thread"
        "Where the disk is waited for: measured at start, on the loop (fast disks), or on a \
         helper thread (slow ones)";
    "history_revisions" "history-revisions" "QUORATE_HISTORY_REVISIONS" Number "" "N"
        "Revisions of history kept for reads of the past and for watches; for the whole cluster";
    "history_bytes" "history-bytes" "QUORATE_HISTORY_BYTES" Number "" "BYTES"
        "Bytes of history kept; for the whole cluster";
    "quota_bytes" "quota-bytes" "QUORATE_QUOTA_BYTES" Number "" "BYTES"
        "Bytes of keys and values beyond which puts are refused; for the whole cluster";
    "log" "log" "QUORATE_LOG" Text "warn" "LEVEL"
        "What is logged to standard error: off, error, warn, info, debug or trace";
};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    Default,
    File { path: PathBuf, line: usize },
    Environment(&'static str),
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// A value as it was written, and where.
#[derive(Debug, Clone)]
pub(crate) struct Given {
    pub(crate) text: String,
    pub(crate) source: Source,
}

/// A value for each field that has one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Values(BTreeMap<&'static str, Given>);

/// The flags of all fields, for `clap`.
#[derive(Debug, Clone)]
pub(crate) struct Flags {
    values: Values,
    /// The file, if one was named.
    config: Option<PathBuf>,
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("A TOML file with what is not given by flag or environment (QUORATE_CONFIG)");
        let command = command.arg(config);
        FIELDS.iter().fold(command, |command, field| {
            let help = if field.default.is_empty() {
                field.help.to_owned()
            } else {
                format!("{} [default: {}]", field.help, field.default)
            };
            let arg = Arg::new(field.key)
                .long(field.flag)
                .value_name(field.value_name)
                .action(ArgAction::Set)
                .help(help);
            command.arg(arg)
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut values = Values::default();
        for field in FIELDS {
            if let Some(text) = matches.get_one::<String>(field.key) {
                values.set(field, text.clone(), Source::Flag(field.flag));
            }
        }
        let config = matches.get_one("config").cloned();
        Ok(Self { values, config })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Flags {
    /// No flag at all.
    pub(crate) fn none() -> Self {
        Self { values: Values::default(), config: None }
    }

    /// Adds the environment, the file and the defaults to what the flags say.
    ///
    /// # Errors
    /// If the file cannot be read, is not TOML or has a key that means nothing.
    pub(crate) fn gather(&self) -> Result<Values, Failure> {
        let variable = std::env::var_os("QUORATE_CONFIG").filter(|path| !path.is_empty());
        let Some(path) = self.config.clone().or(variable.map(PathBuf::from)) else {
            return self.gather_with(None);
        };
        let text = fs::read_to_string(&path).map_err(|error| {
            let path = path.display();
            Failure::usage(format!("the configuration file {path} cannot be read: {error}"))
        })?;
        self.gather_with(Some((&path, &text)))
    }

    /// The same with a file that has been read, or with none.
    ///
    /// # Errors
    /// As [`gather`](Self::gather).
    pub(crate) fn gather_with(&self, file: Option<(&Path, &str)>) -> Result<Values, Failure> {
        let mut values = Values::default();
        for field in FIELDS.iter().filter(|field| !field.default.is_empty()) {
            values.set(field, field.default.to_owned(), Source::Default);
        }
        if let Some((path, text)) = file {
            values.read_file(path, text)?;
        }
        for field in FIELDS {
            match std::env::var(field.variable) {
                Ok(text) if text.is_empty() => {}
                Ok(text) => values.set(field, text, Source::Environment(field.variable)),
                Err(std::env::VarError::NotPresent) => {}
                Err(error) => {
                    return Err(Failure::usage(format!("{}: {error}", field.variable)));
                }
            }
        }
        values.0.extend(self.values.0.clone());
        values.give_way("cluster_name", "cluster_id");
        Ok(values)
    }
}

impl Values {
    /// The value of `key`, if it has one.
    pub(crate) fn get(&self, key: &str) -> Option<&Given> {
        self.0.get(key)
    }

    /// The effective configuration as a file that would cause it, with sources as comments.
    pub(crate) fn to_toml(&self) -> String {
        let mut out = String::new();
        for field in FIELDS {
            let Some(Given { text, source }) = self.0.get(field.key) else {
                out += &format!("# {} is not set\n", field.key);
                continue;
            };
            let value = match field.kind {
                // A flag may have more zeros and signs than the file. What is not a number is refused
                // before anything is printed.
                Kind::Number => {
                    text.trim().parse::<u64>().map_or_else(|_| text.clone(), |n| n.to_string())
                }
                Kind::Text => quoted(text),
                Kind::List => {
                    let items: Vec<_> = text.split(',').map(|item| quoted(item.trim())).collect();
                    format!("[{}]", items.join(", "))
                }
            };
            out += &format!("{} = {value}  # {source}\n", field.key);
        }
        out
    }

    /// A default that nobody asked for gives way to what was given in its stead.
    fn give_way(&mut self, key: &'static str, to: &str) {
        let is_default = |given: &Given| given.source == Source::Default;
        if self.get(to).is_some() && self.get(key).is_some_and(is_default) {
            self.0.remove(key);
        }
    }

    fn set(&mut self, field: &'static Field, text: String, source: Source) {
        self.0.insert(field.key, Given { text, source });
    }

    /// Adds what the file says.
    fn read_file(&mut self, path: &Path, text: &str) -> Result<(), Failure> {
        let line = |at: usize| text[..at].matches('\n').count() + 1;
        let wrong = |at: usize, why: String| {
            Failure::usage(format!("{}:{}: {why}", path.display(), line(at)))
        };
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            wrong(at, error.message().to_owned())
        })?;
        for (key, value) in table.get_ref() {
            let at = key.span().start;
            let name = key.get_ref().as_ref();
            let Some(field) = FIELDS.iter().find(|field| field.key == name) else {
                let known: Vec<_> = FIELDS.iter().map(|field| field.key).collect();
                let why = format!("`{name}` means nothing; known are: {}", known.join(", "));
                return Err(wrong(at, why));
            };
            let text = file_text(field.kind, value.get_ref()).map_err(|why| {
                let found = value.get_ref().type_str();
                wrong(at, format!("{name} must be {why}, but is of type {found}"))
            })?;
            let path = path.to_owned();
            let source = Source::File { path, line: line(at) };
            self.set(field, text, source);
        }
        Ok(())
    }
}

/// A value of the file as a flag would give it.
fn file_text(kind: Kind, value: &DeValue<'_>) -> Result<String, &'static str> {
    match (kind, value) {
        (Kind::Number, DeValue::Integer(number)) if number.radix() == 10 => {
            Ok(number.as_str().replace('_', ""))
        }
        (Kind::Number, _) => Err("a decimal number"),
        (Kind::Text | Kind::List, DeValue::String(text)) => Ok(text.clone().into_owned()),
        (Kind::Text, _) => Err("a text in quotes"),
        (Kind::List, DeValue::Array(items)) => {
            let items = items.iter().map(|item| item.get_ref().as_str());
            let items: Option<Vec<_>> = items.collect();
            Ok(items.ok_or("a list of texts in quotes")?.join(","))
        }
        (Kind::List, _) => Err("a list of texts in quotes"),
    }
}

/// JSON's way to quote is one of TOML's, too, but for one character.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::{FIELDS, Source, Values};
    use std::path::Path;

    fn read(text: &str) -> Result<Values, String> {
        let mut values = Values::default();
        let read = values.read_file(Path::new("q.toml"), text);
        read.map(|()| values).map_err(|failure| failure.message)
    }

    #[test]
    fn names_follow_from_keys() {
        for field in FIELDS {
            assert_eq!(field.flag, field.key.replace('_', "-"));
            assert_eq!(field.variable, format!("QUORATE_{}", field.key.to_uppercase()));
        }
    }

    #[test]
    fn what_is_printed_reads_the_same() {
        let text = "name = \"a \\\"b\\\" \\\\ \\u007f\"\ncluster = [\"1=a:1\", \"2=b:2\"]\nnode_id = 1_0\n";
        let values = read(text).expect("valid");
        let again = read(&values.to_toml()).expect("valid");
        for key in ["name", "cluster", "node_id"] {
            let text = |values: &Values| values.get(key).expect("given").text.clone();
            assert_eq!(text(&values), text(&again));
        }
        assert_eq!(values.get("node_id").expect("given").text, "10");
    }

    #[test]
    fn a_number_is_printed_as_the_file_may_have_it() {
        let mut values = Values::default();
        let node = FIELDS.iter().find(|field| field.key == "node_id").expect("a field");
        for text in ["007", "+7", " 7 "] {
            values.set(node, text.into(), Source::Flag(node.flag));
            let again = read(&values.to_toml()).expect(text);
            assert_eq!(again.get("node_id").expect("given").text, "7", "{text}");
        }
    }

    #[test]
    fn each_mistake_of_a_file_is_named_with_its_line() {
        for (text, message) in [
            ("\nnodeid = 1", "q.toml:2: `nodeid` means nothing; known are: node_id, name"),
            ("node_id = \"1\"", "q.toml:1: node_id must be a decimal number"),
            ("\n\nname = 3", "q.toml:3: name must be a text in quotes"),
            ("cluster = [1]", "q.toml:1: cluster must be a list of texts in quotes"),
            ("name = \"a\"\nname = \"b\"", "q.toml:2: duplicate key"),
            ("a b", "q.toml:1: "),
        ] {
            let found = read(text).expect_err(text);
            assert!(found.starts_with(message), "{found}");
        }
    }
}
