//! Extensions of `xtables`, as legacy iptables and `iptables-nft` keep them:
//! the C structures of `linux/netfilter/xt_*.h`, in the machine's own byte
//! order.

use super::probe::{Probe, Truth};
use super::walk::Action;
use crate::nft::ct;
use crate::wire::uapi::xt_addrtype::{
    XT_ADDRTYPE_INVERT_DEST, XT_ADDRTYPE_LOCAL, XT_ADDRTYPE_UNICAST,
};
use crate::wire::uapi::xt_conntrack::{XT_CONNTRACK_STATE, XT_CONNTRACK_STATE_ALIAS};
use crate::wire::uapi::xt_multiport::{XT_MULTI_PORTS, XT_MULTIPORT_DESTINATION};
use crate::wire::uapi::xt_tcpudp::{XT_TCP_INV_DSTPT, XT_UDP_INV_DSTPT};

/// What a target does.
pub(super) fn action(target: &str) -> Action {
    match target {
        "DNAT" | "REDIRECT" | "NETMAP" | "TPROXY" => Action::Take,
        "REJECT" => Action::Drop,
        // A program decides.
        "NFQUEUE" => Action::Accept,
        _ => Action::Continue,
    }
}

/// Whether a target leads to a process of the host.
pub(super) fn redirects(target: &str) -> bool {
    matches!(target, "REDIRECT" | "TPROXY")
}

/// Whether the packet meets a condition.
pub(super) fn holds(name: &str, revision: u32, info: &[u8], probe: &Probe) -> Truth {
    match (name, revision) {
        ("comment", _) => Some(Truth::Yes),
        ("tcp", 0) => tcp(info, probe),
        ("udp", 0) => udp(info, probe),
        ("multiport", 1) => multiport(info, probe),
        ("conntrack", 1..=3) => conntrack(revision, info, probe),
        ("state", 0) => u32_at(info, 0).map(|mask| has_state(mask, probe)),
        ("addrtype", 1) => addrtype(info, probe),
        _ => None,
    }
    .unwrap_or(Truth::Maybe)
}

/// The destination ports that a condition lets through, if they are one range.
pub(super) fn ports_of(name: &str, revision: u32, info: &[u8]) -> Option<(u16, u16)> {
    let inverted = match (name, revision) {
        ("tcp", 0) => *info.get(11)? & XT_TCP_INV_DSTPT != 0,
        ("udp", 0) => *info.get(8)? & XT_UDP_INV_DSTPT != 0,
        _ => return None,
    };
    let ports = (u16_at(info, 4)?, u16_at(info, 6)?);
    (!inverted).then_some(ports)
}

/// `struct xt_tcp`.
fn tcp(info: &[u8], probe: &Probe) -> Option<Truth> {
    let &[option, mask, flags, inverted] = info.get(8..)?.first_chunk()?;
    let ports = ports(info, inverted & XT_TCP_INV_DSTPT != 0, probe)?;
    let rest = option == 0 && inverted & !XT_TCP_INV_DSTPT == 0;
    let is_first = probe.state == ct::State::NEW;
    let flags = match mask {
        0 => Truth::Yes,
        _ if is_first => (SYN & mask == flags).into(),
        _ => Truth::Maybe,
    };
    let rest = if rest { flags } else { Truth::Maybe };
    Some(ports.and(rest))
}

/// `struct xt_udp`.
fn udp(info: &[u8], probe: &Probe) -> Option<Truth> {
    let inverted = *info.get(8)?;
    let ports = ports(info, inverted & XT_UDP_INV_DSTPT != 0, probe)?;
    let rest = inverted & !XT_UDP_INV_DSTPT == 0;
    Some(ports.and(if rest { Truth::Yes } else { Truth::Maybe }))
}

/// The ranges of source and destination ports that both begin with.
fn ports(info: &[u8], inverted: bool, probe: &Probe) -> Option<Truth> {
    let sources = (u16_at(info, 0)?, u16_at(info, 2)?);
    let any_source = sources == (0, u16::MAX);
    let wanted = probe.port_within(u16_at(info, 4)?, u16_at(info, 6)?);
    let source = if any_source { Truth::Yes } else { Truth::Maybe };
    Some(wanted.inverted_if(inverted).and(source))
}

/// `struct xt_multiport_v1`.
fn multiport(info: &[u8], probe: &Probe) -> Option<Truth> {
    let &[kind, count] = info.first_chunk()?;
    let inverted = *info.get(MULTIPORT_INVERT)? != 0;
    if kind != XT_MULTIPORT_DESTINATION {
        return None;
    }
    let mut truth = Truth::No;
    let mut places = 0..usize::from(count).min(XT_MULTI_PORTS);
    while let Some(place) = places.next() {
        let port = |place: usize| u16_at(info, place.checked_mul(2)?.checked_add(2)?);
        let begins_range = *info.get(MULTIPORT_FLAGS.checked_add(place)?)? != 0;
        let low = port(place)?;
        let high = if begins_range {
            port(places.next()?)?
        } else {
            low
        };
        truth = truth.max(probe.port_within(low, high));
    }
    Some(truth.inverted_if(inverted))
}

