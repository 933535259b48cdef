//! Conflicts in words: what, what it breaks, what to do.

use std::borrow::Cow;
use std::fmt;
use std::io;

use super::{Conflict, ForeignChain, ForeignRule, Passing, Winner};
use crate::types::IfName;

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { wanted, holder } => write!(f, "{wanted} clashes with {holder}"),
            Self::ForwardDrop { chain, rule, .. } => {
                write!(
                    f,
                    "{} drops {}",
                    source(chain, rule.as_deref()),
                    self.breaks()
                )
            }
            Self::Translated {
                port,
                chain,
                rule,
                wins,
                certain,
            } => {
                let takes = if *certain { "takes" } else { "may take" };
                let order = match wins {
                    Winner::Foreign => "before the exposure",
                    Winner::Exposure => "behind the exposure, which takes it first",
                    Winner::Older => "at the priority of the exposure",
                };
                write!(f, "{} {takes} {port} {order}", source(chain, Some(rule)))
            }
            Self::Listening {
                port,
                socket,
                uid,
                inode,
            } => write!(
                f,
                "a process of user {uid} has a socket on {socket} (inode {inode}), to which {port} leads now"
            ),
            Self::StrictReversePath {
                interface,
                answers_by,
            } => {
                write!(
                    f,
                    "rp_filter is strict on {interface}, but the way back to the outside "
                )?;
                match answers_by {
                    Some(other) => write!(f, "is dev {other}"),
                    None => f.write_str("is missing"),
                }
            }
            Self::NotForwarding { interface, ipv6 } => {
                write!(f, "{} is 0", forwarding(*interface, *ipv6))
            }
            Self::ConntrackNearLimit { entries, limit } => {
                write!(f, "{entries} of {limit} connections are tracked")
            }
            Self::BridgeNetfilter { bridge, ipv6 } => write!(
                f,
                "{} is 1 while bridge {bridge} has ports",
                bridge_setting(*ipv6)
            ),
            Self::PastMesh { chain, rule, by } => {
                let way = match by {
                    Passing::Bridge => "a bridge",
                    Passing::Filters => "tc filters",
                    Passing::Exposures => "exposures, which translate first",
                };
                write!(
                    f,
                    "{} leads connections to a mesh, and {way} lead the guest's past it",
                    source(chain, Some(rule))
                )
            }
            Self::Intercepted { chain, rule } => write!(
                f,
                "{} hands connections that the guest opens to a process, as if they were for the pod",
                source(chain, Some(rule))
            ),
            Self::Reserved { first, last } => {
                write!(f, "{} is the mesh's own", tcp_ports(*first, *last))
            }
            Self::LegacyUnreadable { table, ipv6, errno } => write!(
                f,
                "table {table} of {} is in use and cannot be read: {}",
                legacy(*ipv6),
                io::Error::from_raw_os_error(*errno)
            ),
        }
    }
}

