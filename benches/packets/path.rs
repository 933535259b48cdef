//! A way from the host to a guest's TAP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use tapwire::nft::{
    Batch, Chain, ChainType, Family, Hook, Name, Nft, Port, Rule, Table, priority, udp,
};
use tapwire::route::{Address, LinkChange, Rtnl};
use tapwire::sys::{NetNs, Tap};
use tapwire::{Exposure, Guest, Host, IfIndex, Owner, Protocol};

use crate::harness::{Result, inside};

/// So many packets are sent before the TAP is read: fewer than its queue holds.
pub(crate) const AT_ONCE: u16 = 256;

const NODE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const FIRST: u16 = 20_000;
const GUEST_PORT: u16 = 80;
const LOOPBACK: u32 = 1;

/// A guest whose TAP is read here, and who is reached by a port of the host.
pub(crate) struct Path {
    netns: NetNs,
    _host: Host,
    tap: Tap,
    to: SocketAddr,
    known: UdpSocket,
}

impl Path {
    /// By the last of so many exposures.
    pub(crate) fn by_exposures(present: u16) -> Result<Self> {
        Self::new(present, |host, guest| {
            let to = |port| Exposure::new(Protocol::Udp, port, guest);
            let all: Vec<_> = (FIRST..FIRST + present).map(to).collect::<Result<_, _>>()?;
            Ok(host.expose_all(&all)?)
        })
    }

    /// By the last of so many rules.
    pub(crate) fn by_rules(present: u16) -> Result<Self> {
        Self::new(present, |_, guest| {
            let table = Table::new(Family::INET, Name::constant("linear"));
            let name = Name::constant("output");
            let chain = Chain::base(&table, name, ChainType::NAT, Hook::OUTPUT, priority::DSTNAT);
            let mut batch = Batch::new();
            batch.add(&table).add(&chain);
            for port in FIRST..FIRST + present {
                let rule = Rule::new(&chain).matching(udp::dport().equal(Port(port)));
                batch.add(&rule.dnat(guest.ip(), Some(Port(guest.port()))));
            }
            Ok(Nft::open()?.commit(&mut batch)?)
        })
    }

    fn new(
        present: u16,
        lead: impl FnOnce(&mut Host, SocketAddr) -> Result<()> + Send,
    ) -> Result<Self> {
        let netns = NetNs::new()?;
        let (host, tap, known) = inside(&netns, || {
            let loopback = IfIndex::new(LOOPBACK)?;
            Rtnl::open()?.apply(|changes| {
                changes.set_link(&LinkChange::new(loopback).up());
                let net = ipnet::Ipv4Net::new_assert(NODE, 32);
                changes.add_address(&Address::new(loopback, net.into()));
            })?;
            let mut host = Host::open(Owner::new("bench")?)?;
            let guest = host.attach(&Guest::new("hello-world")?)?;
            let tap = host.open_tap(&guest, |options| options)?;
            lead(&mut host, SocketAddr::new(guest.ipv4().into(), GUEST_PORT))?;
            Ok((host, tap, UdpSocket::bind((NODE, 0))?))
        })?;
        let to = SocketAddr::new(IpAddr::V4(NODE), FIRST + present - 1);
        let mut path = Self {
            netns,
            _host: host,
            tap,
            to,
            known,
        };
        path.established()?;
        Ok(path)
    }

    /// How long packets take of which each begins a flow.
    pub(crate) fn new_flows(&mut self) -> Result<Duration> {
        let to = self.to;
        let tap = &self.tap;
        inside(&self.netns, || {
            let sockets: Vec<UdpSocket> = (0..AT_ONCE)
                .map(|_| UdpSocket::bind((NODE, 0)))
                .collect::<Result<_, _>>()?;
            let start = Instant::now();
            for socket in &sockets {
                socket.send_to(b"new", to)?;
            }
            drain(tap)?;
            Ok(start.elapsed())
        })
    }

    /// How long packets of one flow take.
    pub(crate) fn established(&mut self) -> Result<Duration> {
        let start = Instant::now();
        for _ in 0..AT_ONCE {
            self.known.send_to(b"known", self.to)?;
        }
        drain(&self.tap)?;
        Ok(start.elapsed())
    }
}

/// Reads until all packets have come; others, such as router solicitations,
/// do not count.
fn drain(tap: &Tap) -> Result<()> {
    let mut frame = [0; 2048];
    let mut come = 0;
    while come < AT_ONCE {
        let length = tap.receive(&mut frame)?;
        // Ethernet's type IPv4, and UDP in it.
        if length > 23 && frame[12..14] == [0x08, 0x00] && frame[23] == 17 {
            come += 1;
        }
    }
    Ok(())
}
