//! A port of the host that a guest may reach.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use crate::error::Invalid;
use crate::protocol::Protocol;

/// A port on which the host itself serves a guest, such as `udp/53`.
///
/// It is reached at every address of the host that is not a loopback one. A
/// port of the host that is exposed leads to the exposed guest nevertheless.
///
/// ```
/// use tapwire::{Protocol, Service};
/// let dns: Service = "udp/53".parse()?;
/// assert_eq!(dns, Service::new(Protocol::Udp, 53)?);
/// # Ok::<(), tapwire::error::Invalid>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Service {
    protocol: Protocol,
    port: NonZeroU16,
}

impl Service {
    /// This port.
    ///
    /// # Errors
    /// [`Invalid`] for port 0, on which nobody can listen.
    pub fn new(protocol: Protocol, port: u16) -> Result<Self, Invalid> {
        let port = NonZeroU16::new(port)
            .ok_or_else(|| Invalid::new("service", format_args!("{protocol}/0"), "has port 0"))?;
        Ok(Self { protocol, port })
    }

    /// The transport protocol.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port.get()
    }
}

impl FromStr for Service {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new("service", text, "is not PROTOCOL/PORT");
        let (protocol, port) = text.split_once('/').ok_or_else(invalid)?;
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|_| digits).ok_or_else(invalid)?;
        Self::new(protocol.parse()?, port)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.protocol, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_reads_what_it_prints() {
        for good in ["tcp/1", "udp/53", "sctp/65535"] {
            assert_eq!(good.parse::<Service>().unwrap().to_string(), good);
        }
        for bad in ["", "53", "udp/", "udp/0", "udp/+53", "udp/65536", "icmp/1"] {
            assert!(bad.parse::<Service>().is_err(), "{bad:?} was taken");
        }
    }
}