/// `struct xt_conntrack_mtinfo1` to `3`, of which only states are known here.
fn conntrack(revision: u32, info: &[u8], probe: &Probe) -> Option<Truth> {
    let (wanted, inverted) = (u16_at(info, 146)?, u16_at(info, 148)?);
    let mask = match revision {
        1 => info.get(150).copied().map(u32::from)?,
        _ => u16_at(info, 150).map(u32::from)?,
    };
    let known = XT_CONNTRACK_STATE | XT_CONNTRACK_STATE_ALIAS;
    if wanted & XT_CONNTRACK_STATE == 0 {
        return None;
    }
    let state = has_state(mask, probe).inverted_if(inverted & XT_CONNTRACK_STATE != 0);
    let rest = wanted & !known == 0;
    Some(state.and(if rest { Truth::Yes } else { Truth::Maybe }))
}

/// Whether the connection has one of the states, which have the numbers of
/// `nf_tables`; a translated destination counts as one.
fn has_state(mask: u32, probe: &Probe) -> Truth {
    let translated = if probe.translated { STATE_DNAT } else { 0 };
    (mask & (probe.state.bits() | translated) != 0).into()
}

/// `struct xt_addrtype_info_v1`.
fn addrtype(info: &[u8], probe: &Probe) -> Option<Truth> {
    let (source, destination) = (u16_at(info, 0)?, u16_at(info, 2)?);
    let flags = u32_at(info, 4)?;
    if source != 0 || flags & !XT_ADDRTYPE_INVERT_DEST != 0 {
        return None;
    }
    let own = if probe.local {
        XT_ADDRTYPE_LOCAL
    } else {
        XT_ADDRTYPE_UNICAST
    };
    let holds = Truth::from(destination & own != 0);
    Some(holds.inverted_if(flags & XT_ADDRTYPE_INVERT_DEST != 0))
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The flag of the first segment of a TCP connection.
const SYN: u8 = 0x02;

/// `XT_CONNTRACK_STATE_DNAT`.
const STATE_DNAT: u32 = 1 << 7;

/// Offsets in `struct xt_multiport_v1`.
const MULTIPORT_FLAGS: usize = 2 + 2 * XT_MULTI_PORTS;
const MULTIPORT_INVERT: usize = MULTIPORT_FLAGS + XT_MULTI_PORTS;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::beside::ports::Ports;
    use crate::beside::survey::tests::probe;

    fn words(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn ports_of_tcp_and_udp_are_compared() {
        let probe = Probe {
            ports: Some(Ports::new(8080, 8080)),
            ..probe()
        };
        let tcp = |ports: [u16; 4], rest: [u8; 4]| {
            let info = [words(&ports), rest.to_vec()].concat();
            holds("tcp", 0, &info, &probe)
        };
        assert_eq!(tcp([0, 65535, 8080, 8080], [0; 4]), Truth::Yes);
        assert_eq!(tcp([0, 65535, 8080, 8080], [0, 0, 0, 2]), Truth::No);
        assert_eq!(tcp([0, 65535, 8081, 8090], [0; 4]), Truth::No);
        assert_eq!(tcp([1024, 65535, 8080, 8080], [0; 4]), Truth::Maybe);
        assert_eq!(tcp([0, 65535, 0, 65535], [0, 0x17, 2, 0]), Truth::Yes);
        let udp = [words(&[0, 65535, 53, 53]), vec![0, 0]].concat();
        assert_eq!(holds("udp", 0, &udp, &probe), Truth::No);
        assert_eq!(ports_of("udp", 0, &udp), Some((53, 53)));
        assert_eq!(ports_of("multiport", 1, &udp), None);
        assert_eq!(holds("udp", 0, &udp[..6], &probe), Truth::Maybe);
    }

    #[test]
    fn lists_of_ports_hold_ranges() {
        let mut ports = [0; 15];
        ports[..3].copy_from_slice(&[80, 90, 100]);
        let mut info = vec![XT_MULTIPORT_DESTINATION, 3];
        info.extend(words(&ports));
        info.extend([0, 1, 0]);
        info.resize(48, 0);
        for (port, truth) in [
            (80, Truth::Yes),
            (81, Truth::No),
            (90, Truth::Yes),
            (95, Truth::Yes),
            (101, Truth::No),
        ] {
            let probe = Probe {
                ports: Some(Ports::new(port, port)),
                ..probe()
            };
            assert_eq!(holds("multiport", 1, &info, &probe), truth, "{port}");
        }
    }

    #[test]
    fn what_is_not_known_may_hold() {
        assert_eq!(holds("recent", 0, &[0; 200], &probe()), Truth::Maybe);
        assert_eq!(holds("conntrack", 3, &[0; 10], &probe()), Truth::Maybe);
        assert_eq!(holds("addrtype", 1, &[], &probe()), Truth::Maybe);
    }
}
