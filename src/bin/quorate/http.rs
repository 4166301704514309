//! The client's side of HTTP/1.1: one connection, one request at a time, nothing else.
//!
//! `httparse` reads the head; the body is framed by `content-length`, by chunks, or by the end of
//! the connection. [`Inbound`] is the pure part (bytes in, steps out); [`Connection`] adds the
//! socket. Requests are written by the caller, whole, with [`request`]: the load generator patches
//! a few bytes of one that it rendered before and pays one system call to send it.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;

use futures_lite::{AsyncRead, AsyncWriteExt};
use quorate::env::io::TcpStream;

/// A longer head is not one of a server that we talk to.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Header lines in one head.
const HEADERS_MAX: usize = 32;
/// A longer line with the size of a chunk is no such line.
const CHUNK_LINE_BYTES_MAX: usize = 256;
/// A whole body: four times the largest value that etcd takes by default, with room for many keys.
const BODY_BYTES_MAX: usize = 64 << 20;
/// What is read from the socket at once.
const READ_BYTES: usize = 16 << 10;

/// A `POST` (or a `GET`, if there is no body) with everything a server wants to know.
pub(crate) fn request(host: &str, path: &str, body: Option<&[u8]>) -> Vec<u8> {
    let Some(body) = body else {
        return format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n").into_bytes();
    };
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Head,
    /// So many bytes are still to come.
    Length(u64),
    /// The size of the next chunk is to come.
    ChunkSize,
    /// So many bytes of this chunk are still to come, then its end of line.
    Chunk(u64),
    /// The line end after a chunk is to come.
    ChunkEnd,
    /// The lines after the last chunk, up to an empty one.
    Trailer,
    UntilClose,
}

/// What the bytes received so far say.
#[derive(Debug, PartialEq, Eq)]
enum Step<'a> {
    /// More bytes are needed.
    More,
    /// A response begins, with this status.
    Head(u16),
    /// A piece of its body.
    Data(&'a [u8]),
    /// The response is complete.
    End,
}

/// The receiving half without its socket.
#[derive(Debug)]
struct Inbound {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    framing: Framing,
    /// The server will close the connection after this response.
    closes: bool,
}

impl Inbound {
    fn new() -> Self {
        Self { bytes: vec![0; READ_BYTES], start: 0, end: 0, framing: Framing::Head, closes: false }
    }