impl Conflict {
    /// What does not work because of it.
    pub fn breaks(&self) -> Cow<'_, str> {
        match self {
            Self::Held { wanted, .. } => wanted.as_ref().into(),
            Self::ForwardDrop {
                exposures, egress, ..
            } => match (exposures, egress) {
                (true, true) => "connections to exposed ports and those that guests open",
                (true, false) => "connections to exposed ports",
                (false, _) => "connections that guests open",
            }
            .into(),
            Self::Translated {
                port, wins, chain, ..
            } => match wins {
                Winner::Foreign => format!("{port} leads elsewhere than to the guest"),
                Winner::Exposure => format!("what {chain} leads {port} to is not reached any more"),
                Winner::Older => format!("{port} leads to the guest or elsewhere, by chance"),
            }
            .into(),
            Self::Listening { port, .. } => {
                format!("once {port} leads to a guest, the process gets no new connections there")
                    .into()
            }
            Self::StrictReversePath { interface, .. } => {
                format!("connections to exposed ports from beyond {interface}'s own network").into()
            }
            Self::NotForwarding { interface, .. } if interface.as_str() == "all" => {
                "guests get nothing over IPv6".into()
            }
            Self::NotForwarding { interface, .. } => {
                format!("guests get nothing that comes in by {interface}").into()
            }
            Self::ConntrackNearLimit { .. } => {
                "new connections of the whole host, guests included, once it is full".into()
            }
            Self::BridgeNetfilter { bridge, .. } => format!(
                "frames between ports of {bridge} meet the rules of forward chains, which may drop or translate them"
            )
            .into(),
            Self::PastMesh { by, .. } => match by {
                Passing::Bridge | Passing::Filters => {
                    "the mesh sees none of the guest's connections: it neither encrypts nor permits them"
                }
                Passing::Exposures => {
                    "the mesh sees no connections to the guest, and takes those that the guest opens for ones to the pod"
                }
            }
            .into(),
            Self::Intercepted { .. } => "TCP connections that the guest opens".into(),
            Self::Reserved { first, last } => {
                format!("{} does not lead to the guest", tcp_ports(*first, *last)).into()
            }
            Self::LegacyUnreadable { table, .. } => match &**table {
                "nat" => "it may translate what is for exposed ports, unseen",
                _ => "it may drop packets of guests, unseen",
            }
            .into(),
        }
    }

    /// What to do about it, in the words of `nft`, `iptables`, `sysctl`.
    pub fn remedy(&self) -> Cow<'_, str> {
        match self {
            Self::Held { .. } => "take the other back first, or want something else".into(),
            Self::ForwardDrop { chain, .. } => forward_remedy(chain),
            Self::Translated {
                chain, rule, port, ..
            } => translation_remedy(chain, rule, port.port()),
            Self::Listening { port, .. } => {
                let filter = if port.protocol() == 17 { "-ulpn" } else { "-tlpn" };
                format!(
                    "stop the process (ss {filter} 'sport = :{}'), have it listen on other addresses, or leave it an address of its own",
                    port.port()
                )
                .into()
            }
            Self::StrictReversePath { interface, .. } => {
                format!("sysctl -w net.ipv4.conf.{interface}.rp_filter=2 (and no 1 in all)").into()
            }
            Self::NotForwarding { interface, ipv6 } => {
                format!("open the host again, or sysctl -w {}=1", forwarding(*interface, *ipv6)).into()
            }
            Self::ConntrackNearLimit { limit, .. } => format!(
                "sysctl -w net.netfilter.nf_conntrack_max={}, or find who opens them (conntrack -L)",
                limit.saturating_mul(2)
            )
            .into(),
            Self::BridgeNetfilter { ipv6, .. } => {
                format!("sysctl -w {}=0", bridge_setting(*ipv6)).into()
            }
            Self::PastMesh { by, .. } => match by {
                Passing::Bridge | Passing::Filters => {
                    "put the guest behind the pod (masqueraded, with Masquerade::mesh), or take the pod out of the mesh"
                }
                Passing::Exposures => {
                    "Masquerade::mesh with Mesh::sidecar or Mesh::ambient, or take the pod out of the mesh"
                }
            }
            .into(),
            Self::Intercepted { .. } => {
                "have the mesh redirect (REDIRECT, not TPROXY), or except the guest's TAP from the rule".into()
            }
            Self::Reserved { .. } => "have the guest serve on other ports".into(),
            Self::LegacyUnreadable { table, ipv6, .. } => {
                format!("look at it: {} -t {table} -S", legacy(*ipv6)).into()
            }
        }
    }
}

fn forward_remedy(chain: &ForeignChain) -> Cow<'static, str> {
    let tool = chain.tool();
    if chain.legacy {
        format!(
            "{tool} -I {name} -i 'OWNER-+' -j ACCEPT; {tool} -I {name} -o 'OWNER-+' -j ACCEPT",
            name = chain.name
        )
        .into()
    } else if chain.owned {
        "have the program that owns the table accept the interfaces OWNER-*".into()
    } else {
        let ForeignChain {
            family,
            table,
            name,
            ..
        } = chain;
        format!(
            "Host::add_shim, or nft insert rule {family} {table} {name} iifname \"OWNER-*\" accept, and the same with oifname"
        )
        .into()
    }
}

