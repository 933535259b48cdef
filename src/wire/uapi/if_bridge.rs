//! `linux/if_bridge.h`.

use super::uapi;

uapi! {
    "linux/if_bridge.h";
    IFLA_BRIDGE_FLAGS: U16 = 0;
    IFLA_BRIDGE_VLAN_INFO: Bytes = 2;
    const BRIDGE_FLAGS_SELF: u16 = 2;
    const BRIDGE_VLAN_INFO_PVID: u16 = 2;
    const BRIDGE_VLAN_INFO_UNTAGGED: u16 = 4;
    const BRIDGE_VLAN_INFO_RANGE_BEGIN: u16 = 8;
    const BRIDGE_VLAN_INFO_RANGE_END: u16 = 16;
}
