//! Refusals as a client sees them: a gRPC code, etcd's text for it, and the HTTP status that
//! etcd's gateway derives from the code.

use hyper::StatusCode;

use crate::api::encode::{Object, push_text};
use crate::error::Refused;
use crate::kv::types::KvError;

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The HTTP status.
    pub(crate) status: StatusCode,
    /// The gRPC code.
    pub(crate) code: u8,
    /// What clients compare with; etcd's words where etcd has some.
    pub(crate) text: String,
}

/// gRPC codes, by their names.
pub(crate) mod code {
    pub(crate) const UNKNOWN: u8 = 2;
    pub(crate) const INVALID_ARGUMENT: u8 = 3;
    pub(crate) const NOT_FOUND: u8 = 5;
    pub(crate) const RESOURCE_EXHAUSTED: u8 = 8;
    pub(crate) const FAILED_PRECONDITION: u8 = 9;
    pub(crate) const UNIMPLEMENTED: u8 = 12;
    pub(crate) const INTERNAL: u8 = 13;
    pub(crate) const UNAVAILABLE: u8 = 14;
}

impl Failure {
    /// A failure whose HTTP status follows from its code.
    pub(crate) fn new(code: u8, text: impl Into<String>) -> Self {
        Self { status: status_of(code), code, text: text.into() }
    }

    /// The request cannot be understood.
    pub(crate) fn malformed(text: impl Into<String>) -> Self {
        Self::new(code::INVALID_ARGUMENT, text)
    }

    /// The same with another HTTP status.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Too much at a time; try again later.
    pub(crate) fn too_many_requests() -> Self {
        Refused::Overloaded.into()
    }

    /// The body that tells it.
    pub(crate) fn body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + 2 * self.text.len());
        let mut object = Object::new(&mut out);
        push_text(object.field("error"), &self.text);
        push_text(object.field("message"), &self.text);
        object.number("code", self.code.into());
        object.end();
        out
    }
}

/// What etcd's gateway answers for a gRPC code.
fn status_of(code: u8) -> StatusCode {
    match code {
        1 => StatusCode::REQUEST_TIMEOUT,
        3 | 11 => StatusCode::BAD_REQUEST,
        4 => StatusCode::GATEWAY_TIMEOUT,
        5 => StatusCode::NOT_FOUND,
        6 | 10 => StatusCode::CONFLICT,
        7 => StatusCode::FORBIDDEN,
        8 => StatusCode::TOO_MANY_REQUESTS,
        9 => StatusCode::PRECONDITION_FAILED,
        12 => StatusCode::NOT_IMPLEMENTED,
        14 => StatusCode::SERVICE_UNAVAILABLE,
        16 => StatusCode::UNAUTHORIZED,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl From<KvError> for Failure {
    fn from(error: KvError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let (code, text) = match &refused {
            Refused::Overloaded => (code::RESOURCE_EXHAUSTED, "etcdserver: too many requests"),
            Refused::TooLarge { .. } => {
                (code::INVALID_ARGUMENT, "etcdserver: request is too large")
            }
            Refused::DiskFull => {
                (code::RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded")
            }
            Refused::TimedOut => (code::UNAVAILABLE, "etcdserver: request timed out"),
            Refused::ShuttingDown => (code::UNAVAILABLE, "etcdserver: server stopped"),
            Refused::Compacted(_) => return Self::new(code::UNAVAILABLE, refused.to_string()),
        };
        Self::new(code, text)
    }
}

#[cfg(test)]
mod tests {
    use super::Failure;
    use crate::error::Refused;
    use crate::kv::types::KvError;

    #[test]
    fn a_failure_is_told_as_etcd_tells_it() {
        let failure = Failure::from(KvError::LeaseNotFound);
        assert_eq!(failure.status.as_u16(), 404);
        assert_eq!(
            String::from_utf8_lossy(&failure.body()),
            "{\"error\":\"etcdserver: requested lease not found\",\
             \"message\":\"etcdserver: requested lease not found\",\"code\":5}"
        );
    }

    #[test]
    fn each_refusal_has_the_status_of_its_code() {
        for (refused, status) in [
            (Refused::ShuttingDown, 503),
            (Refused::Overloaded, 429),
            (Refused::TooLarge { len: 2, len_max: 1 }, 400),
            (Refused::DiskFull, 429),
            (Refused::TimedOut, 503),
        ] {
            assert_eq!(Failure::from(refused).status.as_u16(), status);
        }
    }
}
