//! A bridge that only joins two ports: what one takes in, the other gives
//! out. `bridge(8)`, `linux/if_bridge.h`.

use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind,
    LinkAttribute, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};

use crate::wire::Flags;
use crate::wire::uapi::neighbour::NUD_NOARP;
use crate::wire::uapi::rtnetlink::{RTM_NEWLINK, RTM_NEWNEIGH};
use crate::{IfIndex, IfName, Mac};

use super::changes::{ADD, Changes, REPLACE};
use super::codec::emit;
use super::new_link::check_mtu;

impl Changes<'_> {
    /// Makes a bridge, down, whose ports forward from the first frame on:
    /// without the spanning tree, whose ports wait, and without the snooping
    /// that keeps groups from a port until it is seen to join them.
    pub(crate) fn add_plain_bridge(&mut self, name: IfName, mac: Mac, mtu: u32) {
        let settings = vec![
            InfoBridge::StpState(BridgeStpState::Disabled),
            InfoBridge::ForwardDelay(0),
            InfoBridge::MulticastSnooping(false),
        ];
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.as_str().into()),
            LinkAttribute::Address(mac.octets().to_vec()),
            LinkAttribute::Mtu(mtu),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Bridge),
                LinkInfo::Data(InfoData::Bridge(settings)),
            ]),
        ];
        self.push(check_mtu(Some(mtu)), RTM_NEWLINK, ADD, |out| {
            emit(out, &message);
        });
    }

    /// Has a port learn no addresses: what the bridge does not know goes out
    /// by the other port.
    pub(crate) fn stop_learning(&mut self, port: IfIndex) {
        let mut message = LinkMessage::default();
        message.header.index = port.get();
        message.attributes = vec![LinkAttribute::LinkInfo(vec![
            LinkInfo::PortKind(InfoPortKind::Bridge),
            LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::Learning(
                false,
            )])),
        ])];
        self.push(Ok(()), RTM_NEWLINK, Flags::empty(), |out| {
            emit(out, &message);
        });
    }

    /// Has the bridge send what is for `mac` out by `port`, also if it is the
    /// address of the other port, which the bridge would keep for its own.
    pub(crate) fn lead_to_port(&mut self, mac: Mac, port: IfIndex) {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = port.get();
        message.header.state = NeighbourState::from(NUD_NOARP);
        message.header.flags = NeighbourFlags::Controller | NeighbourFlags::Sticky;
        let address = NeighbourAttribute::LinkLayerAddress(mac.octets().to_vec());
        message.attributes = vec![address];
        self.push(Ok(()), RTM_NEWNEIGH, REPLACE, |out| emit(out, &message));
    }
}
