//! The owner's table for a mesh.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::answers::MARK;
use super::{Mesh, Place};
use crate::error::Error;
use crate::exposure::{Ports, Protocol};
use crate::nft::expr::{Bitwise, Ct, CtKey, CtSet, Expr, Meta, MetaKey, MetaSet};
use crate::nft::{
    Batch, Chain, ChainType, Comment, Content, Data, Family, Field, Hook, L4Proto, Mark, Match,
    Name, Nft, Policy, Port, Register, Rule, Table, TableFlags, ct, fib, ip, ip6, meta, priority,
    tcp,
};
use crate::owner::Owner;
use crate::route::{Ipv4Setting, Rtnl};

pub(super) fn install(mesh: &Mesh, place: &Place<'_>) -> Result<(), Error> {
    if !are_installed(mesh, place)? {
        let mut batch = Batch::new();
        batch.destroy(&table(place.owner)?);
        create(mesh, place, &mut batch)?;
        Nft::open()?.commit(&mut batch)?;
    }
    if mesh.sources.is_empty() {
        return Ok(());
    }
    // What comes from loopback addresses leaves by the TAP; the owner's guard
    // keeps others' out.
    let mut rtnl = Rtnl::open()?;
    if let Some(link) = rtnl.link(place.guest.tap())? {
        let settings = [(Ipv4Setting::RouteLocalnet, 1)];
        rtnl.apply(|changes| changes.set_ipv4(link.index(), &settings))?;
    }
    Ok(())
}

/// Whether the rules are there already: the table tells for what it was made.
pub(super) fn are_installed(mesh: &Mesh, place: &Place<'_>) -> Result<bool, Error> {
    let own = table(place.owner)?.comment(words_as_number(mesh, place)?);
    let mut nft = Nft::open()?;
    let tables = nft.tables()?;
    let found = tables
        .iter()
        .find(|one| one.family() == own.family() && one.name() == own.name());
    let Some(found) = found.filter(|it| it.current_comment() == own.current_comment()) else {
        return Ok(false);
    };
    let mut batch = Batch::new();
    create(mesh, place, &mut batch)?;
    let rules = nft.all_rules(found)?.len();
    Ok(rules == batch_rules(&batch)?)
}

/// Removes the table, if there is one.
pub(super) fn remove(owner: &Owner) -> Result<(), Error> {
    if !are_there(owner)? {
        return Ok(());
    }
    let mut batch = Batch::new();
    batch.destroy(&table(owner)?);
    Nft::open()?.commit(&mut batch)
}

/// Whether the owner has a table for a mesh.
pub(super) fn are_there(owner: &Owner) -> Result<bool, Error> {
    let own = table(owner)?;
    let tables = Nft::open()?.tables()?;
    let is_it = |one: &Table| one.family() == own.family() && one.name() == own.name();
    Ok(tables.iter().any(is_it))
}

fn table(owner: &Owner) -> Result<Table, Error> {
    let name = Name::new(&format!("{owner}-mesh"))?;
    Ok(Table::new(Family::INET, name).flags(TableFlags::empty()))
}

/// What tells one table from another: a number made from all that is in it
/// (FNV-1a).
fn words_as_number(mesh: &Mesh, place: &Place<'_>) -> Result<Comment, Error> {
    let Place { guest, policy, .. } = place;
    let words = format!(
        "{mesh} {:?} {} {} {} {:?} {:?}",
        place.ports,
        guest.tap(),
        guest.ipv4(),
        guest.ipv6(),
        policy.services(),
        policy.egress().prefixes(),
    );
    let hash = words.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Ok(Comment::new(&format!("mesh={hash:016x}"))?)
}

fn create(mesh: &Mesh, place: &Place<'_>, batch: &mut Batch) -> Result<(), Error> {
    let table = table(place.owner)?.comment(words_as_number(mesh, place)?);
    let base = |name, kind, hook, priority| {
        Chain::base(&table, Name::constant(name), kind, hook, priority).policy(Policy::ACCEPT)
    };
    let nat = |name, hook, priority| base(name, ChainType::NAT, hook, priority);
    let chains = Chains {
        answers: base(
            "answers",
            ChainType::FILTER,
            Hook::PREROUTING,
            priority::MANGLE,
        ),
        prerouting: nat("prerouting", Hook::PREROUTING, BEFORE_OWNER_DSTNAT),
        output: nat("output", Hook::OUTPUT, BEFORE_OWNER_DSTNAT),
        postrouting: nat("postrouting", Hook::POSTROUTING, BEFORE_OWNER_SRCNAT),
    };
    batch.create(&table);
    for chain in [
        &chains.answers,
        &chains.prerouting,
        &chains.output,
        &chains.postrouting,
    ] {
        batch.create(chain);
    }
    for side in sides(place) {
        mesh.lead_proxy(place, &side, &chains, batch);
        mesh.lead_probes(place, &side, &chains, batch);
        mesh.lead_guest(place, &side, &chains, batch);
    }
    if mesh.mark.is_some() {
        let answer = Rule::new(&chains.answers)
            .matching(meta::iifname().equal(place.guest.tap()))
            .matching(ct::mark().equal_under(Mark(MARK), Mark(MARK)));
        batch.add(&raised(
            answer,
            Meta::new(Register::FIRST, MetaKey::MARK),
            MetaSet::new(Register::FIRST, MetaKey::MARK),
        ));
    }
    Ok(())
}

struct Chains {
    answers: Chain,
    prerouting: Chain,
    output: Chain,
    postrouting: Chain,
}

/// One family.
struct Side {
    family: Family,
    saddr: Field,
    daddr: Field,
    /// The guest.
    own: IpAddr,
}

