//! An attempt to reach something, over IPv4 and IPv6, and whether it went as
//! it should.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tapwire::Protocol;
use tapwire::sys::NetNs;

use crate::Failure;
use crate::support::client;
use crate::support::guest::{Guest, Transport};
use crate::support::http;

/// Who tries.
#[derive(Clone, Copy)]
pub(crate) enum From<'a> {
    /// A process on a machine.
    Machine(&'a str, &'a NetNs),
    /// A guest.
    Guest(&'a Guest),
}

impl fmt::Display for From<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Machine(name, _) => name,
            Self::Guest(guest) => guest.name(),
        })
    }
}

/// What is to be tried, over IPv4 and IPv6.
#[derive(Clone)]
pub(crate) struct Attempt<'a> {
    pub(crate) from: From<'a>,
    /// In words, for a table.
    pub(crate) what: String,
    pub(crate) protocol: Protocol,
    /// An IPv4 and an IPv6 address.
    pub(crate) to: [IpAddr; 2],
    pub(crate) port: u16,
    pub(crate) expected: Expected<'a>,
}

/// How an attempt should end.
#[derive(Clone, Copy)]
pub(crate) enum Expected<'a> {
    /// The one of this name answers, and saw these source addresses.
    Answer(&'a str, [IpAddr; 2]),
    /// This guest answers, and saw these source addresses.
    Guest(&'a Guest, [IpAddr; 2]),
    /// Somebody answers who gives no name, and saw these source addresses.
    Echo([IpAddr; 2]),
    /// Nobody answers.
    Nothing,
}

/// An attempt that was made.
pub(crate) struct Check {
    pub(crate) from: String,
    pub(crate) what: String,
    pub(crate) port: String,
    /// What came of it over IPv4 and over IPv6.
    pub(crate) found: [String; 2],
    pub(crate) right: bool,
}

impl Attempt<'_> {
    /// Makes it.
    ///
    /// # Errors
    /// If it cannot even be made; that nobody answers is no error.
    pub(crate) fn run(&self) -> Result<Check, Failure> {
        let mut found = [String::new(), String::new()];
        let mut right = true;
        for (place, (cell, &address)) in found.iter_mut().zip(&self.to).enumerate() {
            let outcome = self.ask(SocketAddr::new(address, self.port))?;
            let as_expected = self.judge(place, outcome, cell);
            right &= as_expected;
        }
        Ok(Check {
            from: self.from.to_string(),
            what: self.what.clone(),
            port: format!("{} {}", self.protocol, self.port),
            found,
            right,
        })
    }

    fn ask(&self, to: SocketAddr) -> Result<io::Result<Answer>, Failure> {
        let timeout = match self.expected {
            Expected::Nothing => SILENCE,
            _ => PATIENCE,
        };
        let over_udp = self.protocol == Protocol::Udp;
        let answer = match self.from {
            From::Machine(_, netns) if over_udp => {
                netns.run(|| client::udp_ask(None, to, QUESTION, timeout))?
            }
            From::Machine(_, netns) => netns
                .run(|| client::http_get(to, "/", timeout))?
                .map(String::into_bytes),
            From::Guest(guest) if over_udp => guest.udp_ask(to, QUESTION, timeout),
            From::Guest(guest) => guest.http_get(to, "/", timeout).map(String::into_bytes),
        };
        Ok(answer.and_then(|answer| read(&answer)))
    }

    /// Whether it went as expected; says in `cell` what happened.
    fn judge(&self, place: usize, outcome: io::Result<Answer>, cell: &mut String) -> bool {
        let (name, guest, sources) = match self.expected {
            Expected::Nothing => {
                let closed = outcome.is_err();
                *cell = outcome.map_or_else(|_| "closed".to_owned(), |answer| answer.to_string());
                return closed;
            }
            Expected::Echo(sources) => (None, None, sources),
            Expected::Answer(name, sources) => (Some(name), None, sources),
            Expected::Guest(guest, sources) => (Some(guest.name()), Some(guest), sources),
        };
        let answer = match outcome {
            Ok(answer) => answer,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                "nobody answers".clone_into(cell);
                return false;
            }
            Err(error) => {
                *cell = error.to_string();
                return false;
            }
        };
        let by_name = answer.name.is_none() || answer.name.as_deref() == name;
        let seen = (self.transport(), answer.peer);
        let by_guest = guest.is_none_or(|guest| guest.seen().contains(&seen));
        let source = sources.get(place).copied() == Some(answer.peer.ip());
        *cell = if by_name && by_guest {
            answer.peer.ip().to_string()
        } else {
            answer.to_string()
        };
        by_name && by_guest && source
    }

    fn transport(&self) -> Transport {
        if self.protocol == Protocol::Udp {
            Transport::Udp
        } else {
            Transport::Tcp
        }
    }
}

/// What the one who answers says: its name, unless it only echoes, and the
/// source address that it saw.
struct Answer {
    name: Option<String>,
    peer: SocketAddr,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_deref().unwrap_or("another");
        write!(f, "{name} answers, sees {}", self.peer.ip())
    }
}

/// Reads a greeting or an echo.
fn read(answer: &[u8]) -> io::Result<Answer> {
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "an answer that makes no sense");
    let text = str::from_utf8(answer).map_err(|_| odd())?;
    if let Some((name, peer)) = http::greeting_in(text) {
        return Ok(Answer {
            name: Some(name.to_owned()),
            peer,
        });
    }
    let (peer, echo) = text.split_once(' ').ok_or_else(odd)?;
    if echo.as_bytes() != QUESTION {
        return Err(odd());
    }
    Ok(Answer {
        name: None,
        peer: peer.parse().map_err(|_| odd())?,
    })
}

const QUESTION: &[u8] = b"who is there";
const PATIENCE: Duration = Duration::from_secs(3);

/// How long to wait for what should not come.
const SILENCE: Duration = Duration::from_millis(300);
