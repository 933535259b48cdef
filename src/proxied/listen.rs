//! Exposures: sockets of the process that listen for the guest.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use ipnet::IpNet;
use rustix::io::Errno;
use smoltcp::time::Instant;

use super::outside::{Token, after};
use super::settings::ProxiedSettings;
use crate::conflict::Conflict;
use crate::error::{Error, Invalid};
use crate::exposure::{Destination, Exposure, Mapping, Protocol};
use crate::relay::{Interest, Poller, socket as streams};
use crate::sys;

/// Everything that listens, by number.
#[derive(Debug, Default)]
pub(super) struct Doors {
    all: BTreeMap<u64, Listening>,
    exposures: Vec<Exposure>,
    next: u64,
    /// Nobody is accepted until then.
    paused: Option<Instant>,
}

#[derive(Debug)]
struct Listening {
    door: Door,
    socket: Socket,
    exposure: Exposure,
}

/// A socket that listens.
#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

/// Where something comes in, whom it is open to, and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Door {
    pub(super) number: u64,
    pub(super) guest: SocketAddr,
    /// It listens on all addresses, of which the loopback ones do not count.
    everywhere: bool,
    allowed: Vec<IpNet>,
    limit: Option<u32>,
}

impl Door {
    /// Whether this client is let in at this address of ours, where so many
    /// are already.
    pub(super) fn admits(&self, client: IpAddr, host: IpAddr, open: u32) -> bool {
        let is_allowed =
            self.allowed.is_empty() || self.allowed.iter().any(|net| net.contains(&client));
        let is_there = !(self.everywhere && host.is_loopback());
        is_allowed && is_there && self.limit.is_none_or(|limit| open < limit)
    }
}

impl Doors {
    /// Listens at all ports of the exposure, or at none.
    pub(super) fn expose(
        &mut self,
        exposure: &Exposure,
        settings: &ProxiedSettings,
        poller: &Poller,
    ) -> Result<(), Error> {
        let mappings = mappings(exposure, settings)?;
        if self.exposures.contains(exposure) {
            return Ok(());
        }
        let other = self
            .exposures
            .iter()
            .find(|other| other.shares_ports_with(exposure));
        if let Some(other) = other {
            return Err(Conflict::new(exposure, format!("the exposure {other}")).into());
        }
        let first = self.next;
        for mapping in mappings {
            let opened = self.open(exposure, mapping, poller);
            if let Err(error) = opened {
                self.all.retain(|number, _| *number <= first);
                return Err(error);
            }
        }
        self.exposures.push(exposure.clone());
        Ok(())
    }

    /// Listens no more for an exposure; connections go on.
    pub(super) fn unexpose(&mut self, exposure: &Exposure) -> Result<(), Error> {
        let place = self.exposures.iter().position(|one| one == exposure);
        let Some(place) = place else {
            return Err(Error::Absent {
                kind: "exposure",
                name: exposure.to_string().into(),
            });
        };
        self.exposures.remove(place);
        self.all
            .retain(|_, listening| listening.exposure != *exposure);
        Ok(())
    }

    pub(super) fn exposures(&self) -> &[Exposure] {
        &self.exposures
    }

    /// What listens for datagrams under this number.
    pub(super) fn datagrams(&self, number: u64) -> Option<(&Door, &UdpSocket)> {
        match self.all.get(&number)? {
            Listening {
                door,
                socket: Socket::Udp(socket),
                ..
            } => Some((door, socket)),
            Listening { .. } => None,
        }
    }

