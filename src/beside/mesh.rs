//! Rules by which a mesh takes the connections of a namespace.

use super::foreign::Foreign;
use super::legacy::Legacy;
use super::ports::Ports;
use super::probe::{Interface, Probe};
use super::survey::{entering, legacy_rule};
use super::walk::{End, Firewall, Spot, walk};
use crate::conflict::{Conflict, Passing};
use crate::error::Error;
use crate::nft::{Family, Hook, L4Proto, Name, Nft, Table};
use crate::types::{IfIndex, IfName};

/// The rules of others in the calling thread's namespace that redirect TCP
/// connections, to whatever port, to a process: those that come in by one of
/// `interfaces` (for IPv4, for IPv6), and those that processes open.
pub(crate) fn meshes(
    interfaces: [&[(IfName, IfIndex)]; 2],
    by: Passing,
) -> Result<Vec<Conflict>, Error> {
    let told = |chain, rule| Conflict::PastMesh {
        chain: Box::new(chain),
        rule: Box::new(rule),
        by,
    };
    let legacy = Legacy::read();
    let mut conflicts = Vec::new();
    for hook in [Hook::PREROUTING, Hook::OUTPUT] {
        for (family, interfaces) in interfaces.into_iter().enumerate() {
            let ipv4 = family == 0;
            let probes = probes(ipv4, hook, interfaces);
            for mut table in legacy.tables.iter().filter(|table| table.is_nat()) {
                let chain = table.base_chain(hook).filter(|_| table.ipv6 != ipv4);
                let Some((chain, _)) = chain else {
                    continue;
                };
                if let Some(spot) = redirecting(&mut table, &chain.name, &probes)? {
                    conflicts.push(told(chain, legacy_rule(table, &spot)?));
                }
            }
        }
    }
    let none = Table::new(Family::INET, Name::constant("none"));
    let mut nft = match Nft::open() {
        Err(error) if lacks_nf_tables(&error) => return Ok(conflicts),
        nft => nft?,
    };
    let mut foreign = match Foreign::read(&mut nft, &none) {
        Err(error) if lacks_nf_tables(&error) => return Ok(conflicts),
        foreign => foreign?,
    };
    let mut known = Vec::new();
    for hook in [Hook::PREROUTING, Hook::OUTPUT] {
        for (family, interfaces) in interfaces.into_iter().enumerate() {
            let ipv4 = family == 0;
            let probes = probes(ipv4, hook, interfaces);
            for base in foreign.base_chains(hook) {
                if !base.is_nat() || !base.sees(ipv4) {
                    continue;
                }
                let chain = base.described();
                let found = redirecting(&mut foreign.table_of(&base), &chain.name, &probes)?;
                let Some(spot) = found else {
                    continue;
                };
                let rule = foreign.rule_at(&base, &spot)?;
                // A table of both families has one rule for them.
                let place = (chain.family.clone(), chain.table.clone(), rule.handle);
                if !known.contains(&place) {
                    known.push(place);
                    conflicts.push(told(chain, rule));
                }
            }
        }
    }
    Ok(conflicts)
}

/// Beginnings of connections, of two ports by interface.
fn probes(ipv4: bool, hook: Hook, interfaces: &[(IfName, IfIndex)]) -> Vec<[Probe; 2]> {
    let both = |first: Probe| {
        PORTS.map(|port| Probe {
            protocol: Some(TCP),
            ports: Some(Ports::new(port, port)),
            ..first.clone()
        })
    };
    if hook == Hook::OUTPUT {
        let out = Probe {
            outgoing: Interface::Unknown,
            local: false,
            ..entering(ipv4, hook)
        };
        return vec![both(out)];
    }
    let each = interfaces.iter().map(|&(name, index)| {
        both(Probe {
            incoming: Interface::Named(name, Some(index)),
            ..entering(ipv4, hook)
        })
    });
    each.collect()
}

/// The rule that redirects, or perhaps does, whatever the port is.
fn redirecting<F: Firewall>(
    firewall: &mut F,
    chain: &str,
    probes: &[[Probe; 2]],
) -> Result<Option<Spot>, Error> {
    for two in probes {
        let [one, other] = two;
        let spot = taking(firewall, chain, one)?;
        if spot.is_none() || taking(firewall, chain, other)? != spot {
            continue;
        }
        if let Some(spot) = spot {
            let rules = firewall.rules(&spot.chain)?;
            if rules.get(spot.index).is_some_and(F::redirects) {
                return Ok(Some(spot));
            }
        }
    }
    Ok(None)
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

/// Whether it says that the kernel has no `nf_tables`.
fn lacks_nf_tables(error: &Error) -> bool {
    let errno = error.raw_os_error();
    matches!(
        errno,
        Some(libc::EPROTONOSUPPORT | libc::EOPNOTSUPP | libc::EINVAL)
    )
}

const TCP: u8 = L4Proto::TCP.as_raw();

/// Two that nobody translates by themselves: `tcpmux`, and the last.
const PORTS: [u16; 2] = [1, u16::MAX];
