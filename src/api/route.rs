//! Which path is which endpoint.

use hyper::Method;

/// Everything that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Endpoint {
    Range,
    Put,
    DeleteRange,
    Txn,
    Compaction,
    LeaseGrant,
    LeaseRevoke,
    LeaseKeepAlive,
    LeaseTimeToLive,
    LeaseLeases,
    Watch,
    MemberList,
    MaintenanceStatus,
    Authenticate,
    Version,
    Health,
    Livez,
    Readyz,
    Metrics,
    Status,
    Unknown,
}

impl Endpoint {
    /// How many there are.
    pub(crate) const COUNT: usize = Self::Unknown as usize + 1;

    /// Every endpoint with its name in the metrics, in the order of declaration.
    pub(crate) const NAMES: [&'static str; Self::COUNT] = [
        "range",
        "put",
        "deleterange",
        "txn",
        "compaction",
        "lease_grant",
        "lease_revoke",
        "lease_keepalive",
        "lease_timetolive",
        "lease_leases",
        "watch",
        "member_list",
        "maintenance_status",
        "authenticate",
        "version",
        "health",
        "livez",
        "readyz",
        "metrics",
        "status",
        "unknown",
    ];

    /// The endpoint of a path. etcd 3.4 serves `/v3beta` as `/v3`, and no longer `/v3alpha`.
    pub(crate) fn of(path: &str) -> Self {
        match path.strip_prefix("/v3").map(|rest| rest.strip_prefix("beta").unwrap_or(rest)) {
            Some(rpc) => Self::of_rpc(rpc),
            None => match path {
                "/version" => Self::Version,
                "/health" => Self::Health,
                "/livez" => Self::Livez,
                "/readyz" => Self::Readyz,
                "/metrics" => Self::Metrics,
                "/quorate/v1/status" => Self::Status,
                _ => Self::Unknown,
            },
        }
    }

    fn of_rpc(rpc: &str) -> Self {
        match rpc {
            "/kv/range" => Self::Range,
            "/kv/put" => Self::Put,
            "/kv/deleterange" => Self::DeleteRange,
            "/kv/txn" => Self::Txn,
            "/kv/compaction" => Self::Compaction,
            "/lease/grant" => Self::LeaseGrant,
            "/lease/revoke" | "/kv/lease/revoke" => Self::LeaseRevoke,
            "/lease/keepalive" => Self::LeaseKeepAlive,
            "/lease/timetolive" | "/kv/lease/timetolive" => Self::LeaseTimeToLive,
            "/lease/leases" | "/kv/lease/leases" => Self::LeaseLeases,
            "/watch" => Self::Watch,
            "/cluster/member/list" => Self::MemberList,
            "/maintenance/status" => Self::MaintenanceStatus,
            "/auth/authenticate" => Self::Authenticate,
            _ => Self::Unknown,
        }
    }

    /// Whether it is asked for in this way: what reads only is a `GET`, a call is a `POST`.
    pub(crate) fn allows(self, method: &Method) -> bool {
        match self {
            Self::Version | Self::Health | Self::Livez | Self::Readyz | Self::Metrics => {
                method == Method::GET || method == Method::HEAD
            }
            Self::Status => method == Method::GET,
            Self::Unknown => true,
            _ => method == Method::POST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn both_prefixes_and_the_aliases_lead_to_the_same_call() {
        assert_eq!(Endpoint::of("/v3/kv/put"), Endpoint::Put);
        assert_eq!(Endpoint::of("/v3beta/kv/put"), Endpoint::Put);
        assert_eq!(Endpoint::of("/v3alpha/kv/put"), Endpoint::Unknown);
        assert_eq!(Endpoint::of("/v3/kv/put/"), Endpoint::Unknown);
        assert_eq!(Endpoint::of("/v3/kv/lease/revoke"), Endpoint::LeaseRevoke);
        assert_eq!(Endpoint::of("/livez"), Endpoint::Livez);
        let name = |endpoint: Endpoint| Endpoint::NAMES[endpoint as usize];
        assert_eq!(name(Endpoint::Unknown), "unknown");
        assert_eq!(name(Endpoint::LeaseLeases), "lease_leases");
    }
}
