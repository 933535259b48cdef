//! What holds for the values of this room: they are encoded as `ip` does it,
//! decoded from what the kernel sends, and read back as they were written.

use ipnet::IpNet;

use super::tc::{Action, Filter, Hook, Qdisc};
use super::*;
use crate::conn::Requests;
use crate::wire::uapi::rtnetlink::{RTM_NEWLINK, RTM_SETLINK};
use crate::wire::{Flags, Header, Message, Messages, Writer, push_message};
use crate::{IfIndex, IfName};

#[cfg(target_endian = "little")]
mod bridge;
#[cfg(target_endian = "little")]
mod dumps;
#[cfg(target_endian = "little")]
mod golden;
mod properties;
#[cfg(target_endian = "little")]
mod tc;
#[cfg(target_endian = "little")]
mod vf;

fn name(name: &str) -> IfName {
    name.parse().unwrap()
}

fn index(index: u32) -> IfIndex {
    IfIndex::new(index).unwrap()
}

fn net(net: &str) -> IpNet {
    net.parse().unwrap()
}

fn request(kind: u16, encode: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    push_message(&mut bytes, Header::new(kind, Flags::REQUEST, 0), encode).unwrap();
    bytes
}

fn only(bytes: &[u8]) -> Message<'_> {
    Messages::new(bytes).next().unwrap().unwrap()
}

#[test]
fn values_are_checked_before_they_are_sent() {
    let link = |id| NewLink::vlan(name("v"), index(1), id).check().is_ok();
    assert_eq!([0, 1, 4094, 4095].map(link), [false, true, true, false]);
    let vni = |vni| NewLink::vxlan(name("v"), Vxlan::new(vni)).check().is_ok();
    assert_eq!([0, (1 << 24) - 1, 1 << 24].map(vni), [true, true, false]);
    let mtu = |mtu| LinkChange::new(index(1)).mtu(mtu).check().is_ok();
    assert_eq!(
        [67, 68, 65_535, 65_536].map(mtu),
        [false, true, true, false]
    );
    let alias = |alias: &str| LinkChange::new(index(1)).alias(alias).check().is_ok();
    assert!(alias(&"a".repeat(255)) && alias(""));
    assert!(!alias(&"a".repeat(256)) && !alias("a\nb") && !alias("a\0b"));
    let veth = NewLink::veth(name("a"), name("b")).peer_index(index(2));
    assert!(
        veth.check().is_err(),
        "the kernel would choose another index"
    );
    assert!(veth.index(index(1)).check().is_ok());
    let route = |route: Route| route.check().is_ok();
    let ipv6 = "2001:db8::1".parse().unwrap();
    assert!(!route(Route::new(net("10.0.0.1/24"))), "host bits");
    assert!(route(Route::new(net("10.0.0.0/24")).via(ipv6)));
    assert!(!route(Route::new(net("10.0.0.0/24")).source(ipv6)));
    let ipv4 = "192.0.2.1".parse().unwrap();
    assert!(!route(Route::new(net("2001:db8::/32")).via(ipv4)));
    let address = Address::new(index(1), net("10.0.0.1/24")).peer(ipv6);
    assert!(address.check().is_err());
    let rule = |rule: RoutingRule| rule.check().is_ok();
    assert!(!rule(RoutingRule::ipv4(1).from(net("2001:db8::/32"))));
    assert!(!rule(RoutingRule::ipv4(1).to(net("10.0.0.1/24"))));
    assert!(!rule(RoutingRule::ipv4(1).fwmark(0x100, 0xff)));
}

#[test]
fn attribute_at_an_error_offset_is_found() {
    let link = NewLink::veth(name("a"), name("b")).mtu(1500);
    let bytes = request(RTM_NEWLINK, |out| link.encode(out));
    let message = only(&bytes);
    // Behind 16 bytes of netlink header and 16 of ifinfomsg: IFLA_IFNAME (3)
    // of 8 bytes, then IFLA_MTU (4).
    let at = |offset| describe::attribute_at(&message, offset);
    assert_eq!(
        [at(16), at(32), at(40), at(4000)],
        [None, Some(3), Some(4), None]
    );
}

