//! From where the ports of an exposure are reachable.

use std::fmt;
use std::net::IpAddr;

use crate::exposure::Exposure;

/// From where the ports of a wanted exposure are going to be reachable, as
/// far as the host itself decides.
#[derive(Debug, Clone, Copy)]
pub struct Reach<'p> {
    exposure: &'p Exposure,
    addresses: &'p [IpAddr],
}

impl<'p> Reach<'p> {
    /// `addresses` are those of the host that others can reach.
    pub(super) fn new(exposure: &'p Exposure, addresses: &'p [IpAddr]) -> Self {
        Self {
            exposure,
            addresses,
        }
    }

    /// The exposure. Its list of allowed networks holds for everyone.
    pub fn exposure(&self) -> &'p Exposure {
        self.exposure
    }

    /// The host's addresses at which other hosts, guests and processes on the
    /// host reach the ports.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<'p> {
        let exposure = self.exposure;
        let given = exposure.host_addresses();
        self.addresses.iter().copied().filter(move |address| {
            exposure.serves(address.is_ipv4()) && (given.is_empty() || given.contains(address))
        })
    }

    /// The loopback addresses at which processes on the host reach them.
    pub fn loopback(&self) -> impl Iterator<Item = IpAddr> + use<'p> {
        let given = self.exposure.host_addresses().iter().copied();
        given.filter(IpAddr::is_loopback)
    }

    /// The addresses that the host does not have: nobody reaches the ports
    /// there until it does.
    pub fn absent(&self) -> impl Iterator<Item = IpAddr> + use<'p> {
        let addresses = self.addresses;
        let given = self.exposure.host_addresses().iter().copied();
        given.filter(move |address| !address.is_loopback() && !addresses.contains(address))
    }
}

impl fmt::Display for Reach<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: reachable", self.exposure)?;
        let mut addresses = self.addresses().peekable();
        let anywhere = addresses.peek().is_some();
        if anywhere {
            f.write_str(" from outside, guests and the host via ")?;
            list(f, addresses)?;
        }
        let mut loopback = self.loopback().peekable();
        if loopback.peek().is_some() {
            let and = if anywhere { "," } else { "" };
            write!(f, "{and} from the host via ")?;
            list(f, loopback)?;
        } else if !anywhere {
            f.write_str(" from nowhere")?;
        }
        let mut absent = self.absent().peekable();
        if absent.peek().is_some() {
            f.write_str(", not via ")?;
            list(f, absent)?;
            f.write_str(", which the host does not have")?;
        }
        let mut allowed = self.exposure.allowed().iter().peekable();
        if allowed.peek().is_some() {
            f.write_str(", only for ")?;
            list(f, allowed)?;
        }
        Ok(())
    }
}

fn list(f: &mut fmt::Formatter<'_>, things: impl Iterator<Item: fmt::Display>) -> fmt::Result {
    for (place, thing) in things.enumerate() {
        let comma = if place == 0 { "" } else { ", " };
        write!(f, "{comma}{thing}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reach_says_who_gets_where() {
        let addresses: Vec<IpAddr> = ["203.0.113.1", "203.0.113.2", "2001:db8::1"]
            .map(|address| address.parse().unwrap())
            .into();
        for (exposure, words) in [
            (
                "tcp/80->a:80",
                "from outside, guests and the host via 203.0.113.1, 203.0.113.2, 2001:db8::1",
            ),
            (
                "tcp/80->198.18.0.2:80 from 192.0.2.0/24",
                "from outside, guests and the host via 203.0.113.1, 203.0.113.2, only for 192.0.2.0/24",
            ),
            ("tcp/127.0.0.1:80->a:80", "from the host via 127.0.0.1"),
            (
                "tcp/203.0.113.9:80->a:80",
                "from nowhere, not via 203.0.113.9, which the host does not have",
            ),
        ] {
            let exposure: Exposure = exposure.parse().unwrap();
            let reach = Reach::new(&exposure, &addresses).to_string();
            assert_eq!(reach, format!("{exposure}: reachable {words}"));
        }
    }
}
