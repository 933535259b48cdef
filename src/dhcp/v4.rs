//! DHCP: RFC 2131, its options RFC 2132.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::bytes::Bytes;
use super::domains;
use super::frame::{self, BROADCAST, BROADCAST_MAC, DHCP_CLIENT, DHCP_SERVER};
use crate::guest::GuestConfig;
use crate::types::Mac;

/// What of a client's message counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message {
    kind: u8,
    id: [u8; 4],
    flags: u16,
    client: Ipv4Addr,
    mac: [u8; 6],
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
    room: usize,
}

impl Message {
    /// Reads a client's message; `None` if it is none.
    pub(super) fn read(payload: &[u8]) -> Option<Self> {
        let mut bytes = Bytes(payload);
        let [op, hardware, length, _hops] = bytes.array()?;
        if (op, hardware, length) != (BOOTREQUEST, ETHERNET, 6) {
            return None;
        }
        let id = bytes.array()?;
        let _seconds = bytes.u16()?;
        let flags = bytes.u16()?;
        let client = bytes.array::<4>()?.into();
        bytes.take(12)?; // yours, next server, relay
        let mac = bytes.array()?;
        bytes.take(10 + 64 + 128)?; // rest of the hardware address, names
        if bytes.array()? != MAGIC {
            return None;
        }
        let mut message = Self {
            kind: 0,
            id,
            flags,
            client,
            mac,
            requested: None,
            server: None,
            room: ROOM,
        };
        while let Some(option) = bytes.u8() {
            match option {
                PAD => continue,
                END => break,
                _ => {}
            }
            let length = bytes.u8()?;
            let mut value = Bytes(bytes.take(length.into())?);
            match option {
                MESSAGE_TYPE => message.kind = value.u8()?,
                REQUESTED => message.requested = Some(value.array::<4>()?.into()),
                SERVER_ID => message.server = Some(value.array::<4>()?.into()),
                MAX_SIZE => {
                    let size = usize::from(value.u16()?);
                    message.room = message.room.max(size.saturating_sub(HEADERS));
                }
                _ => {}
            }
        }
        Some(message)
    }

    /// The frame that answers; `None` if there is nothing to say.
    pub(super) fn answer(&self, config: &GuestConfig, server: Mac) -> Option<Vec<u8>> {
        let address = config.ipv4()?.addr();
        let for_another = self.server.is_some_and(|server| server != SERVER);
        if self.mac != config.mac().octets() || for_another {
            return None;
        }
        let wanted = self.requested.unwrap_or(self.client);
        let (kind, yours) = match self.kind {
            DISCOVER => (OFFER, address),
            REQUEST if wanted == address => (ACK, address),
            REQUEST => (NAK, Ipv4Addr::UNSPECIFIED),
            INFORM => (ACK, Ipv4Addr::UNSPECIFIED),
            _ => return None,
        };
        let payload = self.write(kind, yours, config);
        let (to, mac) = if kind == NAK || self.flags & BROADCAST_FLAG != 0 {
            (BROADCAST, BROADCAST_MAC)
        } else if self.client.is_unspecified() {
            (yours, config.mac().octets())
        } else {
            (self.client, config.mac().octets())
        };
        frame::udp4(
            [server.octets(), mac],
            SocketAddrV4::new(SERVER, DHCP_SERVER),
            SocketAddrV4::new(to, DHCP_CLIENT),
            &payload,
        )
    }

    fn write(&self, kind: u8, yours: Ipv4Addr, config: &GuestConfig) -> Vec<u8> {
        let mut out = vec![BOOTREPLY, ETHERNET, 6, 0];
        out.extend(self.id);
        out.extend([0, 0]);
        out.extend(self.flags.to_be_bytes());
        out.extend(self.client.octets());
        out.extend(yours.octets());
        out.extend([0; 8]); // next server, relay
        out.extend(self.mac);
        out.extend([0; 10 + 64 + 128]);
        out.extend(MAGIC);
        let mut options = Options {
            out,
            room: self.room,
        };
        options.put(MESSAGE_TYPE, &[kind]);
        options.put(SERVER_ID, &SERVER.octets());
        if kind != NAK {
            options.put_config(config, yours);
        }
        options.finish()
    }
}

