//! A way from a client by the host to a guest, and the guest.
//!
//! Client, host and guest are network namespaces. The guest has a kernel of
//! its own behind its TAP, whose frames are carried by the bench itself, so
//! that every packet is dealt with by the time a call returns.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tapwire::nft::{
    Batch, Chain, ChainType, Family, Hook, Name, Nft, Port, Rule, Table, meta, priority, tcp, udp,
};
use tapwire::route::{Address, Ipv4Setting, LinkChange, Neighbour, NewLink, Route, Rtnl};
use tapwire::sys::{NetNs, Tap, TapOptions};
use tapwire::{
    Attachment, Connection, Exposure, Guest, Host, IfIndex, IfName, Mac, Owner, Protocol, Snapshot,
};

use crate::harness::{Result, inside};

/// So many packets are sent before the TAP is read: fewer than its queue holds.
pub(crate) const AT_ONCE: u16 = 256;
/// Bytes of a bulk transfer.
pub(crate) const BULK: usize = 1 << 21;

const NODE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// So many addresses of the client's begin flows in turn, so that none is
/// begun twice while it is remembered.
const CLIENTS: u8 = 200;
const FIRST: u16 = 20_000;
const GUEST_PORT: u16 = 80;
const LINK: u32 = 100;

/// The guest of the linear form.
const PLAIN_GUEST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const PLAIN_GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// A client, and a guest that it reaches by a port of the host.
pub(crate) struct Path {
    client: NetNs,
    _node: NetNs,
    host: Option<Host>,
    wire: Wire,
    listener: TcpListener,
    /// What answers in the guest.
    echo: UdpSocket,
    to: SocketAddr,
    known: UdpSocket,
    /// How often flows were begun.
    begun: u8,
}

/// The guest's TAP as a VMM has it, and as its kernel has it.
struct Wire {
    host: Tap,
    guest: Tap,
}

/// What is made in the host's namespace.
type Made = (Option<Host>, Tap, Seat);

/// How a clone is connected.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    Rewritten,
    Namespaced,
}

/// Where a guest is.
struct Seat {
    mac: Mac,
    address: Ipv4Addr,
    gateway: Ipv4Addr,
}

impl Path {
    /// By the last of so many exposures, which lead to as many guests.
    pub(crate) fn by_exposures(present: u16) -> Result<Self> {
        Self::new(present, || {
            let mut host = Host::open(Owner::new("bench")?)?;
            let names = (1..=present).map(|number| Guest::new(&format!("guest-{number}")));
            let guests = host.attach_all(&names.collect::<std::result::Result<Vec<_>, _>>()?)?;
            let mut all = Vec::new();
            for (port, guest) in (FIRST..FIRST + present).zip(&guests) {
                let target = SocketAddr::new(guest.ipv4().into(), GUEST_PORT);
                for protocol in [Protocol::Tcp, Protocol::Udp] {
                    all.push(Exposure::new(protocol, port, target)?);
                }
            }
            host.expose_all(&all)?;
            let last = guests.last().ok_or("no guest")?;
            let tap = host.open_tap(last, TapOptions::nonblocking)?;
            let seat = Seat {
                mac: last.mac(),
                address: last.ipv4(),
                gateway: last.gateway_ipv4(),
            };
            Ok((Some(host), tap, seat))
        })
    }

