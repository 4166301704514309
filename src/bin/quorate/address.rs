//! An address to listen on is not always one to dial: `0.0.0.0`, `[::]` and port 0 mean "any".
//! Whoever dials them reaches itself, or nobody; so they are never told as the way to a member.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whether `authority`, which is `HOST:PORT` or `HOST`, names no place that can be dialled.
pub(crate) fn is_wildcard(authority: &str) -> bool {
    if let Ok(address) = authority.parse::<SocketAddr>() {
        return is_any(address.ip()) || address.port() == 0;
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port),
        _ => (authority, "1"),
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    // `0` and `0.0` are old ways to write 0.0.0.0, which resolvers still take.
    let zeros = !bare.is_empty() && bare.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    zeros || bare.parse().is_ok_and(is_any) || port.parse() == Ok(0u16)
}

/// Where a program on this machine reaches a listener that is bound to `address`.
pub(crate) fn from_here(address: SocketAddr) -> SocketAddr {
    let loopback = match address.ip() {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
    };
    let ip = if is_any(address.ip()) { loopback } else { address.ip() };
    SocketAddr::new(ip, address.port())
}

/// Whether `ip` stands for all addresses of a machine.
pub(crate) fn is_any(ip: IpAddr) -> bool {
    ip.to_canonical().is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::{from_here, is_wildcard};

    #[test]
    fn what_means_any_cannot_be_dialled() {
        for any in ["0.0.0.0:1", "[::]:1", "[::ffff:0.0.0.0]:1", "[::]", "0.0.0.0", "0:1", "a:0"] {
            assert!(is_wildcard(any), "{any}");
        }
        for one in ["127.0.0.1:1", "[::1]:1", "a:1", "a", "10.0.0.1", "[fe80::1]:1", "a0.b:10"] {
            assert!(!is_wildcard(one), "{one}");
        }
    }

    #[test]
    fn a_listener_on_all_addresses_is_reached_through_loopback() {
        for (bound, from) in
            [("0.0.0.0:5", "127.0.0.1:5"), ("[::]:5", "[::1]:5"), ("10.0.0.1:5", "10.0.0.1:5")]
        {
            assert_eq!(from_here(bound.parse().expect("one")), from.parse().expect("one"));
        }
    }
}
