//! As much of HTTP/1.1 (RFC 9112) as a greeting needs.

use std::io;
use std::net::SocketAddr;

/// A request without a body; `close` asks the server to end the connection.
pub(crate) fn request(path: &str, host: SocketAddr, close: bool) -> Vec<u8> {
    let connection = if close { "close" } else { "keep-alive" };
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n\r\n").into_bytes()
}

/// The answer of a server called `name` to a peer that it sees as `peer`.
pub(crate) fn greeting(name: &str, asked: &Request, peer: SocketAddr) -> Vec<u8> {
    let path = match asked.path.as_str() {
        "/" => String::new(),
        path => format!(" at {path}"),
    };
    let body = format!("hello from {name}{path}, you are {peer}\n");
    let connection = if asked.close { "close" } else { "keep-alive" };
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: {connection}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The server's name in a [`greeting`], and the peer's address as it saw it.
pub(crate) fn greeting_in(body: &str) -> Option<(&str, SocketAddr)> {
    let (hello, peer) = body.trim_end().rsplit_once(", you are ")?;
    let name = hello.strip_prefix("hello from ")?.split(' ').next()?;
    Some((name, peer.parse().ok()?))
}

/// The peer's address in a [`greeting`], as the server saw it.
pub(crate) fn peer_in(body: &str) -> Option<SocketAddr> {
    greeting_in(body).map(|(_, peer)| peer)
}

/// What a client asks for.
pub(crate) struct Request {
    path: String,
    close: bool,
}

impl Request {
    /// Takes one whole request off the front of `buffer`; `None` until its
    /// last line is there.
    ///
    /// # Errors
    /// `InvalidData` if it is no request, or has not ended after 8 KiB.
    pub(crate) fn take(buffer: &mut Vec<u8>) -> io::Result<Option<Self>> {
        let Some(end) = end_of_head(buffer) else {
            if buffer.len() > LARGEST_HEAD {
                return Err(invalid("the request has no end"));
            }
            return Ok(None);
        };
        let head: Vec<u8> = buffer.drain(..end).collect();
        let head = str::from_utf8(&head).map_err(|_| invalid("the request is not text"))?;
        let mut words = head.split(' ');
        let (Some("GET"), Some(path)) = (words.next(), words.next()) else {
            return Err(invalid("the request is not a GET"));
        };
        let close = head
            .lines()
            .any(|line| line.eq_ignore_ascii_case("connection: close"));
        Ok(Some(Self {
            path: path.to_owned(),
            close,
        }))
    }

    /// Whether the connection ends with the answer.
    pub(crate) fn closes(&self) -> bool {
        self.close
    }
}

/// Takes the body of one whole answer off the front of `buffer`; `None` until
/// all of it is there.
///
/// # Errors
/// `InvalidData` if it is no answer with status 200 and a length.
pub(crate) fn take_body(buffer: &mut Vec<u8>) -> io::Result<Option<String>> {
    let Some(start) = end_of_head(buffer) else {
        return Ok(None);
    };
    let head = str::from_utf8(buffer.get(..start).unwrap_or_default())
        .map_err(|_| invalid("the answer's head is not text"))?;
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(invalid("the answer's status is not 200"));
    }
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .ok_or_else(|| invalid("the answer has no length"))?;
    let end = start.saturating_add(length);
    if buffer.len() < end {
        return Ok(None);
    }
    let answer: Vec<u8> = buffer.drain(..end).collect();
    let body = answer.get(start..).unwrap_or_default().to_vec();
    String::from_utf8(body)
        .map(Some)
        .map_err(|_| invalid("the answer's body is not text"))
}

fn end_of_head(buffer: &[u8]) -> Option<usize> {
    let blank = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    blank.checked_add(4)
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

const LARGEST_HEAD: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> SocketAddr {
        "[2001:db8::7]:41234".parse().unwrap()
    }

    #[test]
    fn greeting_tells_name_path_and_peer() {
        let mut wire = request("/a/b", peer(), true);
        let asked = Request::take(&mut wire).unwrap().unwrap();
        assert!(wire.is_empty() && asked.closes());
        let mut answer = greeting("hello-world", &asked, peer());
        let last = answer.pop().unwrap();
        assert_eq!(take_body(&mut answer).unwrap(), None);
        answer.push(last);
        let body = take_body(&mut answer).unwrap().unwrap();
        assert_eq!(
            body,
            "hello from hello-world at /a/b, you are [2001:db8::7]:41234\n"
        );
        assert_eq!(greeting_in(&body), Some(("hello-world", peer())));
        assert!(answer.is_empty());
    }

    #[test]
    fn half_a_message_is_waited_for_and_two_are_told_apart() {
        let whole = request("/", peer(), false);
        let (mut buffer, rest) = {
            let (front, back) = whole.split_at(20);
            (front.to_vec(), back.to_vec())
        };
        assert!(Request::take(&mut buffer).unwrap().is_none());
        buffer.extend(rest);
        buffer.extend(&whole);
        assert!(Request::take(&mut buffer).unwrap().is_some());
        assert_eq!(buffer, whole);
    }

    #[test]
    fn what_is_not_http_is_an_error() {
        assert!(Request::take(&mut b"POST / HTTP/1.1\r\n\r\n".to_vec()).is_err());
        assert!(Request::take(&mut vec![b'x'; LARGEST_HEAD + 1]).is_err());
        assert!(take_body(&mut b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec()).is_err());
        assert!(take_body(&mut b"HTTP/1.1 200 OK\r\n\r\n".to_vec()).is_err());
    }
}