    /// By an exposure of the last of so many clones of one snapshot.
    pub(crate) fn by_clones(snapshot: &str, way: Way, present: u16) -> Result<Self> {
        let snapshot: Snapshot = snapshot.parse()?;
        let connection = match way {
            Way::Rewritten => Connection::Rewritten(snapshot.clone()),
            Way::Namespaced => Connection::Namespaced(snapshot.clone()),
        };
        Self::new(present, || {
            // Names of namespaces are made of it.
            let mut host = Host::open(Owner::new(&format!("p{present}"))?)?;
            let names = (1..=present).map(|number| Guest::new(&format!("clone-{number}")));
            let clones = names.map(|name| Ok(name?.connection(connection.clone())));
            let clones = host.attach_all(&clones.collect::<Result<Vec<_>>>()?)?;
            let last = clones.last().ok_or("no clone")?;
            let port = FIRST + present - 1;
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                host.expose(&Exposure::new(protocol, port, (last, GUEST_PORT))?)?;
            }
            let tap = host.open_tap(last, TapOptions::nonblocking)?;
            let seat = Seat {
                mac: snapshot.mac(),
                address: snapshot.ipv4_net().addr(),
                gateway: snapshot.gateway_ipv4(),
            };
            Ok((Some(host), tap, seat))
        })
    }

    /// By the last of so many rules: a translation for each port, a permission
    /// for each guest.
    pub(crate) fn by_rules(present: u16) -> Result<Self> {
        Self::new(present, || {
            let name: IfName = "plain0".parse()?;
            let tap = TapOptions::new(name).nonblocking().create()?;
            let index = tap.index()?;
            let mac = Mac::new([2, 0, 0, 0, 0, 1])?;
            let mut rtnl = Rtnl::open()?;
            rtnl.apply(|changes| {
                changes.set_link(&LinkChange::new(index).up());
                let net = Ipv4Net::new_assert(PLAIN_GATEWAY, 30);
                changes.add_address(&Address::new(index, net.into()));
                changes.replace_neighbour(&Neighbour::new(index, PLAIN_GUEST.into(), mac));
            })?;
            for link in [index, IfIndex::new(LINK)?] {
                rtnl.apply(|changes| changes.set_ipv4(link, &[(Ipv4Setting::Forwarding, 1)]))?;
            }
            Nft::open()?.commit(&mut rules(present, name)?)?;
            let seat = Seat {
                mac,
                address: PLAIN_GUEST,
                gateway: PLAIN_GATEWAY,
            };
            Ok((None, tap, seat))
        })
    }

    fn new(present: u16, lead: impl FnOnce() -> Result<Made> + Send) -> Result<Self> {
        let (client, node, guest) = (NetNs::new()?, NetNs::new()?, NetNs::new()?);
        let link = IfIndex::new(LINK)?;
        let eth0: IfName = "eth0".parse()?;
        inside(&node, || {
            let veth = NewLink::veth(eth0, eth0).index(link).peer_index(link);
            Rtnl::open()?.apply(|changes| changes.add_link(&veth.peer_netns(&client)))?;
            Ok(())
        })?;
        let clients = (0..CLIENTS).map(self::client).collect();
        for (netns, addresses) in [(&node, vec![NODE]), (&client, clients)] {
            inside(netns, || {
                Rtnl::open()?.apply(|changes| {
                    changes.set_link(&LinkChange::new(link).up());
                    for address in addresses {
                        let net = Ipv4Net::new_assert(address, 24);
                        changes.add_address(&Address::new(link, net.into()));
                    }
                })?;
                Ok(())
            })?;
        }
        let (host, tap, seat) = inside(&node, lead)?;
        let (inner, listener, echo) = inside(&guest, || boot(&seat))?;
        let known = inside(&client, || Ok(UdpSocket::bind((CLIENT, 0))?))?;
        let mut path = Self {
            client,
            _node: node,
            host,
            wire: Wire {
                host: tap,
                guest: inner,
            },
            listener,
            echo,
            to: SocketAddr::new(IpAddr::V4(NODE), FIRST + present - 1),
            known,
            begun: 0,
        };
        // Whoever is asked for by ARP is known from then on.
        path.connects()?;
        path.established()?;
        Ok(path)
    }

    /// How long packets take of which each begins a flow.
    pub(crate) fn new_flows(&mut self) -> Result<Duration> {
        self.begun = (self.begun + 1) % CLIENTS;
        let from = client(self.begun);
        let sockets: Vec<UdpSocket> = inside(&self.client, || {
            let sockets = (0..AT_ONCE).map(|_| UdpSocket::bind((from, 0)));
            Ok(sockets.collect::<io::Result<_>>()?)
        })?;
        let start = Instant::now();
        for socket in &sockets {
            socket.send_to(b"new", self.to)?;
        }
        self.wire.drain()?;
        Ok(start.elapsed())
    }

    /// How long packets of one flow take.
    pub(crate) fn established(&mut self) -> Result<Duration> {
        let start = Instant::now();
        for _ in 0..AT_ONCE {
            self.known.send_to(b"known", self.to)?;
        }
        self.wire.drain()?;
        Ok(start.elapsed())
    }

    /// How long so many questions take, each asked when the last was answered.
    pub(crate) fn echoes(&mut self) -> Result<Duration> {
        self.known.set_nonblocking(true)?;
        let mut buffer = [0; 64];
        let start = Instant::now();
        for _ in 0..AT_ONCE {
            self.known.send_to(b"known", self.to)?;
            loop {
                self.wire.carry()?;
                if let Some((length, from)) = ready(self.echo.recv_from(&mut buffer))? {
                    self.echo.send_to(&buffer[..length], from)?;
                } else if ready(self.known.recv(&mut buffer))?.is_some() {
                    break;
                }
                waited(start)?;
            }
        }
        Ok(start.elapsed())
    }

    /// How long it takes until so many TCP connections were accepted.
    pub(crate) fn connects(&mut self) -> Result<Duration> {
        let sockets = inside(&self.client, || {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let one =
                || rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None);
            Ok((0..AT_ONCE)
                .map(|_| one())
                .collect::<std::result::Result<Vec<_>, _>>()?)
        })?;
        let start = Instant::now();
        for socket in &sockets {
            match rustix::net::connect(socket, &self.to) {
                Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let mut accepted = Vec::with_capacity(AT_ONCE.into());
        while accepted.len() < usize::from(AT_ONCE) {
            self.wire.carry()?;
            while let Some(one) = ready(self.listener.accept())? {
                accepted.push(one);
            }
            waited(start)?;
        }
        let taken = start.elapsed();
        // Reset, so that no port waits for its time.
        for socket in &sockets {
            rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO))?;
        }
        drop(sockets);
        self.wire.carry()?;
        Ok(taken)
    }

    /// How long it takes to send [`BULK`] bytes over one connection.
    pub(crate) fn bulk(&mut self) -> Result<Duration> {
        let (mut sender, mut receiver) = self.connection()?;
        let piece = vec![0; 65_536];
        let (mut sent, mut received) = (0, 0);
        let mut buffer = vec![0; 1 << 20];
        let start = Instant::now();
        while received < BULK {
            while sent < BULK {
                match ready(sender.write(&piece))? {
                    Some(length) => sent += length,
                    None => break,
                }
            }
            self.wire.carry()?;
            while let Some(length) = ready(receiver.read(&mut buffer))? {
                received += length;
            }
            waited(start)?;
        }
        let taken = start.elapsed();
        rustix::net::sockopt::set_socket_linger(&sender, Some(Duration::ZERO))?;
        drop(sender);
        self.wire.carry()?;
        Ok(taken)
    }

    fn connection(&mut self) -> Result<(TcpStream, TcpStream)> {
        let sender = inside(&self.client, || {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            Ok(rustix::net::socket_with(
                AddressFamily::INET,
                SocketType::STREAM,
                flags,
                None,
            )?)
        })?;
        match rustix::net::connect(&sender, &self.to) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let start = Instant::now();
        loop {
            self.wire.carry()?;
            if let Some((receiver, _)) = ready(self.listener.accept())? {
                receiver.set_nonblocking(true)?;
                return Ok((sender.into(), receiver));
            }
            waited(start)?;
        }
    }
}