/// Options that are appended as far as the client has room for them.
struct Options {
    out: Vec<u8>,
    room: usize,
}

impl Options {
    /// Those that matter most come first.
    fn put_config(&mut self, config: &GuestConfig, yours: Ipv4Addr) {
        if !yours.is_unspecified() {
            self.put(LEASE_TIME, &FOR_EVER.to_be_bytes());
        }
        if let Some(net) = config.ipv4() {
            self.put(SUBNET_MASK, &net.netmask().octets());
        }
        self.put(CLASSLESS_ROUTES, &config.classless_routes());
        if let Some(gateway) = config.gateway_ipv4() {
            self.put(ROUTER, &gateway.octets());
        }
        if let Ok(mtu) = u16::try_from(config.mtu()) {
            self.put(INTERFACE_MTU, &mtu.to_be_bytes());
        }
        let servers = config.dns_servers().iter();
        let servers = servers.filter_map(|server| match server {
            std::net::IpAddr::V4(server) => Some(server.octets()),
            std::net::IpAddr::V6(_) => None,
        });
        self.put(DNS_SERVERS, &servers.flatten().collect::<Vec<u8>>());
        self.put(HOST_NAME, config.host_name().unwrap_or_default().as_bytes());
        let domain = config.search_domains().next().unwrap_or_default();
        self.put(DOMAIN_NAME, domain.as_bytes());
        self.put(DOMAIN_SEARCH, &domains::encode(config.search_domains()));
    }

    /// A long value goes into several options of one number, which the client
    /// joins (RFC 3396). An empty one says nothing.
    fn put(&mut self, option: u8, value: &[u8]) {
        let parts = value.chunks(255);
        let heads = parts.len().saturating_mul(2);
        let needed = value.len().saturating_add(heads).saturating_add(1);
        if self.out.len().saturating_add(needed) > self.room {
            log::warn!("no room for option {option} in an answer to a guest");
            return;
        }
        for part in parts {
            self.out.push(option);
            self.out.push(u8::try_from(part.len()).unwrap_or_default());
            self.out.extend(part);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        self.out.push(END);
        // Some clients take no message shorter than BOOTP's.
        self.out.resize(self.out.len().max(BOOTP), PAD);
        self.out
    }
}

/// By which the answers call their server: an address that nobody resolves,
/// since a lease for ever is not renewed.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(169, 254, 67, 67);

const BOOTREQUEST: u8 = 1;
const BOOTREPLY: u8 = 2;
const ETHERNET: u8 = 1;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
const BROADCAST_FLAG: u16 = 0x8000;
/// What every client takes: 576 bytes less the headers of IP and UDP.
const ROOM: usize = 576 - HEADERS;
const HEADERS: usize = 28;
const BOOTP: usize = 300;
const FOR_EVER: u32 = u32::MAX;

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;
const INFORM: u8 = 8;

const PAD: u8 = 0;
const SUBNET_MASK: u8 = 1;
const ROUTER: u8 = 3;
const DNS_SERVERS: u8 = 6;
const HOST_NAME: u8 = 12;
const DOMAIN_NAME: u8 = 15;
const INTERFACE_MTU: u8 = 26;
const REQUESTED: u8 = 50;
const LEASE_TIME: u8 = 51;
const MESSAGE_TYPE: u8 = 53;
const SERVER_ID: u8 = 54;
const MAX_SIZE: u8 = 57;
const DOMAIN_SEARCH: u8 = 119;
const CLASSLESS_ROUTES: u8 = 121;
const END: u8 = 255;
