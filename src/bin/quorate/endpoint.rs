//! Where the servers are: a list of URLs, resolved once.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

use crate::exit::{Exit, Failure};

/// The port that etcd's clients expect.
const PORT_DEFAULT: u16 = 2379;

/// What every command that talks to servers takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Endpoints {
    /// Servers to talk to, as http://HOST:PORT with commas between them. Without this option:
    /// QUORATE_ENDPOINTS, or else http://127.0.0.1:2379
    #[arg(long, value_name = "URL,..", value_delimiter = ',')]
    endpoints: Vec<String>,
}

impl Endpoints {
    /// The servers, in the order given; at least one.
    pub(crate) fn resolve(&self) -> Result<Vec<Endpoint>, Failure> {
        if !self.endpoints.is_empty() {
            return parse("--endpoints", &self.endpoints);
        }
        match std::env::var("QUORATE_ENDPOINTS") {
            Ok(list) if !list.is_empty() => {
                let urls: Vec<_> = list.split(',').map(str::to_owned).collect();
                parse("QUORATE_ENDPOINTS", &urls)
            }
            _ => parse("", &[format!("http://127.0.0.1:{PORT_DEFAULT}")]),
        }
    }
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// As a URL without a path would call it.
    pub(crate) host: String,
    pub(crate) address: SocketAddr,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.host)
    }
}

fn parse(source: &str, urls: &[String]) -> Result<Vec<Endpoint>, Failure> {
    urls.iter().map(|url| endpoint(source, url.trim())).collect()
}

fn endpoint(source: &str, url: &str) -> Result<Endpoint, Failure> {
    let wrong = |why: &str| {
        Failure::usage(format!("{source}: `{url}` {why}; write it as http://HOST:PORT"))
    };
    let host = match url.split_once("://") {
        Some(("http", host)) => host,
        Some(("https", _)) => return Err(wrong("asks for TLS, which is not supported yet")),
        Some(_) => return Err(wrong("is not an http URL")),
        None => url,
    };
    let host = host.strip_suffix('/').unwrap_or(host);
    if host.is_empty() || host.contains(['/', '?', '@', ' ']) {
        return Err(wrong("is not the address of a server"));
    }
    let has_port = host.rfind(':') > host.rfind(']');
    let host = if has_port && !host.ends_with(':') {
        host.to_owned()
    } else {
        format!("{}:{PORT_DEFAULT}", host.trim_end_matches(':'))
    };
    let port = host.rsplit(':').next().unwrap_or_default();
    if port.parse::<u16>().is_err() {
        return Err(wrong("has no proper port"));
    }
    let address = host.to_socket_addrs().ok().and_then(|mut found| found.next());
    let address = address.ok_or_else(|| {
        Failure::new(
            Exit::Unreachable,
            format!("{source}: no address is known for `{host}`; check its name"),
        )
    })?;
    Ok(Endpoint { host, address })
}

#[cfg(test)]
mod tests {
    use super::endpoint;

    #[test]
    fn an_endpoint_may_leave_out_what_is_usual() {
        for (url, address) in [
            ("http://127.0.0.1:4000", "127.0.0.1:4000"),
            ("http://127.0.0.1:4000/", "127.0.0.1:4000"),
            ("127.0.0.1", "127.0.0.1:2379"),
            ("http://[::1]:7", "[::1]:7"),
            ("[::1]", "[::1]:2379"),
        ] {
            let parsed = endpoint("", url).expect(url);
            assert_eq!(parsed.address.to_string(), address);
        }
    }

    #[test]
    fn what_is_no_endpoint_is_named_with_its_source() {
        for url in ["", "https://a", "ftp://a", "http://a/v3", "h:99999", "h:x", "http://u@h"] {
            let failure = endpoint("--endpoints", url).expect_err(url);
            assert!(failure.message.starts_with("--endpoints: `"), "{failure}");
        }
    }
}