/// The names of namespaces outlive the host's.
impl Drop for Path {
    fn drop(&mut self) {
        let Some(host) = &mut self.host else { return };
        let guests = host.guests().unwrap_or_default();
        let named = guests.iter().filter(|guest| guest.namespace().is_some());
        let names: Vec<&str> = named.map(Attachment::name).collect();
        if let Err(error) = host.detach_all(&names) {
            println!("clones are left: {error}");
        }
    }
}

impl Wire {
    /// Reads what comes for the guest until all UDP packets have; others, such
    /// as router solicitations, do not count.
    fn drain(&self) -> Result<()> {
        let start = Instant::now();
        let mut frame = [0; 2048];
        let mut come = 0;
        while come < AT_ONCE {
            match ready(self.host.receive(&mut frame))? {
                // Ethernet's type IPv4, and UDP in it.
                Some(length) if length > 23 && frame[12..14] == [0x08, 0x00] && frame[23] == 17 => {
                    come += 1;
                }
                Some(_) => {}
                None => waited(start)?,
            }
        }
        Ok(())
    }

    /// Carries frames until neither side has any.
    fn carry(&self) -> Result<()> {
        let mut frame = [0; 2048];
        let mut idle = false;
        while !idle {
            idle = true;
            for (from, to) in [(&self.host, &self.guest), (&self.guest, &self.host)] {
                while let Some(length) = ready(from.receive(&mut frame))? {
                    idle = false;
                    // A frame that the other side does not take is lost, as on
                    // a wire.
                    ready(to.send(&frame[..length]))?;
                }
            }
        }
        Ok(())
    }
}

