//! How a guest reaches the outside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::error::Invalid;

/// How a guest reaches the outside: which address of the host it does so
/// behind, and which destinations it may reach.
///
/// The destination is the address that the guest asks for: to reach what is
/// exposed on an address of the host, a guest that is limited needs that
/// address among its prefixes. Answers, peers and services of the host are
/// not limited by it.
///
/// ```
/// use tapwire::Egress;
/// let registry = Egress::masquerade().only(["192.0.2.0/24".parse()?]);
/// let fixed = Egress::snat("203.0.113.2".parse()?)?;
/// assert_eq!(registry.prefixes().map(<[_]>::len), Some(1));
/// assert!(fixed.prefixes().is_none() && Egress::none().is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Egress {
    ipv4: Option<Ipv4Addr>,
    ipv6: Option<Ipv6Addr>,
    /// In order, none within another; without one, everything.
    only: Option<Vec<IpNet>>,
}

impl Egress {
    /// To everything, behind the address of the interface that leads there.
    pub fn masquerade() -> Self {
        Self::default()
    }

    /// To everything, behind this address of the host; packets of the other
    /// family as by [`masquerade`](Self::masquerade).
    ///
    /// # Errors
    /// [`Invalid`] if it is no unicast address, or one that no other host
    /// could answer to: unspecified, loopback, link-local of IPv6.
    pub fn snat(address: IpAddr) -> Result<Self, Invalid> {
        Self::default().behind(address)
    }

    /// To nothing.
    pub fn none() -> Self {
        Self::default().only([])
    }

    /// Behind this address of the host as well, for the family that it is of.
    ///
    /// # Errors
    /// As [`snat`](Self::snat).
    pub fn behind(mut self, address: IpAddr) -> Result<Self, Invalid> {
        let invalid = |why| Err(Invalid::new("source address", address, why));
        if address.is_unspecified() {
            return invalid("stands for any address");
        }
        if address.is_loopback() {
            return invalid("is a loopback address, to which no other host can answer");
        }
        match address {
            IpAddr::V4(address) if address.is_multicast() || address.is_broadcast() => {
                return invalid("is no unicast address");
            }
            IpAddr::V6(address) if address.is_multicast() => {
                return invalid("is no unicast address");
            }
            IpAddr::V6(address) if address.is_unicast_link_local() => {
                return invalid("is good for one link only");
            }
            IpAddr::V4(address) => self.ipv4 = Some(address),
            IpAddr::V6(address) => self.ipv6 = Some(address),
        }
        Ok(self)
    }

    /// To these prefixes only: of a family without one, to nothing.
    #[must_use]
    pub fn only(mut self, prefixes: impl IntoIterator<Item = IpNet>) -> Self {
        self.only = Some(prefixes.into_iter().collect());
        self.normalise();
        self
    }

    /// The address behind which IPv4 packets leave, if it is given.
    pub fn snat_ipv4(&self) -> Option<Ipv4Addr> {
        self.ipv4
    }

    /// The address behind which IPv6 packets leave, if it is given.
    pub fn snat_ipv6(&self) -> Option<Ipv6Addr> {
        self.ipv6
    }

    /// The prefixes to which it is limited, if it is: in order, those that
    /// lie within others or make up a larger one joined.
    pub fn prefixes(&self) -> Option<&[IpNet]> {
        self.only.as_deref()
    }

    /// Whether it leads nowhere.
    pub fn is_none(&self) -> bool {
        self.only.as_ref().is_some_and(Vec::is_empty)
    }

    /// The addresses behind which packets leave, if they are given.
    pub(crate) fn sources(&self) -> impl Iterator<Item = IpAddr> {
        let ipv4 = self.ipv4.map(IpAddr::from);
        ipv4.into_iter().chain(self.ipv6.map(IpAddr::from))
    }

    /// Limits it to nothing but what is then [allowed](Self::allow).
    pub(crate) fn close(&mut self) {
        self.only.get_or_insert_default();
    }

    /// Allows more prefixes, if it is limited to some.
    pub(crate) fn allow(&mut self, prefixes: impl IntoIterator<Item = IpNet>) {
        if let Some(only) = &mut self.only {
            only.extend(prefixes);
        }
    }

    /// Puts what was allowed in its order.
    pub(crate) fn normalise(&mut self) {
        if let Some(only) = &mut self.only {
            *only = IpNet::aggregate(only);
            only.sort_unstable();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(nets: &[&str]) -> Vec<IpNet> {
        nets.iter().map(|net| net.parse().unwrap()).collect()
    }

    #[test]
    fn prefixes_are_joined_and_in_order() {
        let egress = Egress::masquerade().only(nets(&[
            "2001:db8::/32",
            "10.0.1.0/24",
            "10.0.0.9/24",
            "10.0.0.0/26",
        ]));
        let joined = nets(&["10.0.0.0/23", "2001:db8::/32"]);
        assert_eq!(egress.prefixes(), Some(joined.as_slice()));
    }

    #[test]
    fn limits_to_nothing_and_to_no_prefix_are_the_same() {
        assert_eq!(Egress::none(), Egress::masquerade().only([]));
        assert!(!Egress::masquerade().is_none());
    }

    #[test]
    fn sources_that_no_host_could_answer_to_are_refused() {
        for bad in [
            "0.0.0.0",
            "::",
            "127.0.0.1",
            "::1",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "fe80::1",
        ] {
            assert!(Egress::snat(bad.parse().unwrap()).is_err(), "{bad}");
        }
        let both = Egress::snat("203.0.113.2".parse().unwrap())
            .and_then(|egress| egress.behind("2001:db8::2".parse().unwrap()))
            .unwrap();
        assert_eq!(both.sources().count(), 2);
    }
}
