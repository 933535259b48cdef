//! DHCPv6: RFC 8415, its name servers RFC 3646.

use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};

use super::bytes::Bytes;
use super::domains;
use super::frame::{self, DHCP6_SERVER};
use crate::guest::GuestConfig;
use crate::types::Mac;

/// What of a client's message counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message<'a> {
    kind: u8,
    id: [u8; 3],
    client: Option<&'a [u8]>,
    server: Option<&'a [u8]>,
    associations: Vec<Association>,
    rapid_commit: bool,
}

/// A number that the client gave, for which it wants addresses, and those
/// that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Association {
    id: [u8; 4],
    addresses: Vec<Ipv6Addr>,
}

impl<'a> Message<'a> {
    /// Reads a client's message; `None` if it is none.
    pub(super) fn read(payload: &'a [u8]) -> Option<Self> {
        let mut bytes = Bytes(payload);
        let mut message = Self {
            kind: bytes.u8()?,
            id: bytes.array()?,
            client: None,
            server: None,
            associations: Vec::new(),
            rapid_commit: false,
        };
        while !bytes.0.is_empty() {
            let (option, value) = option(&mut bytes)?;
            match option {
                CLIENT_ID => message.client = Some(value),
                SERVER_ID => message.server = Some(value),
                IA_NA => message.associations.push(Association::read(value)?),
                RAPID_COMMIT => message.rapid_commit = true,
                _ => {}
            }
        }
        Some(message)
    }

    /// The frame that answers; `None` if there is nothing to say.
    pub(super) fn answer(
        &self,
        from: SocketAddrV6,
        config: &GuestConfig,
        server: Mac,
    ) -> Option<Vec<u8>> {
        let own = server_id(server);
        let for_this = self.server.is_none_or(|server| server == own);
        let named = self.server.is_some();
        // Who must and who must not name a server, and himself (16.2 to 16.12).
        let is_valid = match self.kind {
            SOLICIT | CONFIRM | REBIND => !named && self.client.is_some(),
            REQUEST | RENEW | RELEASE | DECLINE => named && self.client.is_some(),
            INFORMATION_REQUEST => self.associations.is_empty(),
            _ => false,
        };
        if !is_valid || !for_this || !from.ip().is_unicast_link_local() {
            return None;
        }
        let rapid = self.kind == SOLICIT && self.rapid_commit;
        let kind = match self.kind {
            SOLICIT if !rapid => ADVERTISE,
            _ => REPLY,
        };
        let mut out = vec![kind];
        out.extend(self.id);
        if let Some(client) = self.client {
            put(&mut out, CLIENT_ID, client)?;
        }
        put(&mut out, SERVER_ID, &own)?;
        if rapid {
            put(&mut out, RAPID_COMMIT, &[])?;
        }
        match self.kind {
            SOLICIT | REQUEST | RENEW | REBIND => self.put_addresses(&mut out, config)?,
            CONFIRM => put_status(&mut out, self.confirmed(config)?)?,
            RELEASE | DECLINE => put_status(&mut out, SUCCESS)?,
            _ => {}
        }
        put_names(&mut out, config)?;
        let own = SocketAddrV6::new(frame::link_local(server), DHCP6_SERVER, 0, 0);
        let macs = [server.octets(), config.mac().octets()];
        frame::udp6(macs, own, from, &out)
    }

    /// The first association gets all addresses, for ever; others none.
    fn put_addresses(&self, out: &mut Vec<u8>, config: &GuestConfig) -> Option<()> {
        let mut addresses: Vec<Ipv6Addr> = config.all_ipv6().map(|net| net.addr()).collect();
        for association in &self.associations {
            let mut value = association.id.to_vec();
            value.extend([u8::MAX; 8]); // neither renewed nor rebound
            if addresses.is_empty() {
                put_status(&mut value, NO_ADDRESSES)?;
            }
            // Those that the client had from elsewhere it must not keep.
            let foreign = association.addresses.iter();
            let foreign: Vec<Ipv6Addr> = foreign
                .copied()
                .filter(|address| !addresses.contains(address))
                .collect();
            for (address, lifetime) in addresses
                .drain(..)
                .map(|address| (address, u32::MAX))
                .chain(foreign.into_iter().map(|address| (address, 0)))
            {
                let mut entry = address.octets().to_vec();
                entry.extend(lifetime.to_be_bytes()); // preferred
                entry.extend(lifetime.to_be_bytes()); // valid
                put(&mut value, IA_ADDRESS, &entry)?;
            }
            put(out, IA_NA, &value)?;
        }
        Some(())
    }

