//! Networks as the elements of an interval set.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::Element;

impl Element {
    /// The elements that hold `nets` in an interval set of one field: where
    /// each range begins, and the first address behind it. Nets that overlap
    /// are joined.
    ///
    /// ```
    /// use tapwire::nft::Element;
    /// let elements = Element::networks(["10.0.0.0/8".parse()?]);
    /// let ends: Vec<bool> = elements.iter().map(Element::is_interval_end).collect();
    /// assert_eq!(ends, [true, false, true]);
    /// # Ok::<(), ipnet::AddrParseError>(())
    /// ```
    pub fn networks(nets: impl IntoIterator<Item = IpNet>) -> Vec<Self> {
        let mut nets = IpNet::aggregate(&nets.into_iter().collect());
        nets.sort();
        let mut elements = Vec::new();
        // Below the first range, the set must be said to be empty.
        elements.extend(
            nets.first()
                .filter(|net| !net.network().is_unspecified())
                .map(|net| {
                    let lowest: IpAddr = match net {
                        IpNet::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                        IpNet::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                    };
                    Self::new(lowest).interval_end()
                }),
        );
        for net in nets {
            let start = Self::new(net.network());
            match behind(net) {
                Some(end) => elements.extend([start, Self::new(end).interval_end()]),
                None => elements.push(start.interval_open()),
            }
        }
        elements
    }
}

/// The first address behind `net`.
fn behind(net: IpNet) -> Option<IpAddr> {
    match net.broadcast() {
        IpAddr::V4(last) => Some(Ipv4Addr::from(u32::from(last).checked_add(1)?).into()),
        IpAddr::V6(last) => Some(Ipv6Addr::from(u128::from(last).checked_add(1)?).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nets_that_reach_an_end_have_no_element_behind_it() {
        let nets = |net: &str| Element::networks([net.parse().unwrap()]);
        assert_eq!(nets("0.0.0.0/0").len(), 1);
        assert_eq!(nets("0.0.0.0/8").len(), 2);
        assert_eq!(nets("255.0.0.0/8").len(), 2);
        assert_eq!(nets("10.0.0.0/8").len(), 3);
    }
}