    /// Where the next bytes from the socket go; never empty.
    fn space(&mut self) -> &mut [u8] {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        } else if self.end == self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.bytes[self.end..]
    }

    fn filled(&mut self, len: usize) {
        self.end += len;
    }

    /// Takes the next step out of the bytes received.
    fn step(&mut self) -> io::Result<Step<'_>> {
        loop {
            match self.framing {
                Framing::Head => return self.head(),
                Framing::Length(0) => {
                    self.framing = Framing::Head;
                    return Ok(Step::End);
                }
                Framing::Length(left) => {
                    let (data, left) = self.take(left);
                    self.framing = Framing::Length(left);
                    return Ok(self.data(data));
                }
                Framing::ChunkSize => {
                    let Some(line) = self.line()? else {
                        return Ok(Step::More);
                    };
                    self.framing = match httparse::parse_chunk_size(&self.bytes[line]) {
                        Ok(httparse::Status::Complete((_, 0))) => Framing::Trailer,
                        Ok(httparse::Status::Complete((_, size))) => Framing::Chunk(size),
                        _ => return Err(malformed("the size of a chunk")),
                    };
                }
                Framing::Chunk(0) => self.framing = Framing::ChunkEnd,
                Framing::Chunk(left) => {
                    let (data, left) = self.take(left);
                    self.framing = Framing::Chunk(left);
                    return Ok(self.data(data));
                }
                Framing::ChunkEnd | Framing::Trailer => {
                    let Some(line) = self.line()? else {
                        return Ok(Step::More);
                    };
                    match (self.framing, line.len()) {
                        (Framing::ChunkEnd, 2) => self.framing = Framing::ChunkSize,
                        (Framing::ChunkEnd, _) => return Err(malformed("the end of a chunk")),
                        (_, 2) => self.framing = Framing::Length(0),
                        _ => {}
                    }
                }
                Framing::UntilClose => {
                    let (data, _) = self.take(u64::MAX);
                    return Ok(self.data(data));
                }
            }
        }
    }

    /// Up to `most` of the bytes at hand, and how many are then still to come.
    fn take(&mut self, most: u64) -> (std::ops::Range<usize>, u64) {
        let here = self.end - self.start;
        let len = usize::try_from(most).unwrap_or(usize::MAX).min(here);
        let range = self.start..self.start + len;
        self.start += len;
        (range, most - len as u64)
    }

    fn data(&self, range: std::ops::Range<usize>) -> Step<'_> {
        if range.is_empty() { Step::More } else { Step::Data(&self.bytes[range]) }
    }

    /// A whole line with its CR LF, if one is here.
    fn line(&mut self) -> io::Result<Option<std::ops::Range<usize>>> {
        let here = &self.bytes[self.start..self.end];
        match here.iter().position(|&byte| byte == b'\n') {
            Some(at) => Ok(Some(self.take(at as u64 + 1).0)),
            None if here.len() > CHUNK_LINE_BYTES_MAX => Err(malformed("a line of the body")),
            None => Ok(None),
        }
    }

    fn head(&mut self) -> io::Result<Step<'_>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let here = &self.bytes[self.start..self.end];
        let parsed = response.parse(here).map_err(|error| malformed(&error.to_string()))?;
        let httparse::Status::Complete(len) = parsed else {
            return if here.len() >= HEAD_BYTES_MAX {
                Err(malformed("the head, which is too long"))
            } else {
                Ok(Step::More)
            };
        };
        let status = response.code.unwrap_or(0);
        let mut framing = Framing::UntilClose;
        self.closes = response.version == Some(0);
        for header in response.headers.iter() {
            if header.name.eq_ignore_ascii_case("content-length") {
                let digits = std::str::from_utf8(header.value).unwrap_or("").trim();
                let length = digits.parse().map_err(|_| malformed("content-length"))?;
                framing = Framing::Length(length);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                framing = Framing::ChunkSize;
            } else if header.name.eq_ignore_ascii_case("connection") {
                self.closes = header.value.eq_ignore_ascii_case(b"close");
            }
        }
        if status == 204 || status == 304 {
            framing = Framing::Length(0);
        }
        self.closes |= framing == Framing::UntilClose;
        self.start += len;
        self.framing = framing;
        Ok(Step::Head(status))
    }

    /// Whether the end of the connection is the proper end of this response.
    fn may_end_here(&self) -> bool {
        self.framing == Framing::UntilClose
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("the server's answer is not HTTP/1.1: {what}"))
}

/// One connection to a server.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    inbound: Inbound,
    body: Vec<u8>,
}

