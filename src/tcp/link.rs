//! How a bare stream becomes a link with a known peer: the hello of both sides.
//!
//! It names no socket: a stream is anything that bytes go in and out of. The transport hands in TCP's;
//! a test, or a simulator, hands in its own.
//!
//! **This is the seam for encryption and authentication.** Today a peer is believed; a secure
//! channel is to be made here, between the connection and the hello, and to be kept in the [`Link`].
//! Nothing outside this file sees a stream whose peer is not known.
//!
//! The hello is 40 bytes in every version of the protocol, so that different versions can refuse
//! each other in words: magic (8), version (u16), verdict (u16), cluster (u64), sender (u64),
//! intended receiver (u64), CRC-32C of all before it (u32); little-endian.

use std::fmt;
use std::io;

use futures_lite::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::id::{ClusterId, NodeId};
use crate::tcp::stats::Cause;

/// The version of the protocol that this node speaks: hello, frames and the messages in them.
pub const VERSION: u16 = 2;

/// The first bytes of every connection between nodes.
pub const MAGIC: [u8; 8] = *b"quorate\0";

/// Bytes of a hello.
pub const HELLO: usize = 40;

/// Who a node says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Itself.
    pub node: NodeId,
}

/// A stream with a known peer at its other end.
#[derive(Debug)]
pub struct Link<S> {
    /// What carries it.
    pub stream: S,
    /// Who is at the other end.
    pub peer: NodeId,
}

/// Why an acceptor refuses a dialler, in the words that the dialler shows to its operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// It speaks another version.
    Version,
    /// It belongs to another cluster.
    Cluster,
    /// It is not the node that was meant.
    NotMe,
    /// The dialler is not in its list of peers.
    NotMember,
    /// The dialler bears its id.
    SameNode,
    /// A code that this version does not know.
    Other(u16),
}

impl Refusal {
    const KNOWN: [(u16, Self, Cause); 5] = [
        (1, Self::Version, Cause::Version),
        (2, Self::Cluster, Cause::Cluster),
        (3, Self::NotMe, Cause::NotMe),
        (4, Self::NotMember, Cause::NotMember),
        (5, Self::SameNode, Cause::SameNode),
    ];

    fn of_code(code: u16) -> Self {
        let known = Self::KNOWN.iter().find(|known| known.0 == code);
        known.map_or(Self::Other(code), |known| known.1)
    }

    /// The code and what the acceptor counts.
    fn row(self) -> (u16, Cause) {
        let known = Self::KNOWN.iter().find(|known| known.1 == self);
        known.map_or((u16::MAX, Cause::BadHello), |known| (known.0, known.2))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => {
                "it speaks another version of the protocol than this node: upgrade the older one"
            }
            Self::Cluster => {
                "it belongs to another cluster than this node: check its address and both clusters"
            }
            Self::NotMe => "another node lives at that address: correct the list of peers here",
            Self::NotMember => "it does not know this node: add this node to its list of peers",
            Self::SameNode => "it has this node's own id: give each node an id of its own",
            Self::Other(code) => return write!(f, "for a reason unknown to this version ({code})"),
        })
    }
}

/// Why no link came about, as the dialler sees it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoLink {
    /// The peer answered, and refused.
    #[error("it refused this node: {0}")]
    Refused(Refusal),
    /// Something else than a node answered, or another node than the one meant.
    #[error("what answers there is not that node: check the address and the port")]
    Stranger,
    /// Nothing answered in time.
    #[error("it did not answer in time")]
    TimedOut,
    /// The operating system's reason.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What either side says first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// The version of the protocol.
    pub version: u16,
    /// Zero from a dialler and from an acceptor that welcomes; otherwise the code of a refusal.
    pub verdict: u16,
    /// The sender's cluster.
    pub cluster: ClusterId,
    /// The sender.
    pub from: NodeId,
    /// Whom the sender means.
    pub to: NodeId,
}

impl Hello {
    /// The hello of `identity` to `to`.
    #[must_use]
    pub fn new(identity: Identity, to: NodeId, verdict: u16) -> Self {
        Self { version: VERSION, verdict, cluster: identity.cluster, from: identity.node, to }
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HELLO] {
        let mut bytes = [0; HELLO];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.version.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.verdict.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.cluster.0.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.from.0.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.to.0.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..36]);
        bytes[36..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads it back. Of another version only the version is believed.
    ///
    /// # Errors
    /// [`Cause::NotANode`] without the magic, [`Cause::BadHello`] with a wrong checksum.
    pub fn decode(bytes: &[u8; HELLO]) -> Result<Self, Cause> {
        if bytes[..8] != MAGIC {
            return Err(Cause::NotANode);
        }
        let short = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let long = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let hello = Self {
            version: short(8),
            verdict: short(10),
            cluster: ClusterId(long(12)),
            from: NodeId(long(20)),
            to: NodeId(long(28)),
        };
        let intact = crc32c::crc32c(&bytes[..36]).to_le_bytes() == bytes[36..];
        if hello.version == VERSION && !intact {
            return Err(Cause::BadHello);
        }
        Ok(hello)
    }
}

/// The acceptor's judgement of a dialler.
fn judge(
    hello: &Hello,
    identity: Identity,
    is_peer: impl Fn(NodeId) -> bool,
) -> Result<(), Refusal> {
    if hello.version != VERSION {
        return Err(Refusal::Version);
    }
    if hello.cluster != identity.cluster {
        return Err(Refusal::Cluster);
    }
    if hello.from == identity.node {
        return Err(Refusal::SameNode);
    }
    if hello.to != identity.node {
        return Err(Refusal::NotMe);
    }
    if !is_peer(hello.from) {
        return Err(Refusal::NotMember);
    }
    Ok(())
}