    /// Whether what the client has is right for this link; `None` if it says
    /// nothing of what it has (18.3.3).
    fn confirmed(&self, config: &GuestConfig) -> Option<u16> {
        let mut had = self.associations.iter().flat_map(|it| &it.addresses);
        let is_own = |had: &Ipv6Addr| config.all_ipv6().any(|net| net.addr() == *had);
        had.clone().next()?;
        Some(if had.all(is_own) {
            SUCCESS
        } else {
            NOT_ON_LINK
        })
    }
}

impl Association {
    fn read(value: &[u8]) -> Option<Self> {
        let mut bytes = Bytes(value);
        let id = bytes.array()?;
        let _times: [u8; 8] = bytes.array()?;
        let mut addresses = Vec::new();
        while !bytes.0.is_empty() {
            let (option, value) = option(&mut bytes)?;
            if option == IA_ADDRESS {
                addresses.push(Bytes(value).array::<16>()?.into());
            }
        }
        Some(Self { id, addresses })
    }
}

fn option<'a>(bytes: &mut Bytes<'a>) -> Option<(u16, &'a [u8])> {
    let (option, length) = (bytes.u16()?, bytes.u16()?);
    Some((option, bytes.take(length.into())?))
}

fn put(out: &mut Vec<u8>, option: u16, value: &[u8]) -> Option<()> {
    let length = u16::try_from(value.len()).ok()?;
    out.extend(option.to_be_bytes());
    out.extend(length.to_be_bytes());
    out.extend(value);
    Some(())
}

fn put_status(out: &mut Vec<u8>, status: u16) -> Option<()> {
    put(out, STATUS, &status.to_be_bytes())
}

fn put_names(out: &mut Vec<u8>, config: &GuestConfig) -> Option<()> {
    let servers = config.dns_servers().iter();
    let servers = servers.filter_map(|server| match server {
        IpAddr::V4(_) => None,
        IpAddr::V6(server) => Some(server.octets()),
    });
    let servers: Vec<u8> = servers.flatten().collect();
    if !servers.is_empty() {
        put(out, DNS_SERVERS, &servers)?;
    }
    let search = domains::encode(config.search_domains());
    if !search.is_empty() {
        put(out, DOMAIN_LIST, &search)?;
    }
    Some(())
}

/// A DUID of the kind `DUID-LL` (11.4).
fn server_id(mac: Mac) -> Vec<u8> {
    let mut id = vec![0, 3, 0, 1];
    id.extend(mac.octets());
    id
}

const SOLICIT: u8 = 1;
const ADVERTISE: u8 = 2;
const REQUEST: u8 = 3;
const CONFIRM: u8 = 4;
const RENEW: u8 = 5;
const REBIND: u8 = 6;
const REPLY: u8 = 7;
const RELEASE: u8 = 8;
const DECLINE: u8 = 9;
const INFORMATION_REQUEST: u8 = 11;

const CLIENT_ID: u16 = 1;
const SERVER_ID: u16 = 2;
const IA_NA: u16 = 3;
const IA_ADDRESS: u16 = 5;
const STATUS: u16 = 13;
const RAPID_COMMIT: u16 = 14;
const DNS_SERVERS: u16 = 23;
const DOMAIN_LIST: u16 = 24;

const SUCCESS: u16 = 0;
const NO_ADDRESSES: u16 = 2;
const NOT_ON_LINK: u16 = 4;