/// A whole answer, as long as the connection is not used again.
#[derive(Debug)]
pub(crate) struct Response<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Connection {
    /// Connects, without delaying small requests.
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.send_at_once()?;
        Ok(Self { stream, inbound: Inbound::new(), body: Vec::new() })
    }

    /// Sends a whole request and waits for the whole answer.
    ///
    /// Not cancel safe: a connection whose exchange was dropped must be dropped, too.
    ///
    /// # Errors
    /// Whatever the socket says; `InvalidData` if the answer is not HTTP, `UnexpectedEof` if the
    /// server closes before its answer is complete.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Response<'_>> {
        self.stream.write_all(request).await?;
        let status = self.status().await?;
        self.body.clear();
        loop {
            match self.inbound.step()? {
                Step::Data(data) if self.body.len() + data.len() > BODY_BYTES_MAX => {
                    return Err(malformed("a body of more than 64 MiB"));
                }
                Step::Data(data) => self.body.extend_from_slice(data),
                Step::End => break,
                Step::Head(_) => {}
                Step::More => {
                    if !self.receive().await? {
                        break;
                    }
                }
            }
        }
        Ok(Response { status, body: &self.body })
    }

    /// Sends a whole request and waits for the head of the answer; [`piece`](Self::piece) yields
    /// the body as it comes.
    pub(crate) async fn begin(&mut self, request: &[u8]) -> io::Result<u16> {
        self.stream.write_all(request).await?;
        self.status().await
    }

    /// Waits for the next piece of the body and appends it to `to`; false after the last.
    pub(crate) async fn piece(&mut self, to: &mut Vec<u8>) -> io::Result<bool> {
        loop {
            match self.inbound.step()? {
                Step::Data(data) => {
                    to.extend_from_slice(data);
                    return Ok(true);
                }
                Step::End => return Ok(false),
                Step::Head(_) => {}
                Step::More => {
                    if !self.receive().await? {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Whether the server will close this connection, so that the next request needs another.
    pub(crate) fn closes(&self) -> bool {
        self.inbound.closes
    }

    /// The status of the next response; those that only announce one (1xx) are skipped.
    async fn status(&mut self) -> io::Result<u16> {
        loop {
            match self.inbound.step()? {
                Step::Head(100..=199) => self.inbound.framing = Framing::Head,
                Step::Head(status) => return Ok(status),
                _ => {
                    self.receive().await?;
                }
            }
        }
    }

    /// Reads once; false if the connection ended where it may.
    async fn receive(&mut self) -> io::Result<bool> {
        let space = self.inbound.space();
        let stream = &mut self.stream;
        let len = poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, space)).await?;
        self.inbound.filled(len);
        if len > 0 || self.inbound.may_end_here() {
            return Ok(len > 0);
        }
        Err(io::Error::new(
            ErrorKind::UnexpectedEof,
            "the server closed the connection before its answer was complete",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::{Inbound, Step, request};

    /// Feeds `wire` in pieces of `size` bytes; returns statuses and whole bodies.
    fn decode(wire: &[u8], size: usize) -> Result<Vec<(u16, Vec<u8>)>, String> {
        let mut inbound = Inbound::new();
        let mut responses = Vec::new();
        let mut open = (0, Vec::new());
        for piece in wire.chunks(size) {
            inbound.space()[..piece.len()].copy_from_slice(piece);
            inbound.filled(piece.len());
            loop {
                match inbound.step().map_err(|error| error.to_string())? {
                    Step::More => break,
                    Step::Head(status) => open = (status, Vec::new()),
                    Step::Data(data) => open.1.extend_from_slice(data),
                    Step::End => responses.push(std::mem::take(&mut open)),
                }
            }
        }
        Ok(responses)
    }

    const WIRE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello\
        HTTP/1.1 400 Bad Request\r\ntransfer-encoding: chunked\r\n\r\n\
        3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Trailer: 1\r\n\r\n\
        HTTP/1.1 204 No Content\r\n\r\n\
        HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

    #[test]
    fn responses_are_the_same_however_the_bytes_arrive() {
        let expected =
            vec![(200, b"hello".to_vec()), (400, b"abcde".to_vec()), (204, vec![]), (200, vec![])];
        for size in 1..=WIRE.len() {
            assert_eq!(decode(WIRE, size).expect("well formed"), expected, "size {size}");
        }
    }

    #[test]
    fn what_is_not_http_is_an_error_and_never_a_panic() {
        for wire in [
            &b"SSH-2.0-OpenSSH\r\n"[..],
            b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n",
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        ] {
            decode(wire, wire.len()).expect_err("malformed");
            decode(wire, 1).expect_err("malformed");
        }
        let endless = vec![b'a'; 1 << 20];
        let head = [&b"HTTP/1.1 200 OK\r\nx: "[..], &endless].concat();
        decode(&head, 1024).expect_err("a head without end");
    }

    #[test]
    fn a_request_carries_its_length() {
        let with_body = request("h:1", "/p", Some(b"{}"));
        assert!(with_body.ends_with(b"content-length: 2\r\n\r\n{}"));
        assert!(request("h:1", "/p", None).starts_with(b"GET /p HTTP/1.1\r\nhost: h:1\r\n"));
    }
}
