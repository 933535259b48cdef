//! Bridges are asked for as `ip` and `bridge` do it, and what the kernel lists
//! is read.

use super::super::bridge::{BridgeOptions, BridgePort, FdbEntry, PortOptions, PortVlan};
use super::super::bridge::{decode_vlans, encode_vlans};
use super::golden::{body, bytes, same_as_ip};
use super::{index, only, request};
use crate::wire::uapi::rtnetlink::{RTM_NEWLINK, RTM_NEWNEIGH};

/// As the other way, but the order of attributes counts too, and `bridge`
/// leaves `NLA_F_NESTED` out.
#[track_caller]
fn same_as_bridge(mut ours: Vec<u8>, golden: &str) {
    ours[19] &= 0x7f;
    assert_eq!(ours, bytes(golden));
}

#[test]
fn options_are_encoded_as_ip_does() {
    // ip link set dev br0 type bridge vlan_filtering 1 vlan_default_pvid 0
    //   stp_state 0 mcast_snooping 0 ageing_time 3000
    let options = BridgeOptions::new()
        .vlan_filtering(true)
        .default_vlan(0)
        .stp(false)
        .multicast_snooping(false)
        .ageing(3000);
    same_as_ip(
        16,
        |out| options.encode(index(20), out),
        "000000001400000000000000000000003c0012000a00010062726964676500002c000200050007000100000006002700000000000800050000000000050017000000000008000400b80b0000",
    );
    // ip link set dev tap0 type bridge_slave hairpin on guard on learning off
    //   flood off mcast_flood off neigh_suppress on isolated on
    let on = PortOptions::HAIRPIN
        | PortOptions::GUARD
        | PortOptions::NEIGH_SUPPRESS
        | PortOptions::ISOLATED;
    let off = PortOptions::LEARNING | PortOptions::FLOOD | PortOptions::MULTICAST_FLOOD;
    let port = BridgePort::new().on(on).off(off);
    let golden = "0000000002000000000000000000000050001200100001006272696467655f736c6176653c000500050004000100000005000500010000000500080000000000050009000000000005001b000000000005002000010000000500210001000000";
    let mut ours = body(|out| port.encode(index(2), out));
    // ip names the kind of the port in IFLA_INFO_KIND, which the kernel takes
    // for that of the link.
    assert_eq!(ours[22..24], [4, 0]);
    ours[22] = 1;
    for nested in [19, 39] {
        ours[nested] &= 0x7f;
    }
    assert_eq!(ours, bytes(golden));
    let read = request(RTM_NEWLINK, |out| port.encode(index(2), out));
    assert_eq!(BridgePort::decode(&only(&read)), Ok(Some(port)));
}

#[test]
fn vlans_are_encoded_as_bridge_does() {
    let vlans = |of_bridge, vlans: &[PortVlan], port| {
        body(|out| encode_vlans(index(port), of_bridge, vlans, out))
    };
    // bridge vlan add dev tap0 vid 10-12 tagged
    same_as_bridge(
        vlans(false, &[PortVlan::tagged(10, 12)], 2),
        "0700000002000000000000000000000014001a000800020008000a000800020010000c00",
    );
    // bridge vlan add dev tap0 vid 20 pvid untagged
    same_as_bridge(
        vlans(false, &[PortVlan::untagged(20)], 2),
        "070000000200000000000000000000000c001a000800020006001400",
    );
    // bridge vlan add dev br0 vid 30 self
    same_as_bridge(
        vlans(true, &[PortVlan::tagged(30, 30)], 20),
        "0700000014000000000000000000000014001a0006000000020000000800020000001e00",
    );
    let both = [PortVlan::untagged(20), PortVlan::tagged(100, 199)];
    let message = request(RTM_NEWLINK, |out| {
        encode_vlans(index(2), false, &both, out);
    });
    let read = decode_vlans(&only(&message)).unwrap();
    assert_eq!(read, Some((index(2), both.to_vec())));
    let refused = |first, last| PortVlan::tagged(first, last).check().is_err();
    assert!(refused(0, 1) && refused(1, 4095) && refused(2, 1) && !refused(1, 4094));
}

#[test]
fn forwarding_entries_are_encoded_as_bridge_does() {
    let remote = |address: &str| address.parse().unwrap();
    let mac = |mac: &str| mac.parse().unwrap();
    // bridge fdb append 00:00:00:00:00:00 dst 192.0.2.9 dev vx0
    let flood = FdbEntry::flood(index(21), remote("192.0.2.9"));
    assert_eq!(
        body(|out| flood.encode(out)),
        bytes("0700000015000000c00002000a000200000000000000000008000100c0000209")
    );
    // bridge fdb add 02:00:00:00:0a:02 dst 192.0.2.10 dev vx0
    let behind = FdbEntry::behind(index(21), mac("02:00:00:00:0a:02"), remote("192.0.2.10"));
    assert_eq!(
        body(|out| behind.encode(out)),
        bytes("0700000015000000c00002000a000200020000000a02000008000100c000020a")
    );
    // bridge fdb add 02:00:00:00:0a:01 dev tap0 master static
    let port = FdbEntry::on_port(index(2), mac("02:00:00:00:0a:01"));
    assert_eq!(
        body(|out| port.encode(out)),
        bytes("0700000002000000420004000a000200020000000a010000").map_state()
    );
    // bridge fdb show dev vx0
    let listed = request(RTM_NEWNEIGH, |out| {
        out.fixed(&bytes("0700000015000000c00002010a000200020000000a02000008000100c000020a1400030000000000020000000200000000000000"));
    });
    let listed = FdbEntry::decode(&only(&listed)).unwrap().unwrap();
    assert_eq!(
        (listed.mac(), listed.remote(), listed.is_static()),
        (behind.mac(), behind.remote(), true)
    );
}

trait Reachable {
    /// `bridge` says `static` by `NUD_NOARP` and `NUD_REACHABLE`, of which the
    /// kernel looks at the first only.
    fn map_state(self) -> Self;
}

impl Reachable for Vec<u8> {
    fn map_state(mut self) -> Self {
        self[8] &= !2;
        self
    }
}
