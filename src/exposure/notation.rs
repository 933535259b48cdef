//! The plain notation of an exposure.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::ports::Ports;
use super::{Balance, Exposure, Label, target};
use crate::error::Invalid;

/// `PROTOCOL/[ADDRESS,…:]PORTS->GUEST:PORTS,… [by source] [from NET,…]
/// [limit NUMBER] [label TEXT]`, the words in any order but the label last.
impl FromStr for Exposure {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            Invalid::new(
                "exposure",
                text,
                "is not of the form tcp/8080->198.18.0.2:80",
            )
        };
        let (protocol, rest) = text.split_once('/').ok_or_else(invalid)?;
        let (host, rest) = rest.split_once("->").ok_or_else(invalid)?;
        let (targets, words) = rest.split_once(' ').unwrap_or((rest, ""));
        let (addresses, ports) = host.rsplit_once(':').unwrap_or(("", host));
        let host_ports = Ports::read("host port", ports)?;
        let mut targets = targets.split(',');
        let (first, guest_ports) = target::read(targets.next().unwrap_or_default())?;
        let mut exposure = Self::new(protocol.parse()?, host_ports.first(), first)?;
        if host_ports.count() > 1 {
            exposure = exposure.through(host_ports.last())?;
        }
        if guest_ports.count() != host_ports.count() {
            let why = "are not as many as the host's";
            return Err(Invalid::new("guest ports", guest_ports, why));
        }
        for further in targets {
            let (further, ports) = target::read(further)?;
            if ports.count() != 1 {
                let why = "are led to one guest only";
                return Err(Invalid::new("several ports", ports, why));
            }
            exposure = exposure.also(further)?;
        }
        for address in addresses.split(',').filter(|_| !addresses.is_empty()) {
            exposure = exposure.on(host_address(address).ok_or_else(invalid)?)?;
        }
        exposure.words(words)
    }
}

impl Exposure {
    /// With what stands behind the targets.
    fn words(mut self, text: &str) -> Result<Self, Invalid> {
        let mut rest = text;
        while !rest.is_empty() {
            let (word, behind) = rest.split_once(' ').unwrap_or((rest, ""));
            if word == "label" {
                return Ok(self.labelled(Label::new(behind)?));
            }
            let (value, behind) = behind.split_once(' ').unwrap_or((behind, ""));
            rest = behind;
            self = match (word, value) {
                ("by", "source") => self.balance(Balance::Source),
                ("from", networks) => {
                    for network in networks.split(',') {
                        let why = "is no network as 192.0.2.0/24";
                        let invalid = |_| Invalid::new("allowed client", network, why);
                        self = self.allow(network.parse().map_err(invalid)?);
                    }
                    self
                }
                ("limit", number) => {
                    let why = "is not between 1 and 4294967295";
                    let invalid = |_| Invalid::new("connection limit", number, why);
                    self.limit(number.parse().map_err(invalid)?)?
                }
                _ => {
                    let why = "is not `by source`, `from`, `limit` or `label`";
                    return Err(Invalid::new("word of an exposure", word, why));
                }
            };
        }
        Ok(self)
    }
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.protocol)?;
        for (place, address) in self.host_addresses.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            match address {
                IpAddr::V4(address) => write!(f, "{comma}{address}")?,
                IpAddr::V6(address) => write!(f, "{comma}[{address}]")?,
            }
        }
        let colon = if self.host_addresses.is_empty() {
            ""
        } else {
            ":"
        };
        write!(f, "{colon}{}->", self.host_ports)?;
        for (place, target) in self.targets.iter().enumerate() {
            f.write_str(if place == 0 { "" } else { "," })?;
            // Their number was checked when the value was made.
            let ports = self.guest_ports(target).map_err(|_| fmt::Error)?;
            target::write(f, target, ports)?;
        }
        if self.balance == Balance::Source {
            f.write_str(" by source")?;
        }
        for (place, network) in self.allowed.iter().enumerate() {
            let before = if place == 0 { " from " } else { "," };
            write!(f, "{before}{network}")?;
        }
        if let Some(limit) = self.limit {
            write!(f, " limit {limit}")?;
        }
        match &self.label {
            Some(label) => write!(f, " label {label}"),
            None => Ok(()),
        }
    }
}

