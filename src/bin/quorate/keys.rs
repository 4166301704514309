//! Keys of the engine helix: `quorate keygen`, and what `serve` reads.
//!
//! A secret key is 32 random bytes, in a file of its own as 64 hexadecimal digits, readable by its
//! owner only. A public key is the same in public: it stands in the configuration of every member.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use quorate::helix::protocol::keys::Ed25519;
use quorate::id::NodeId;

use crate::client::print;
use crate::exit::{Exit, Failure};

/// Make a secret key for a member of a helix cluster, and print the public key that belongs to it.
#[derive(Debug, clap::Args)]
pub(crate) struct Keygen {
    /// The file for the secret key; one that exists is never overwritten
    file: PathBuf,
    /// Make nothing: print the public key of the file that is there
    #[arg(long)]
    public: bool,
}

impl Keygen {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let secret = match self.public {
            true => read_secret(&self.file)?,
            false => {
                let secret = random()?;
                write_secret(&self.file, secret)?;
                secret
            }
        };
        print(format!("{}\n", hex(&Ed25519::public_of(secret))).as_bytes())
    }
}

/// A new secret key, from the operating system's random source.
///
/// # Errors
/// If the system has none.
pub(crate) fn random() -> Result<[u8; 32], Failure> {
    let mut secret = [0; 32];
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut secret));
    read.map_err(|error| Failure::new(Exit::Fatal, format!("/dev/urandom: {error}")))?;
    Ok(secret)
}

fn write_secret(path: &Path, secret: [u8; 32]) -> Result<(), Failure> {
    let wrong = |error: std::io::Error| {
        let why = match error.kind() {
            ErrorKind::AlreadyExists => {
                "it exists, and a key is never overwritten; choose another name, or print the \
                 public key of this one with --public"
                    .to_owned()
            }
            _ => error.to_string(),
        };
        Failure::refused(format!("the key file {} cannot be made: {why}", path.display()))
    };
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(wrong)?;
    let written = file.write_all(format!("{}\n", hex(&secret)).as_bytes());
    written.and_then(|()| file.sync_all()).map_err(wrong)
}

/// Reads a file that `quorate keygen` made.
///
/// # Errors
/// What is wrong with it, and what to do.
pub(crate) fn read_secret(path: &Path) -> Result<[u8; 32], Failure> {
    let place = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!(
            "the secret key {place} cannot be read: {error}; make one with `quorate keygen {place}`"
        ))
    })?;
    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!("the secret key {place} is readable by others; chmod 600 {place}");
    }
    parse(text.trim()).ok_or_else(|| {
        Failure::usage(format!("the secret key {place} is not 64 hexadecimal digits"))
    })
}

/// `ID=KEY,..`: the public key of each member.
///
/// # Errors
/// Which item makes no sense, or occurs twice.
pub(crate) fn public_keys(text: &str) -> Result<BTreeMap<NodeId, [u8; 32]>, String> {
    let mut keys = BTreeMap::new();
    for item in text.split(',').map(str::trim) {
        let (id, key) = item
            .split_once('=')
            .and_then(|(id, key)| Some((id.trim().parse().ok()?, parse(key.trim())?)))
            .ok_or_else(|| {
                format!(
                    "`{item}` is not ID=KEY, with a key of 64 digits as `quorate keygen` prints"
                )
            })?;
        if keys.insert(NodeId(id), key).is_some() {
            return Err(format!("node {id} occurs twice"));
        }
    }
    Ok(keys)
}

fn parse(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut key = [0; 32];
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
    }
    Some(key)
}

fn hex(key: &[u8; 32]) -> String {
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{hex, parse, public_keys, random, read_secret, write_secret};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_is_written_once_and_for_its_owner_only() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("key");
        let secret = random().expect("random bytes");
        write_secret(&path, secret).expect("written");
        assert_eq!(read_secret(&path).expect("read"), secret);
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = random().expect("random bytes");
        assert_ne!(other, secret);
        assert!(write_secret(&path, other).expect_err("it exists").message.contains("overwritten"));
        assert_eq!(read_secret(&path).expect("unchanged"), secret);
    }

    #[test]
    fn only_sixty_four_digits_are_a_key() {
        let key = [0xa7; 32];
        assert_eq!(parse(&hex(&key)), Some(key));
        assert_eq!(parse(&hex(&key).to_uppercase()), Some(key));
        for wrong in [&hex(&key)[1..], "", "zz", &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn each_mistake_in_a_list_of_keys_is_named() {
        let key = hex(&[1; 32]);
        assert_eq!(public_keys(&format!("1={key}, 2={key}")).expect("valid").len(), 2);
        assert!(public_keys(&format!("1={key},1={key}")).is_err_and(|why| why.contains("twice")));
        for wrong in [key.clone(), format!("x={key}"), "1=abc".to_owned(), String::new()] {
            assert!(public_keys(&wrong).is_err_and(|why| why.contains("is not ID=KEY")), "{wrong}");
        }
    }
}