    /// Takes a client that waits at this door, if there is one.
    pub(super) fn accept(
        &mut self,
        number: u64,
        poller: &Poller,
        now: Instant,
    ) -> Option<(TcpStream, Door)> {
        let listening = self.all.get(&number)?;
        let Socket::Tcp(listener) = &listening.socket else {
            return None;
        };
        loop {
            match streams::accept(listener) {
                Ok(stream) => return Some((stream, listening.door.clone())),
                Err(Errno::AGAIN) => return None,
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    self.pause(poller, now);
                    return None;
                }
                // A client that has gone, and the network's errors of a new
                // connection, which accept(2) says to take for one.
                Err(_) => {}
            }
        }
    }

    /// When clients are taken again, if they are not.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.paused
    }

    /// Takes clients again when the pause is over.
    pub(super) fn resume(&mut self, poller: &Poller, now: Instant) {
        if self.paused.is_some_and(|until| until <= now) && self.watch(poller, Interest::READ) {
            self.paused = None;
        }
    }

    /// Lets clients wait for a while, since accepting them fails.
    fn pause(&mut self, poller: &Poller, now: Instant) {
        self.watch(poller, Interest::NONE);
        self.paused = Some(after(now, PAUSE));
    }

    fn watch(&self, poller: &Poller, interest: Interest) -> bool {
        self.all
            .iter()
            .all(|(number, listening)| match &listening.socket {
                Socket::Tcp(listener) => poller
                    .modify(listener, Token::Door(*number).into(), interest)
                    .is_ok(),
                Socket::Udp(_) => true,
            })
    }

    fn open(
        &mut self,
        exposure: &Exposure,
        mapping: Mapping,
        poller: &Poller,
    ) -> Result<(), Error> {
        self.next = self.next.saturating_add(1);
        let guest = mapping.guest();
        let any: IpAddr = if guest.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let address = mapping.host_address.unwrap_or(any);
        let at = SocketAddr::new(address, mapping.host_port.get());
        let failed = |call| move |source| Error::system(call, at, source);
        let token = Token::Door(self.next).into();
        let socket = if mapping.protocol == Protocol::Tcp {
            let listener = streams::listen_tcp(at).map_err(|error| taken(exposure, error))?;
            let added = poller.add(&listener, token, Interest::READ);
            added.map_err(failed("epoll_ctl"))?;
            Socket::Tcp(listener)
        } else {
            let socket = streams::listen_udp(at).map_err(|error| taken(exposure, error))?;
            let told = sys::tell_destinations(&socket, at.is_ipv4());
            told.map_err(failed("setsockopt PKTINFO"))?;
            let added = poller.add(&socket, token, Interest::READ);
            added.map_err(failed("epoll_ctl"))?;
            Socket::Udp(socket)
        };
        let door = Door {
            number: self.next,
            guest,
            everywhere: mapping.host_address.is_none(),
            allowed: exposure.allowed().to_vec(),
            limit: exposure.connection_limit(),
        };
        let exposure = exposure.clone();
        self.all.insert(
            self.next,
            Listening {
                door,
                socket,
                exposure,
            },
        );
        Ok(())
    }
}

/// Each port of the host with where it leads.
fn mappings(exposure: &Exposure, settings: &ProxiedSettings) -> Result<Vec<Mapping>, Error> {
    if ![Protocol::Tcp, Protocol::Udp].contains(&exposure.protocol()) {
        let why = "cannot be proxied, only tcp and udp can";
        return Err(Invalid::new("protocol", exposure.protocol(), why).into());
    }
    exposure.check_clients()?;
    let [target] = exposure.targets() else {
        let why = "leads to several guests, of which a proxy has one";
        return Err(Invalid::new("exposure", exposure, why).into());
    };
    let absent = || Error::Absent {
        kind: "guest behind this proxy",
        name: target.guest().to_string().into(),
    };
    let address_of = |guest: &Destination, ipv4| match guest {
        Destination::Name(name) if *name == settings.name => Ok(settings.guest(ipv4)),
        Destination::Address(address) if *address == settings.guest(ipv4) => Ok(*address),
        _ => Err(absent()),
    };
    let mut mappings = Vec::new();
    exposure.map_to(target, address_of, &mut |mapping| mappings.push(mapping))?;
    Ok(mappings)
}

/// A port that another socket has is said to be so in the words of exposures.
fn taken(exposure: &Exposure, error: Error) -> Error {
    match error {
        Error::Conflict(_) => Conflict::new(exposure, "a socket that is bound there").into(),
        error => error,
    }
}

const PAUSE: Duration = Duration::from_millis(100);