#[test]
fn queues_are_those_of_both_ends() {
    let link = NewLink::veth(name("a"), name("b")).queues(3);
    let bytes = request(RTM_NEWLINK, |out| link.encode(out));
    // IFLA_NUM_TX_QUEUES (31) and IFLA_NUM_RX_QUEUES (32).
    for kind in [31, 32] {
        let wanted = [8, 0, kind, 0, 3, 0, 0, 0];
        let count = bytes.windows(8).filter(|&window| window == wanted);
        assert_eq!(count.count(), 2, "{kind}");
    }
}

#[cfg(target_endian = "little")]
#[test]
fn settings_of_both_families_come_with_a_link() {
    let change = LinkChange::new(index(7)).alias("a").no_own_ipv6();
    let change = change.ipv4(&[(Ipv4Setting::Forwarding, 1)]);
    let bytes = request(RTM_SETLINK, |out| change.encode(out));
    let wanted = [
        32, 0, 26, 0x80, // IFLA_AF_SPEC
        16, 0, 2, 0x80, // AF_INET
        12, 0, 1, 0x80, // IFLA_INET_CONF
        8, 0, 1, 0, 1, 0, 0, 0, // IPV4_DEVCONF_FORWARDING
        12, 0, 10, 0x80, // AF_INET6
        5, 0, 8, 0, 1, 0, 0, 0, // IFLA_INET6_ADDR_GEN_MODE: none
    ];
    assert!(bytes.ends_with(&wanted), "{bytes:?}");
    let bare = request(RTM_SETLINK, |out| LinkChange::new(index(7)).encode(out));
    assert_eq!(bare.len(), 32);
}

#[test]
fn changes_are_listed_in_words() {
    let mut changes = Changes::new(Requests::new());
    let dev = index(7);
    let address = Address::new(dev, net("198.51.100.1/30"));
    let route = Route::new(net("0.0.0.0/0")).via("198.51.100.2".parse().unwrap());
    let mac = "02:00:00:00:00:02".parse().unwrap();
    let neighbour = Neighbour::new(dev, "198.51.100.2".parse().unwrap(), mac);
    changes.add_link(&NewLink::bridge(name("br0")));
    changes.set_link(&LinkChange::new(dev).rename(name("eth1")));
    changes.set_ipv4(dev, &[(Ipv4Setting::Forwarding, 1)]);
    changes.delete_link(dev);
    changes.delete_links_of_group(5);
    changes.replace_address(&address);
    changes.delete_address(&address);
    changes.replace_route(&route.metric(9));
    changes.delete_route(&route.table(1000).onlink());
    changes.replace_neighbour(&neighbour);
    changes.delete_neighbour(&neighbour);
    changes.add_rule(&RoutingRule::ipv4(1000).fwmark(1, 0xff));
    changes.delete_rule(&RoutingRule::ipv6(1000).iif(name("eth1")).priority(5));
    changes.add_qdisc(&Qdisc::ingress(dev));
    changes.delete_qdisc(&Qdisc::clsact(dev));
    let filter = Filter::new(dev, Hook::Ingress, Action::Redirect(index(8)));
    changes.add_filter(&filter);
    changes.delete_filter(&filter.matchall().priority(9));
    let expected = "\
add link br0 type bridge
set link 7 name eth1
set link 7
delete link 7
delete links of group 5
replace address 198.51.100.1/30 dev 7
delete address 198.51.100.1/30 dev 7
replace route default via 198.51.100.2 proto 4 metric 9
delete route default via 198.51.100.2 table 1000 proto 4 onlink
replace neighbour 198.51.100.2 lladdr 02:00:00:00:00:02 dev 7
delete neighbour 198.51.100.2 lladdr 02:00:00:00:00:02 dev 7
add rule from all fwmark 0x1/0xff lookup 1000
delete rule priority 5 from all iif eth1 lookup 1000
add qdisc ingress dev 7
delete qdisc clsact dev 7
add filter u32 dev 7 ingress pref 1 redirect to 8
delete filter matchall dev 7 ingress pref 9
";
    assert_eq!(changes.to_string(), expected);
}
