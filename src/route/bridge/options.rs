//! What holds for a bridge as a whole: `IFLA_BR_*` of `linux/if_link.h`.

use netlink_packet_route::link::{
    BridgeStpState, InfoBridge, InfoData, InfoKind, LinkAttribute, LinkInfo, LinkMessage,
};

use crate::IfIndex;
use crate::error::Invalid;
use crate::route::codec::emit;
use crate::wire::Writer;

/// Options of a bridge; what is not said stays, or is the kernel's choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BridgeOptions {
    vlan_filtering: Option<bool>,
    default_vlan: Option<u16>,
    stp: Option<bool>,
    forward_delay: Option<u32>,
    ageing: Option<u32>,
    multicast_snooping: Option<bool>,
}

impl BridgeOptions {
    /// Says nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has ports forward from the first frame on: without the spanning tree
    /// protocol, whose ports wait, and without the snooping that keeps groups
    /// from a port until it is seen to join them.
    pub fn plain() -> Self {
        Self::new()
            .stp(false)
            .forward_delay(0)
            .multicast_snooping(false)
    }

    /// Has ports carry only the VLANs that they are given
    /// ([`PortVlan`](super::PortVlan)), or all frames as they are.
    #[must_use]
    pub fn vlan_filtering(mut self, filtering: bool) -> Self {
        self.vlan_filtering = Some(filtering);
        self
    }

    /// The VLAN that a new port is given, untagged; 0 for none.
    #[must_use]
    pub fn default_vlan(mut self, id: u16) -> Self {
        self.default_vlan = Some(id);
        self
    }

    /// Runs the spanning tree protocol, or not.
    #[must_use]
    pub fn stp(mut self, wanted: bool) -> Self {
        self.stp = Some(wanted);
        self
    }

    /// How long a port listens before it forwards, in hundredths of a second;
    /// 0 is for bridges without the spanning tree protocol.
    #[must_use]
    pub fn forward_delay(mut self, hundredths: u32) -> Self {
        self.forward_delay = Some(hundredths);
        self
    }

    /// How long a learned address is remembered, in hundredths of a second.
    #[must_use]
    pub fn ageing(mut self, hundredths: u32) -> Self {
        self.ageing = Some(hundredths);
        self
    }

    /// Keeps multicast from ports on which nobody was seen to join, or not.
    #[must_use]
    pub fn multicast_snooping(mut self, wanted: bool) -> Self {
        self.multicast_snooping = Some(wanted);
        self
    }

    pub(in crate::route) fn check(&self) -> Result<(), Invalid> {
        match self.default_vlan {
            Some(id) if id > 4094 => Err(Invalid::new("VLAN id", id, "is above 4094")),
            _ => Ok(()),
        }
    }

    pub(in crate::route) fn info(&self) -> Option<InfoData> {
        let stp = |wanted| {
            if wanted {
                BridgeStpState::KernelStp
            } else {
                BridgeStpState::Disabled
            }
        };
        let info: Vec<InfoBridge> = [
            self.vlan_filtering.map(InfoBridge::VlanFiltering),
            self.default_vlan.map(InfoBridge::VlanDefaultPvid),
            self.stp.map(stp).map(InfoBridge::StpState),
            self.forward_delay.map(InfoBridge::ForwardDelay),
            self.ageing.map(InfoBridge::AgeingTime),
            self.multicast_snooping.map(InfoBridge::MulticastSnooping),
        ]
        .into_iter()
        .flatten()
        .collect();
        (!info.is_empty()).then_some(InfoData::Bridge(info))
    }

    /// The body of an `RTM_NEWLINK` for a bridge that is there.
    pub(in crate::route) fn encode(&self, bridge: IfIndex, out: &mut Writer<'_>) {
        let mut message = LinkMessage::default();
        message.header.index = bridge.get();
        let mut info = vec![LinkInfo::Kind(InfoKind::Bridge)];
        info.extend(self.info().map(LinkInfo::Data));
        message.attributes = vec![LinkAttribute::LinkInfo(info)];
        emit(out, &message);
    }
}