/// One of the client's addresses.
fn client(number: u8) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(CLIENT) + u32::from(number))
}

/// The guest's kernel: an interface, and whoever listens.
fn boot(seat: &Seat) -> Result<(Tap, TcpListener, UdpSocket)> {
    let name: IfName = "eth0".parse()?;
    let tap = TapOptions::new(name).mac(seat.mac).nonblocking().create()?;
    let index = tap.index()?;
    Rtnl::open()?.apply(|changes| {
        changes.set_link(&LinkChange::new(index).up());
        let net = Ipv4Net::new_assert(seat.address, 30);
        changes.add_address(&Address::new(index, net.into()));
        let any = Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0);
        changes.add_route(&Route::new(any.into()).via(seat.gateway.into()));
    })?;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let listener = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&listener, &SocketAddr::from((seat.address, GUEST_PORT)))?;
    rustix::net::listen(&listener, 2 * i32::from(AT_ONCE))?;
    let echo = UdpSocket::bind((seat.address, GUEST_PORT))?;
    echo.set_nonblocking(true)?;
    Ok((tap, listener.into(), echo))
}

/// One rule for each port and one for each guest, the meant ones last.
fn rules(present: u16, tap: IfName) -> Result<Batch> {
    let table = Table::new(Family::INET, Name::constant("linear"));
    let base = |name, kind, hook, at| Chain::base(&table, Name::constant(name), kind, hook, at);
    let translate = base(
        "translate",
        ChainType::NAT,
        Hook::PREROUTING,
        priority::DSTNAT,
    );
    let forward = base(
        "forward",
        ChainType::FILTER,
        Hook::FORWARD,
        priority::FILTER,
    );
    let forward = forward.policy(tapwire::nft::Policy::DROP);
    let mut batch = Batch::new();
    batch.add(&table).add(&translate).add(&forward);
    for port in FIRST..FIRST + present {
        let to = (PLAIN_GUEST.into(), Some(Port(GUEST_PORT)));
        let rule = Rule::new(&translate).matching(tcp::dport().equal(Port(port)));
        batch.add(&rule.dnat(to.0, to.1));
        let rule = Rule::new(&translate).matching(udp::dport().equal(Port(port)));
        batch.add(&rule.dnat(to.0, to.1));
    }
    for other in 1..present {
        let other: IfName = format!("other{other}").parse()?;
        batch.add(
            &Rule::new(&forward)
                .matching(meta::oifname().equal(other))
                .accept(),
        );
        batch.add(
            &Rule::new(&forward)
                .matching(meta::iifname().equal(other))
                .accept(),
        );
    }
    batch.add(
        &Rule::new(&forward)
            .matching(meta::oifname().equal(tap))
            .accept(),
    );
    batch.add(
        &Rule::new(&forward)
            .matching(meta::iifname().equal(tap))
            .accept(),
    );
    Ok(batch)
}

/// Nothing, where there is nothing yet.
fn ready<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Something is lost, and nothing is measured.
fn waited(start: Instant) -> Result<()> {
    if start.elapsed() > Duration::from_secs(20) {
        return Err("packets do not arrive".into());
    }
    Ok(())
}