/// An address of the host: of IPv6 in brackets.
fn host_address(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse().ok().map(IpAddr::V6),
        None => text.parse().ok().map(IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notation_reads_what_it_prints() {
        for text in [
            "tcp/8080->198.18.0.2:80",
            "udp/203.0.113.1:53->198.18.0.2:5353",
            "tcp/65535->[fd00::2]:1",
            "tcp/1->[fd00::2]:65535",
            "udp/[2001:db8::1]:53->[fd00::2]:53",
            "tcp/127.0.0.1:8080->198.18.0.2:80",
            "sctp/36412->mme:36412",
            "tcp/8000-8100->hello-world:9000-9100",
            "udp/203.0.113.1,203.0.113.2,[2001:db8::1]:53->dns:53",
            "tcp/80->one:80,two:81,10.example:82 by source",
            "tcp/80->one:80 from 10.0.0.0/8,fd00::/8 limit 100 label web, by source from all",
        ] {
            assert_eq!(text.parse::<Exposure>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn words_stand_in_any_order() {
        let exposure: Exposure = "tcp/80->one:80,two:80 limit 5 from 10.0.0.0/8 by source"
            .parse()
            .unwrap();
        let canonical = "tcp/80->one:80,two:80 by source from 10.0.0.0/8 limit 5";
        assert_eq!(exposure.to_string(), canonical);
    }

    #[test]
    fn unspecified_host_address_means_all() {
        let exposure: Exposure = "tcp/0.0.0.0:8080->198.18.0.2:80".parse().unwrap();
        assert_eq!(exposure.to_string(), "tcp/8080->198.18.0.2:80");
    }

    #[test]
    fn allowed_networks_do_not_overlap() {
        let exposure: Exposure = "tcp/80->a:80 from 10.1.0.0/16,10.0.0.0/8,10.0.0.0/8"
            .parse()
            .unwrap();
        assert_eq!(exposure.to_string(), "tcp/80->a:80 from 10.0.0.0/8");
    }

    #[test]
    fn each_bad_exposure_is_refused_by_name() {
        for (text, error) in [
            (
                "tcp/0->198.18.0.2:80",
                "host port \"0\" is not between 1 and 65535",
            ),
            (
                "tcp/8080->198.18.0.2:0",
                "guest port \"0\" is not between 1 and 65535",
            ),
            (
                "tcp/[2001:db8::1]:80->198.18.0.2:80",
                "host address \"2001:db8::1\" is not of the guest address's family (a relay can join the two)",
            ),
            (
                "tcp/[::1]:80->[fd00::2]:80",
                "host address \"::1\" cannot be translated back by the kernel (a relay can serve it)",
            ),
            (
                "tcp/224.0.0.1:80->198.18.0.2:80",
                "host address \"224.0.0.1\" is a multicast or broadcast address",
            ),
            (
                "tcp/80->224.0.0.1:80",
                "guest address \"224.0.0.1\" is no address of a guest",
            ),
            (
                "tcp/80->0.0.0.0:80",
                "guest address \"0.0.0.0\" is no address of a guest",
            ),
            (
                "icmp/80->198.18.0.2:80",
                "protocol \"icmp\" is not tcp, udp or sctp",
            ),
            (
                "tcp/65536->198.18.0.2:80",
                "host port \"65536\" is not between 1 and 65535",
            ),
            (
                "tcp/80",
                "exposure \"tcp/80\" is not of the form tcp/8080->198.18.0.2:80",
            ),
            (
                "tcp/80-90->a:80",
                "guest ports \"80\" are not as many as the host's",
            ),
            (
                "tcp/80-90->a:65530-65535",
                "guest port \"65530\" has too few ports behind it",
            ),
            (
                "tcp/80-90->a:80-90,b:80-90",
                "several ports \"80-90\" are led to one guest only",
            ),
            (
                "tcp/80->a:80,198.18.0.2:80",
                "further guest \"198.18.0.2:80\" is not told as the first one is",
            ),
            ("tcp/80->a:80,a:80", "further guest \"a:80\" is one already"),
            (
                "tcp/80->a:80 limit 0",
                "connection limit \"0\" lets nobody in",
            ),
            (
                "tcp/80->a:80 from 10.0.0.0/33",
                "allowed client \"10.0.0.0/33\" is no network as 192.0.2.0/24",
            ),
            (
                "tcp/80->a:80 drop",
                "word of an exposure \"drop\" is not `by source`, `from`, `limit` or `label`",
            ),
            ("tcp/80->a:80 label ", "label \"\" is empty"),
        ] {
            assert_eq!(text.parse::<Exposure>().unwrap_err().to_string(), error);
        }
    }
}
