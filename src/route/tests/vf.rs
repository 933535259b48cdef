//! Virtual functions are asked for as `ip` does it, and what the kernel lists
//! is read: of cards that are not here, so by its format.

use super::super::vf::{VfLinkState, VfRate, VfVlan, VirtualFunction};
use super::golden::{body, bytes};
use super::{index, only, request};
use crate::wire::uapi::rtnetlink::RTM_NEWLINK;

/// The bytes of `ip` differ in `NLA_F_NESTED`, which it leaves out.
#[track_caller]
fn same_as_ip(function: VirtualFunction, golden: &str) {
    let mut ours = body(|out| function.encode(index(7), out));
    // The upper bytes of IFLA_VFINFO_LIST, IFLA_VF_INFO, IFLA_VF_VLAN_LIST.
    for at in [19, 23, 27] {
        ours[at] &= 0x7f;
    }
    assert_eq!(ours, bytes(golden));
}

#[test]
fn virtual_functions_are_set_as_ip_does() {
    let two = || VirtualFunction::new(2);
    let vlan = VfVlan {
        id: 100,
        qos: 3,
        service: false,
    };
    // ip link set dev pf vf 2 mac 02:00:00:00:00:42
    same_as_ip(
        two().mac("02:00:00:00:00:42".parse().unwrap()),
        "00000000070000000000000000000000300016002c00010028000100020000000200000000420000000000000000000000000000000000000000000000000000",
    );
    // … vlan 100 qos 3
    same_as_ip(
        two().vlan(vlan),
        "00000000070000000000000000000000180016001400010010000200020000006400000003000000",
    );
    // … vlan 100 qos 3 proto 802.1ad
    let service = VfVlan {
        service: true,
        ..vlan
    };
    same_as_ip(
        two().vlan(service),
        "00000000070000000000000000000000200016001c00010018000c001400010002000000640000000300000088a80000",
    );
    // … trust on
    same_as_ip(
        two().trust(true),
        "0000000007000000000000000000000014001600100001000c0009000200000001000000",
    );
    // … spoofchk off
    same_as_ip(
        two().spoof_check(false),
        "0000000007000000000000000000000014001600100001000c0004000200000000000000",
    );
    // … state disable
    same_as_ip(
        two().link_state(VfLinkState::DISABLE),
        "0000000007000000000000000000000014001600100001000c0005000200000002000000",
    );
    // … max_tx_rate 1000 min_tx_rate 200
    same_as_ip(
        two().rate(VfRate {
            least: 200,
            most: 1000,
        }),
        "0000000007000000000000000000000018001600140001001000060002000000c8000000e8030000",
    );
    // … mac 02:00:00:00:00:42 trust on
    same_as_ip(
        two().mac("02:00:00:00:00:42".parse().unwrap()).trust(true),
        "000000000700000000000000000000003c00160038000100280001000200000002000000004200000000000000000000000000000000000000000000000000000c0009000200000001000000",
    );
}

#[test]
fn virtual_functions_read_back_as_they_were_set() {
    let all = VirtualFunction::new(5)
        .mac("02:00:00:00:00:42".parse().unwrap())
        .vlan(VfVlan {
            id: 7,
            qos: 1,
            service: true,
        })
        .trust(true)
        .spoof_check(false)
        .link_state(VfLinkState::ENABLE)
        .rate(VfRate { least: 1, most: 2 });
    let message = request(RTM_NEWLINK, |out| all.encode(index(7), out));
    assert_eq!(VirtualFunction::decode_all(&only(&message)), Ok(vec![all]));
}

#[test]
fn what_a_driver_does_not_tell_is_not_known() {
    // As rtnl_fill_vfinfo writes it: MAC, broadcast, VLAN, rates, spoof check,
    // state, RSS query, trust, and the VLAN's list; -1 where the driver is
    // silent.
    let list = [
        "00000000070000000000000000000000 c8001600 c4000100",
        "28000100 00000000 0000000000000000000000000000000000000000000000000000000000000000",
        "24000d00 ffffffffffff0000000000000000000000000000000000000000000000000000",
        "10000200 00000000 00000000 00000000",
        "10000600 00000000 00000000 00000000",
        "0c000300 00000000 00000000",
        "0c000400 00000000 ffffffff",
        "0c000500 00000000 00000000",
        "0c000700 00000000 ffffffff",
        "0c000900 00000000 ffffffff",
        "18000c00 14000100 00000000 00000000 00000000 81000000",
    ];
    let hex: String = list.concat().replace(' ', "");
    let whole = bytes(&hex);
    let message = request(RTM_NEWLINK, |out| out.fixed(&whole));
    let read = VirtualFunction::decode_all(&only(&message)).unwrap();
    let expected = VirtualFunction::new(0)
        .vlan(VfVlan {
            id: 0,
            qos: 0,
            service: false,
        })
        .link_state(VfLinkState::AUTO)
        .rate(VfRate { least: 0, most: 0 });
    assert_eq!(read, [expected]);
    assert_eq!(read[0].is_trusted(), None);
}

#[test]
fn impossible_settings_are_refused() {
    let refused = |function: VirtualFunction| function.check().is_err();
    let vlan = |id, qos, service| VirtualFunction::new(0).vlan(VfVlan { id, qos, service });
    assert!(refused(vlan(4095, 0, false)) && refused(vlan(1, 8, false)));
    assert!(refused(vlan(0, 1, false)) && refused(vlan(0, 0, true)));
    assert!(!refused(vlan(0, 0, false)) && !refused(vlan(4094, 7, true)));
    let rate = |least, most| VirtualFunction::new(0).rate(VfRate { least, most });
    assert!(refused(rate(2, 1)) && !refused(rate(2, 0)) && !refused(rate(1, 1)));
}