/// Makes a link of an accepted stream, or says why not. The caller limits the time.
///
/// Cancel safe in that dropping it closes the stream.
pub(super) async fn accepted<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    identity: Identity,
    is_peer: impl Fn(NodeId) -> bool,
) -> Result<Link<S>, Cause> {
    let mut bytes = [0; HELLO];
    // The magic alone first: a stranger that says little is not waited for.
    let (magic, rest) = bytes.split_at_mut(MAGIC.len());
    stream.read_exact(magic).await.map_err(|_| Cause::NoHello)?;
    if *magic != MAGIC {
        return Err(Cause::NotANode);
    }
    stream.read_exact(rest).await.map_err(|_| Cause::NoHello)?;
    let hello = Hello::decode(&bytes)?;
    let verdict = judge(&hello, identity, is_peer);
    let code = verdict.map_or_else(|refusal| refusal.row().0, |()| 0);
    let answer = Hello::new(identity, hello.from, code).encode();
    // A dialler that went away meanwhile is noticed by whoever reads next.
    let answered = stream.write_all(&answer).await;
    match verdict {
        Err(refusal) => Err(refusal.row().1),
        Ok(()) => answered.map_err(|_| Cause::NoHello).map(|()| Link { stream, peer: hello.from }),
    }
}

/// Makes a link with `peer` of a stream that this node opened, or says why not. The caller limits the
/// time.
///
/// Cancel safe in that dropping it closes the stream.
pub(super) async fn dialled<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    identity: Identity,
    peer: NodeId,
) -> Result<Link<S>, NoLink> {
    let hello = Hello::new(identity, peer, 0).encode();
    stream.write_all(&hello).await?;
    let mut bytes = [0; HELLO];
    stream.read_exact(&mut bytes).await?;
    let answer = Hello::decode(&bytes).map_err(|_| NoLink::Stranger)?;
    if answer.version != VERSION {
        return Err(NoLink::Refused(Refusal::Version));
    }
    if answer.verdict != 0 {
        return Err(NoLink::Refused(Refusal::of_code(answer.verdict)));
    }
    if answer.cluster != identity.cluster || answer.from != peer || answer.to != identity.node {
        return Err(NoLink::Stranger);
    }
    Ok(Link { stream, peer })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, zip};
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::rc::Rc;
    use std::task::{Context, Poll};

    type Pipe = Rc<RefCell<VecDeque<u8>>>;

    /// One end of two pipes, through which one byte goes at a time. It ends when it is told so.
    struct End {
        from: Pipe,
        to: Pipe,
        /// After so many bytes the other side is gone.
        left: usize,
    }

    impl AsyncRead for End {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            if self.left == 0 {
                return Poll::Ready(Ok(0));
            }
            let byte = self.from.borrow_mut().pop_front();
            let Some(byte) = byte else {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            };
            self.left -= 1;
            buf[0] = byte;
            Poll::Ready(Ok(1))
        }
    }

    impl AsyncWrite for End {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.to.borrow_mut().push_back(buf[0]);
            Poll::Ready(Ok(1))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn pipe() -> (End, End) {
        let (there, back) = (Pipe::default(), Pipe::default());
        let one = End { from: back.clone(), to: there.clone(), left: usize::MAX };
        (one, End { from: there, to: back, left: usize::MAX })
    }

    fn node(cluster: u64, node: u64) -> Identity {
        Identity { cluster: ClusterId(cluster), node: NodeId(node) }
    }

    /// Node 1 of cluster 7 dials `to`; `other` accepts, and knows node 1 if `knows`.
    fn meet(to: u64, other: Identity, knows: bool) -> (Result<u64, String>, Result<u64, Cause>) {
        let (one, two) = pipe();
        let dials = dialled(one, node(7, 1), NodeId(to));
        let accepts = accepted(two, other, |peer| knows && peer == NodeId(1));
        let (dialled, accepted) = block_on(zip(dials, accepts));
        let dialled = dialled.map(|link| link.peer.0).map_err(|why| why.to_string());
        (dialled, accepted.map(|link| link.peer.0))
    }

    #[test]
    fn two_nodes_of_one_cluster_know_each_other() {
        assert_eq!(meet(2, node(7, 2), true), (Ok(2), Ok(1)));
    }

    #[test]
    fn a_refusal_is_told_in_words_and_counted() {
        let refused = |met: (Result<u64, String>, Result<u64, Cause>), word: &str, cause| {
            assert!(met.0.expect_err("refused").contains(word));
            assert_eq!(met.1, Err(cause));
        };
        refused(meet(2, node(8, 2), true), "another cluster", Cause::Cluster);
        refused(meet(2, node(7, 3), true), "another node lives", Cause::NotMe);
        refused(meet(2, node(7, 2), false), "does not know this node", Cause::NotMember);
        refused(meet(2, node(7, 1), true), "own id", Cause::SameNode);
    }

    #[test]
    fn a_hello_that_ends_early_or_is_damaged_makes_no_link() {
        let hello = Hello::new(node(7, 1), NodeId(2), 0).encode();
        let accept = |bytes: &[u8], left| {
            let (one, mut two) = pipe();
            one.to.borrow_mut().extend(bytes);
            two.left = left;
            block_on(accepted(two, node(7, 2), |_| true)).map(|link| link.peer.0)
        };
        assert_eq!(accept(&hello, HELLO), Ok(1));
        for left in 0..HELLO {
            assert_eq!(accept(&hello, left), Err(Cause::NoHello), "after {left} bytes");
        }
        for at in 0..HELLO {
            let mut damaged = hello;
            for bit in 0..8 {
                damaged[at] = hello[at] ^ (1 << bit);
                assert!(accept(&damaged, HELLO).is_err(), "bit {bit} of byte {at} flipped");
            }
        }
    }
}
