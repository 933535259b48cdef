//! A tracked flow.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_core::ParseableParametrized;
use netlink_packet_netfilter::conntrack::{
    ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Tuple as Part,
};

use crate::wire::uapi::conntrack::{CTA_TUPLE_ORIG, IPCTNL_MSG_CT_NEW};
use crate::wire::{Attrs, DecodeError};

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    source_port: Option<u16>,
    destination_port: Option<u16>,
}

impl Tuple {
    /// The source address.
    pub fn source(&self) -> IpAddr {
        self.source
    }

    /// The destination address.
    pub fn destination(&self) -> IpAddr {
        self.destination
    }

    /// The protocol by its IANA number.
    pub fn protocol(&self) -> u8 {
        self.protocol
    }

    /// The source port, if the protocol has ports.
    pub fn source_port(&self) -> Option<u16> {
        self.source_port
    }

    /// The destination port, if the protocol has ports.
    pub fn destination_port(&self) -> Option<u16> {
        self.destination_port
    }

    fn read(parts: &[Part]) -> Option<Self> {
        let (mut source, mut destination, mut protocol) = (None, None, None);
        let (mut source_port, mut destination_port) = (None, None);
        for part in parts {
            match part {
                Part::Ip(addresses) => {
                    for address in addresses {
                        match *address {
                            IPTuple::SourceAddress(address) => source = Some(address),
                            IPTuple::DestinationAddress(address) => destination = Some(address),
                            _ => {}
                        }
                    }
                }
                Part::Proto(fields) => {
                    for field in fields {
                        match *field {
                            ProtoTuple::Protocol(number) => protocol = Some(number.into()),
                            ProtoTuple::SourcePort(port) => source_port = Some(port),
                            ProtoTuple::DestinationPort(port) => destination_port = Some(port),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        Some(Self {
            source: source?,
            destination: destination?,
            protocol: protocol?,
            source_port,
            destination_port,
        })
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            6 => f.write_str("tcp")?,
            17 => f.write_str("udp")?,
            number => write!(f, "protocol {number}")?,
        }
        write!(f, " src {} dst {}", self.source, self.destination)?;
        match (self.source_port, self.destination_port) {
            (Some(source), Some(destination)) => write!(f, " sport {source} dport {destination}"),
            _ => Ok(()),
        }
    }
}

/// A flow that the kernel tracks, with both of its directions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Flow {
    original: Tuple,
    reply: Tuple,
    original_bytes: Box<[u8]>,
}

impl Flow {
    /// The direction of the first packet, before any translation.
    pub fn original(&self) -> &Tuple {
        &self.original
    }

    /// The direction of the answers: its source is who really answers.
    pub fn reply(&self) -> &Tuple {
        &self.reply
    }

    /// The original direction as the kernel encodes it, which names the flow
    /// exactly for protocols without ports too.
    pub(super) fn original_bytes(&self) -> &[u8] {
        &self.original_bytes
    }

    /// Reads a flow; `None` for one without addresses.
    pub(crate) fn read(attrs: &Attrs<'_>) -> Result<Option<Self>, DecodeError> {
        let unreadable = DecodeError::Truncated {
            what: "conntrack flow",
        };
        let kind = u8::try_from(IPCTNL_MSG_CT_NEW).unwrap_or_default();
        let message =
            ConntrackMessage::parse_with_param(attrs.as_bytes(), kind).map_err(|_| unreadable)?;
        let ConntrackMessage::New(attributes) = message else {
            return Ok(None);
        };
        let (mut original, mut reply) = (None, None);
        for attribute in &attributes {
            match attribute {
                ConntrackAttribute::CtaTupleOrig(parts) => original = Tuple::read(parts),
                ConntrackAttribute::CtaTupleReply(parts) => reply = Tuple::read(parts),
                _ => {}
            }
        }
        let original_bytes = attrs.clone().find(CTA_TUPLE_ORIG)?;
        Ok(match (original, reply, original_bytes) {
            (Some(original), Some(reply), Some(bytes)) => Some(Self {
                original,
                reply,
                original_bytes: bytes.as_bytes().into(),
            }),
            _ => None,
        })
    }
}
