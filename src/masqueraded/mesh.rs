//! A mesh in the pod, which takes connections first and hands them on.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::ports::{common, without};
use crate::error::Error;
use crate::exposure::Ports;
use crate::guest::Attachment;
use crate::nft::{
    Batch, Chain, ChainType, Comment, Family, Hook, L4Proto, Name, Nft, Policy, Port, Rule, Table,
    TableFlags, fib, ip, ip6, meta, tcp,
};
use crate::owner::Owner;
use crate::route::{Ipv4Setting, Rtnl};

/// A mesh whose proxy runs in the pod: its own rules lead the pod's TCP
/// connections to the proxy, which connects to the pod's own address, or
/// `127.0.0.1`, from some source. Those are led to the guest, which sees its
/// gateway. Nothing is taken from the mesh's rules: TCP that comes from outside
/// is left to them, but for ports that are [open](Self::open).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mesh {
    sources: Vec<IpNet>,
    reserved: Vec<Ports>,
    open: Vec<Ports>,
}

/// The TCP ports of an Istio sidecar itself, which are never the guest's.
pub const RESERVED_PORTS: [u16; 7] = [15_000, 15_001, 15_006, 15_008, 15_020, 15_021, 15_090];

impl Mesh {
    /// A mesh whose proxy connects from these addresses.
    pub fn new(sources: impl IntoIterator<Item = IpNet>) -> Self {
        Self {
            sources: sources.into_iter().collect(),
            reserved: Vec::new(),
            open: Vec::new(),
        }
    }

    /// Istio with a sidecar: connections from `127.0.0.1`, `127.0.0.6` and
    /// `::6`, and [`RESERVED_PORTS`].
    pub fn sidecar() -> Self {
        let sources = [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            Ipv4Addr::new(127, 0, 0, 6).into(),
            Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6).into(),
        ];
        let reserved = RESERVED_PORTS.map(|port| Ports::new(port, port).ok());
        Self {
            reserved: reserved.into_iter().flatten().collect(),
            ..Self::new(sources.map(IpNet::from))
        }
    }

    /// The proxy connects from this as well.
    #[must_use]
    pub fn source(mut self, source: IpNet) -> Self {
        self.sources.push(source);
        self
    }

    /// These TCP ports are the mesh's own, never the guest's.
    #[must_use]
    pub fn reserve(mut self, ports: Ports) -> Self {
        self.reserved.push(ports);
        self
    }

    /// These TCP ports do not go through the mesh: they are led to the guest
    /// from outside, before the mesh's rules see them.
    #[must_use]
    pub fn open(mut self, ports: Ports) -> Self {
        self.open.push(ports);
        self
    }

    pub(super) fn reserved(&self) -> impl Iterator<Item = Ports> {
        self.reserved.iter().copied()
    }

    /// Those of `ports` that do not go through the mesh.
    pub(super) fn open_of(&self, ports: Ports) -> impl Iterator<Item = Ports> {
        self.open
            .iter()
            .filter_map(move |open| common(ports, *open))
    }

    /// Those of `ports` that do.
    pub(super) fn proxied_of(&self, ports: &[Ports]) -> Vec<Ports> {
        let proxied = ports.iter().flat_map(|ports| without(*ports, &self.open));
        proxied.collect()
    }

    /// Has what the proxy connects to led to the guest.
    pub(super) fn install(
        &self,
        owner: &Owner,
        guest: &Attachment,
        ports: &[Ports],
    ) -> Result<(), Error> {
        let mut nft = Nft::open()?;
        if !self.is_installed(owner, guest, ports)? {
            let mut batch = Batch::new();
            batch.destroy(&table(owner)?);
            self.create(owner, guest, ports, &mut batch)?;
            nft.commit(&mut batch)?;
        }
        // What comes from loopback addresses leaves by the TAP; the owner's
        // guard keeps others' out.
        let mut rtnl = Rtnl::open()?;
        if let Some(link) = rtnl.link(guest.tap())? {
            let settings = [(Ipv4Setting::RouteLocalnet, 1)];
            rtnl.apply(|changes| changes.set_ipv4(link.index(), &settings))?;
        }
        Ok(())
    }

    /// Whether that is so already: the table tells for what it was made.
    pub(super) fn is_installed(
        &self,
        owner: &Owner,
        guest: &Attachment,
        ports: &[Ports],
    ) -> Result<bool, Error> {
        let own = table(owner)?.comment(self.mark(guest, ports)?);
        let mut nft = Nft::open()?;
        let tables = nft.tables()?;
        let found = tables
            .iter()
            .find(|one| one.family() == own.family() && one.name() == own.name());
        let Some(found) = found.filter(|it| it.current_comment() == own.current_comment()) else {
            return Ok(false);
        };
        let mut batch = Batch::new();
        self.create(owner, guest, ports, &mut batch)?;
        let rules = nft.all_rules(found)?.len();
        Ok(rules == batch_rules(&batch)?)
    }

    /// What tells one table from another: a number made from all that is in
    /// it (FNV-1a).
    fn mark(&self, guest: &Attachment, ports: &[Ports]) -> Result<Comment, Error> {
        let words = format!(
            "{self} {ports:?} {} {} {}",
            guest.tap(),
            guest.ipv4(),
            guest.ipv6()
        );
        let hash = words.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Ok(Comment::new(&format!("mesh={hash:016x}"))?)
    }

    fn create(
        &self,
        owner: &Owner,
        guest: &Attachment,
        ports: &[Ports],
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let table = table(owner)?.comment(self.mark(guest, ports)?);
        let base = |name, hook, priority| {
            Chain::base(&table, Name::constant(name), ChainType::NAT, hook, priority)
                .policy(Policy::ACCEPT)
        };
        let output = base("output", Hook::OUTPUT, BEFORE_OWNER_DSTNAT);
        let postrouting = base("postrouting", Hook::POSTROUTING, BEFORE_OWNER_SRCNAT);
        batch.create(&table).create(&output).create(&postrouting);
        for source in &self.sources {
            let (family, address, own): (_, _, IpAddr) = match source {
                IpNet::V4(_) => (Family::IP, ip::saddr(), guest.ipv4().into()),
                IpNet::V6(_) => (Family::IP6, ip6::saddr(), guest.ipv6().into()),
            };
            for ports in ports {
                batch.add(
                    &Rule::new(&output)
                        .matching(meta::nfproto().equal(family))
                        .matching(address.within(*source))
                        .matching(meta::l4proto().equal(L4Proto::TCP))
                        .matching(fib::daddr_type().equal(fib::AddrType::LOCAL))
                        .matching(tcp::dport().between(Port(ports.first()), Port(ports.last())))
                        .dnat(own, None),
                );
            }
            batch.add(
                &Rule::new(&postrouting)
                    .matching(meta::oifname().equal(guest.tap()))
                    .matching(meta::nfproto().equal(family))
                    .matching(address.within(*source))
                    .masquerade(),
            );
        }
        Ok(())
    }
}