fn sides(place: &Place<'_>) -> [Side; 2] {
    [
        Side {
            family: Family::IP,
            saddr: ip::saddr(),
            daddr: ip::daddr(),
            own: place.guest.ipv4().into(),
        },
        Side {
            family: Family::IP6,
            saddr: ip6::saddr(),
            daddr: ip6::daddr(),
            own: place.guest.ipv6().into(),
        },
    ]
}

impl Side {
    fn of_family(&self, chain: &Chain) -> Rule {
        Rule::new(chain).matching(meta::nfproto().equal(self.family))
    }

    fn is_of(&self, net: IpNet) -> bool {
        net.addr().is_ipv4() == self.own.is_ipv4()
    }
}

impl Mesh {
    /// What the proxy connects to is the guest's.
    fn lead_proxy(&self, place: &Place<'_>, side: &Side, chains: &Chains, batch: &mut Batch) {
        let Chains {
            output,
            postrouting,
            ..
        } = chains;
        for source in self.sources.iter().filter(|net| side.is_of(**net)) {
            for ports in place.ports {
                let connection = side
                    .of_family(output)
                    .matching(side.saddr.within(*source))
                    .matching(meta::l4proto().equal(L4Proto::TCP));
                batch.add(&for_ports(connection, *ports).dnat(side.own, None));
            }
            batch.add(
                &Rule::new(postrouting)
                    .matching(meta::oifname().equal(place.guest.tap()))
                    .matching(meta::nfproto().equal(side.family))
                    .matching(side.saddr.within(*source))
                    .masquerade(),
            );
        }
        let Some((mark, mask)) = self.mark else {
            return;
        };
        for ports in place.ports {
            let connection = side
                .of_family(output)
                .matching(meta::mark().equal_under(Mark(mask), Mark(mark)))
                .matching(meta::l4proto().equal(L4Proto::TCP));
            let connection = if side.own.is_ipv4() {
                connection.matching(side.daddr.not_within(LOOPBACK_IPV4))
            } else {
                connection
            };
            let marked = raised(
                for_ports(connection, *ports),
                Ct::new(Register::FIRST, CtKey::MARK),
                CtSet::new(Register::FIRST, CtKey::MARK),
            );
            batch.add(&marked.dnat(side.own, None));
        }
    }

    /// Probes do not go through the proxy.
    fn lead_probes(&self, place: &Place<'_>, side: &Side, chains: &Chains, batch: &mut Batch) {
        for probe in self.probes.iter().filter(|net| side.is_of(**net)) {
            for ports in place.ports {
                let connection = side
                    .of_family(&chains.prerouting)
                    .matching(side.saddr.within(*probe))
                    .matching(meta::l4proto().equal(L4Proto::TCP));
                batch.add(&for_ports(connection, *ports).dnat(side.own, None));
            }
        }
    }

    /// What the guest begins is the proxy's, but for what it is granted of the
    /// pod's own, and for its own ports at the pod's address.
    fn lead_guest(&self, place: &Place<'_>, side: &Side, chains: &Chains, batch: &mut Batch) {
        let Some(outbound) = self.outbound else {
            return;
        };
        let from_guest = || {
            side.of_family(&chains.prerouting)
                .matching(meta::iifname().equal(place.guest.tap()))
                .matching(meta::l4proto().equal(L4Proto::TCP))
        };
        for service in place.policy.services() {
            if service.protocol() == Protocol::Tcp {
                let granted = from_guest()
                    .matching(is_local())
                    .matching(tcp::dport().equal(Port(service.port())));
                batch.add(&granted.redirect(None));
            }
        }
        for ports in place.ports {
            batch.add(&for_ports(from_guest(), *ports).dnat(side.own, None));
        }
        let elsewhere = from_guest().matching(fib::daddr_type().not_equal(fib::AddrType::LOCAL));
        let elsewhere = match place.policy.egress().prefixes() {
            None => elsewhere,
            Some(prefixes) => {
                let own = prefixes.iter().copied().filter(|net| side.is_of(*net));
                let own: Vec<IpNet> = own.collect();
                if own.is_empty() {
                    return;
                }
                elsewhere.matching(side.daddr.within_any(own))
            }
        };
        batch.add(&elsewhere.redirect(Some(Port(outbound.get()))));
    }
}

fn for_ports(rule: Rule, ports: Ports) -> Rule {
    rule.matching(is_local())
        .matching(tcp::dport().between(Port(ports.first()), Port(ports.last())))
}

fn is_local() -> Match {
    fib::daddr_type().equal(fib::AddrType::LOCAL)
}

/// Sets the bit of answers in what is loaded and stored.
fn raised(rule: Rule, load: impl Into<Expr>, store: impl Into<Expr>) -> Rule {
    let (kept, set) = (Data::from(Mark(!MARK)), Data::from(Mark(MARK)));
    let with_bit = Bitwise::new(Register::FIRST, Register::FIRST, 4)
        .with_mask(kept)
        .with_xor(set);
    rule.expression(load).expression(with_bit).expression(store)
}

fn batch_rules(batch: &Batch) -> Result<usize, Error> {
    let mut rules: usize = 0;
    for message in batch.clone().messages()? {
        if matches!(message.content()?, Content::Rule(_)) {
            rules = rules.saturating_add(1);
        }
    }
    Ok(rules)
}

const LOOPBACK_IPV4: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8));

/// Before the owner's own translations (-105, 95), and a mesh's (-100).
const BEFORE_OWNER_DSTNAT: i32 = -106;
const BEFORE_OWNER_SRCNAT: i32 = 94;
