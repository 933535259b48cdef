//! One exchange of datagrams, and who it is with.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use smoltcp::time::Instant;
use smoltcp::wire::IpProtocol;

use super::Ends;
use crate::proxied::listen::Doors;
use crate::proxied::outside::{Outside, Token, after};
use crate::proxied::packet::{Sent, Why};
use crate::proxied::socket;
use crate::relay::Interest;
use crate::sys;

#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) number: u64,
    pub(super) ends: Ends,
    pub(super) far: Far,
    pub(super) last: Instant,
}

/// Who the guest exchanges datagrams with.
#[derive(Debug)]
pub(super) enum Far {
    /// The peer of a socket of its own.
    Peer(UdpSocket),
    /// One of the resolvers.
    Resolver {
        socket: UdpSocket,
        address: SocketAddr,
        /// What it was asked and has not answered.
        question: Option<Vec<u8>>,
    },
    Client(Client),
}

/// A client of a door, that came to this address of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Client {
    pub(super) door: u64,
    pub(super) address: SocketAddr,
    pub(super) host: IpAddr,
}

impl Exchange {
    /// Passes on what the guest sent.
    pub(super) fn send(
        &mut self,
        outside: &mut Outside,
        doors: &Doors,
        payload: &[u8],
        now: Instant,
    ) -> io::Result<()> {
        let waited = after(self.last, RESOLVER_ANSWERS_WITHIN) <= now;
        self.last = now;
        match &mut self.far {
            Far::Peer(socket) => send(socket, payload),
            Far::Resolver {
                socket,
                address,
                question,
            } => {
                if question.is_some() && waited {
                    outside.reach.resolvers().pass_over(*address);
                }
                if let Some(next) = outside.reach.resolvers().present()
                    && next != *address
                {
                    *address = next;
                    *socket = connect(outside, self.number, next, None)?;
                }
                *question = Some(payload.to_vec());
                send(socket, payload)
            }
            Far::Client(client) => {
                // The door may have been shut meanwhile.
                let (_, socket) = doors
                    .datagrams(client.door)
                    .ok_or(ErrorKind::NotConnected)?;
                sys::send_datagram(socket, payload, client.host, client.address)
            }
        }
    }

    /// Asks the next resolver what this one refused; whether there is one.
    pub(super) fn ask_next(&mut self, outside: &mut Outside, now: Instant) -> bool {
        let Far::Resolver {
            socket,
            address,
            question,
        } = &mut self.far
        else {
            return false;
        };
        let refuser = *address;
        outside.reach.resolvers().pass_over(refuser);
        let next = outside.reach.resolvers().present();
        let (Some(next), Some(asked)) = (next.filter(|next| *next != refuser), question.take())
        else {
            return false;
        };
        self.last = now;
        *address = next;
        match connect(outside, self.number, next, None) {
            Ok(new) => {
                *socket = new;
                send(socket, &asked).is_ok()
            }
            Err(_) => false,
        }
    }

    /// Tells the guest that the other side does not take what it sends.
    pub(super) fn unreachable(&self, outside: &mut Outside, why: Why) {
        let [guest, far] = [self.ends.guest.port(), self.ends.far.port()].map(u16::to_be_bytes);
        // The length of a header without data, and no checksum.
        let start = [guest[0], guest[1], far[0], far[1], 0, 8, 0, 0];
        let sent = Sent {
            from: self.ends.guest.ip(),
            to: self.ends.far.ip(),
            protocol: IpProtocol::Udp,
            start: &start,
        };
        outside.unreachable(&sent, why);
    }
}

/// A socket of the exchange's own, that the poller waits for.
pub(super) fn connect(
    outside: &Outside,
    number: u64,
    peer: SocketAddr,
    from: Option<IpAddr>,
) -> io::Result<UdpSocket> {
    let socket = socket::connect_udp(peer, from)?;
    let token = Token::Exchange(number).into();
    outside.poller.add(&socket, token, Interest::READ)?;
    Ok(socket)
}

pub(super) fn send(socket: &UdpSocket, payload: &[u8]) -> io::Result<()> {
    let sent = socket.send(payload);
    if let Err(error) = &sent
        && error.kind() == ErrorKind::ConnectionRefused
    {
        // The peer did not take an earlier one; this one was not sent.
        return socket.send(payload).map(drop);
    }
    sent.map(drop)
}

/// What the guest is told of a failure; nothing if it is one of ours.
pub(super) fn why(error: &io::Error) -> Option<Why> {
    if error.kind() == ErrorKind::ConnectionRefused {
        return Some(Why::Port);
    }
    socket::why(error)
}

/// A resolver that was asked again after so long without an answer is passed
/// over.
const RESOLVER_ANSWERS_WITHIN: Duration = Duration::from_secs(1);