/// `from 127.0.0.1/32 127.0.0.6/32, without 15000 15001, open 8080`.
impl fmt::Display for Mesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("from")?;
        self.sources
            .iter()
            .try_for_each(|net| write!(f, " {net}"))?;
        for (words, ports) in [(", without", &self.reserved), (", open", &self.open)] {
            if !ports.is_empty() {
                f.write_str(words)?;
                ports.iter().try_for_each(|ports| write!(f, " {ports}"))?;
            }
        }
        Ok(())
    }
}

/// Removes the owner's table for a mesh, if there is one.
pub(super) fn remove(owner: &Owner) -> Result<(), Error> {
    if !is_there(owner)? {
        return Ok(());
    }
    let mut batch = Batch::new();
    batch.destroy(&table(owner)?);
    Nft::open()?.commit(&mut batch)
}

/// Whether the owner has a table for a mesh.
pub(super) fn is_there(owner: &Owner) -> Result<bool, Error> {
    let own = table(owner)?;
    let tables = Nft::open()?.tables()?;
    let is_it = |one: &Table| one.family() == own.family() && one.name() == own.name();
    Ok(tables.iter().any(is_it))
}

fn table(owner: &Owner) -> Result<Table, Error> {
    let name = Name::new(&format!("{owner}-mesh"))?;
    Ok(Table::new(Family::INET, name).flags(TableFlags::empty()))
}

fn batch_rules(batch: &Batch) -> Result<usize, Error> {
    let mut rules: usize = 0;
    for message in batch.clone().messages()? {
        if matches!(message.content()?, crate::nft::Content::Rule(_)) {
            rules = rules.saturating_add(1);
        }
    }
    Ok(rules)
}

/// Before the owner's own translations (-105, 95), and a mesh's (-100).
const BEFORE_OWNER_DSTNAT: i32 = -106;
const BEFORE_OWNER_SRCNAT: i32 = 94;
