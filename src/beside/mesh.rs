//! Rules by which a mesh takes the connections of a namespace.

use super::foreign::Foreign;
use super::legacy::{Legacy, Table as LegacyTable};
use super::ports::Ports;
use super::probe::{Interface, Probe};
use super::survey::{entering, legacy_rule};
use super::walk::{End, Firewall, Spot, walk};
use crate::conflict::{Conflict, ForeignChain, ForeignRule, Passing};
use crate::error::Error;
use crate::nft::{Family, Hook, L4Proto, Name, Nft, Table};
use crate::types::{IfIndex, IfName};

/// The rules of others in the calling thread's namespace that lead TCP
/// connections, to whatever port, to a process: those that come in by one of
/// `interfaces` (for IPv4, for IPv6), and those that processes open.
pub(crate) fn meshes(
    interfaces: [&[(IfName, IfIndex)]; 2],
    by: Passing,
) -> Result<Vec<Conflict>, Error> {
    let [ipv4, ipv6] = interfaces.map(|all| {
        let named = all
            .iter()
            .map(|&(name, index)| Interface::Named(name, Some(index)));
        named.collect::<Vec<_>>()
    });
    let mut probes = Vec::new();
    for (is_ipv4, interfaces) in [(true, ipv4), (false, ipv6)] {
        let incoming = interfaces.into_iter().map(|incoming| Probe {
            incoming,
            ..entering(is_ipv4, Hook::PREROUTING)
        });
        probes.extend(incoming.map(|probe| (Hook::PREROUTING, probe)));
        let opened = Probe {
            outgoing: Interface::Unknown,
            local: false,
            ..entering(is_ipv4, Hook::OUTPUT)
        };
        probes.push((Hook::OUTPUT, opened));
    }
    let told = |(chain, rule)| Conflict::PastMesh {
        chain: Box::new(chain),
        rule: Box::new(rule),
        by,
    };
    let found = leading(&probes, |_| true)?;
    Ok(found.into_iter().map(told).collect())
}

/// The rules of others that hand TCP connections, to whatever port, which a
/// guest opens by `tap`, to a process, whatever their destination is
/// translated to (`TPROXY`).
pub(crate) fn intercepting(tap: (IfName, Option<IfIndex>)) -> Result<Vec<Conflict>, Error> {
    let (name, index) = tap;
    let opened = |ipv4| Probe {
        incoming: Interface::Named(name, index),
        local: false,
        ..entering(ipv4, Hook::PREROUTING)
    };
    let probes = [true, false].map(|ipv4| (Hook::PREROUTING, opened(ipv4)));
    let told = |(chain, rule)| Conflict::Intercepted {
        chain: Box::new(chain),
        rule: Box::new(rule),
    };
    let found = leading(&probes, |translates| !translates)?;
    Ok(found.into_iter().map(told).collect())
}

/// The rules that lead such connections to a process, in base chains that
/// translate, or do not, as wanted; each once.
fn leading(
    probes: &[(Hook, Probe)],
    wanted: impl Fn(bool) -> bool,
) -> Result<Vec<(ForeignChain, ForeignRule)>, Error> {
    let mut found = Vec::new();
    let mut note = |chain: ForeignChain, rule: ForeignRule| {
        // A table of both families has one rule for them.
        if !found.contains(&(chain.clone(), rule.clone())) {
            found.push((chain, rule));
        }
    };
    let legacy = Legacy::read();
    for (hook, probe) in probes {
        let of_family = |table: &&LegacyTable| table.ipv6 != probe.ipv4 && wanted(table.is_nat());
        for mut table in legacy.tables.iter().filter(of_family) {
            let Some((chain, _)) = table.base_chain(*hook) else {
                continue;
            };
            if let Some(spot) = redirecting(&mut table, &chain.name, probe)? {
                note(chain, legacy_rule(table, &spot)?);
            }
        }
    }
    let none = Table::new(Family::INET, Name::constant("none"));
    let opened = Nft::open().map(Some).or_else(none_without_nf_tables)?;
    let Some(mut nft) = opened else {
        return Ok(found);
    };
    let read = Foreign::read(&mut nft, &none).map(Some);
    let Some(mut foreign) = read.or_else(none_without_nf_tables)? else {
        return Ok(found);
    };
    for (hook, probe) in probes {
        for base in foreign.base_chains(*hook) {
            if !base.sees(probe.ipv4) || !wanted(base.is_nat()) {
                continue;
            }
            let chain = base.described();
            let spot = redirecting(&mut foreign.table_of(&base), &chain.name, probe)?;
            if let Some(spot) = spot {
                note(chain, foreign.rule_at(&base, &spot)?);
            }
        }
    }
    Ok(found)
}

/// The rule that leads to a process, or perhaps does, whatever the port is.
fn redirecting<F: Firewall>(
    firewall: &mut F,
    chain: &str,
    probe: &Probe,
) -> Result<Option<Spot>, Error> {
    let [one, other] = PORTS.map(|port| Probe {
        protocol: Some(TCP),
        ports: Some(Ports::new(port, port)),
        ..probe.clone()
    });
    let spot = taking(firewall, chain, &one)?;
    let Some(spot) = spot else {
        return Ok(None);
    };
    if taking(firewall, chain, &other)?.as_ref() != Some(&spot) {
        return Ok(None);
    }
    let rules = firewall.rules(&spot.chain)?;
    let leads = rules.get(spot.index).is_some_and(F::redirects);
    Ok(leads.then_some(spot))
}

fn taking<F: Firewall>(
    firewall: &mut F,
    chain: &str,
    probe: &Probe,
) -> Result<Option<Spot>, Error> {
    let outcome = walk(firewall, chain, probe)?;
    Ok(match outcome.end {
        End::Taken(spot) => Some(spot),
        _ => outcome.maybe,
    })
}

/// Nothing, if it says that the kernel has no `nf_tables`.
fn none_without_nf_tables<T>(error: Error) -> Result<Option<T>, Error> {
    match error.raw_os_error() {
        Some(libc::EPROTONOSUPPORT | libc::EOPNOTSUPP | libc::EINVAL) => Ok(None),
        _ => Err(error),
    }
}

const TCP: u8 = L4Proto::TCP.as_raw();

/// Two that nobody translates by themselves: `tcpmux`, and the last.
const PORTS: [u16; 2] = [1, u16::MAX];