fn translation_remedy(chain: &ForeignChain, rule: &ForeignRule, port: u16) -> Cow<'static, str> {
    let ForeignChain { family, table, .. } = chain;
    match rule.handle {
        Some(handle) => format!(
            "expose another port than {port}, or nft delete rule {family} {table} {} handle {handle}",
            rule.chain
        ),
        None => format!(
            "expose another port than {port}, or {} -t {table} -D {} {}",
            chain.tool(),
            rule.chain,
            rule.number
        ),
    }
    .into()
}

/// The rule with its chain, or the chain's policy.
pub(super) fn source(chain: &ForeignChain, rule: Option<&ForeignRule>) -> String {
    match rule {
        None => format!("policy drop of {chain}"),
        Some(rule) if rule.chain == chain.name => format!("{rule} of {chain}"),
        Some(rule) => format!("{rule} of chain {}, which {chain} leads to,", rule.chain),
    }
}

pub(super) fn tcp_ports(first: u16, last: u16) -> String {
    if first == last {
        format!("tcp/{first}")
    } else {
        format!("tcp/{first}-{last}")
    }
}

pub(super) fn forwarding(interface: IfName, ipv6: bool) -> String {
    match (ipv6, interface.as_str()) {
        (true, "all") => "net.ipv6.conf.all.forwarding".to_owned(),
        (true, name) => format!("net.ipv6.conf.{name}.force_forwarding"),
        (false, name) => format!("net.ipv4.conf.{name}.forwarding"),
    }
}

pub(super) fn bridge_setting(ipv6: bool) -> &'static str {
    if ipv6 {
        "net.bridge.bridge-nf-call-ip6tables"
    } else {
        "net.bridge.bridge-nf-call-iptables"
    }
}

pub(super) fn legacy(ipv6: bool) -> &'static str {
    if ipv6 {
        "ip6tables-legacy"
    } else {
        "iptables-legacy"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_conflict_says_what_it_breaks_and_what_to_do() {
        let eth0 = IfName::constant("eth0");
        let all = IfName::constant("all");
        let conflicts = [
            Conflict::new("tcp/80->198.18.0.2:80", "tcp/80->198.18.0.6:80 of guest b"),
            Conflict::ConntrackNearLimit {
                entries: 950,
                limit: 1000,
            },
            Conflict::LegacyUnreadable {
                table: "nat".into(),
                ipv6: true,
                errno: libc::EPERM,
            },
            Conflict::NotForwarding {
                interface: all,
                ipv6: true,
            },
            Conflict::StrictReversePath {
                interface: eth0,
                answers_by: None,
            },
            Conflict::Reserved {
                first: 15_020,
                last: 15_021,
            },
        ];
        let words = conflicts.map(|it| [it.to_string(), it.breaks().into(), it.remedy().into()]);
        let expected = [
            [
                "tcp/80->198.18.0.2:80 clashes with tcp/80->198.18.0.6:80 of guest b",
                "tcp/80->198.18.0.2:80",
                "take the other back first, or want something else",
            ],
            [
                "950 of 1000 connections are tracked",
                "new connections of the whole host, guests included, once it is full",
                "sysctl -w net.netfilter.nf_conntrack_max=2000, or find who opens them (conntrack -L)",
            ],
            [
                "table nat of ip6tables-legacy is in use and cannot be read: Operation not permitted (os error 1)",
                "it may translate what is for exposed ports, unseen",
                "look at it: ip6tables-legacy -t nat -S",
            ],
            [
                "net.ipv6.conf.all.forwarding is 0",
                "guests get nothing over IPv6",
                "open the host again, or sysctl -w net.ipv6.conf.all.forwarding=1",
            ],
            [
                "rp_filter is strict on eth0, but the way back to the outside is missing",
                "connections to exposed ports from beyond eth0's own network",
                "sysctl -w net.ipv4.conf.eth0.rp_filter=2 (and no 1 in all)",
            ],
            [
                "tcp/15020-15021 is the mesh's own",
                "tcp/15020-15021 does not lead to the guest",
                "have the guest serve on other ports",
            ],
        ];
        assert_eq!(words, expected.map(|three| three.map(str::to_owned)));
    }
}
