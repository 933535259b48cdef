//! Requests are those that `ip` sends for the same.

use crate::wire::{Attrs, Writer};

use super::super::*;
use super::{index, name, net};

pub(super) fn body(encode: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut out = Writer::new(&mut bytes);
    encode(&mut out);
    out.finish().unwrap();
    bytes
}

pub(super) fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// The attributes of a request by their path.
type Parts = Vec<(Vec<u16>, Vec<u8>)>;

/// The family header and the attributes behind it with their paths, in an
/// order of their own, for `ip` has another; texts without the NUL that `ip`
/// leaves out here and there.
fn parts(body: &[u8], header: usize) -> (&[u8], Parts) {
    fn walk(header: usize, path: &[u16], attrs: Attrs<'_>, list: &mut Parts) {
        let (link, tc) = (header == 16, header == 20);
        for attribute in attrs {
            let attribute = attribute.unwrap();
            let path = [path, &[attribute.kind()]].concat();
            match path[..] {
                [18] | [18, 2] if link => walk(header, &path, attribute.nested(), list),
                [2] | [2, 2 | 7] | [2, 2 | 7, 1] | [2, 2 | 7, 1, 2] if tc => {
                    walk(header, &path, attribute.nested(), list);
                }
                [18, 1] if link => {
                    let text = attribute.payload().split(|&byte| byte == 0).next();
                    list.push((path, text.unwrap().to_vec()));
                }
                _ => list.push((path, attribute.payload().to_vec())),
            }
        }
    }
    let (header, attrs) = body.split_at(header);
    let mut list = Vec::new();
    walk(header.len(), &[], Attrs::new(attrs), &mut list);
    list.sort();
    (header, list)
}

/// The golden bytes are what `ip`, `tc` or `bridge` of iproute2 6.1 handed to the kernel for the
/// command beside them, without the netlink header.
#[track_caller]
pub(super) fn same_as_ip(header: usize, encode: impl FnOnce(&mut Writer<'_>), golden: &str) {
    let (ours, golden) = (body(encode), bytes(golden));
    assert_eq!(parts(&ours, header), parts(&golden, header));
}

#[test]
fn links_are_encoded_as_ip_does() {
    // ip link add veth0 type veth peer name veth1
    let link = NewLink::veth(name("veth0"), name("veth1"));
    same_as_ip(
        16,
        |out| link.encode(out),
        "000000000000000000000000000000000a00030076657468300000003000120008000100766574682400020020000100000000000000000000000000000000000a0003007665746831000000",
    );
    // ip link add mvt0 link veth2 type macvtap mode vepa
    let link = NewLink::macvtap(name("mvt0"), index(8), MacvtapMode::VEPA);
    same_as_ip(
        16,
        |out| link.encode(out),
        "000000000000000000000000000000000800050008000000090003006d767430000000001c0012000b0001006d616376746170000c0002000800010002000000",
    );
    // ip link add link veth2 name veth2.7 type vlan id 7
    let link = NewLink::vlan(name("veth2.7"), index(8), 7);
    same_as_ip(
        16,
        |out| link.encode(out),
        "0000000000000000000000000000000008000500080000000c00030076657468322e37001800120008000100766c616e0c0002000600010007000000",
    );
}

#[test]
fn vxlan_is_encoded_as_ip_does() {
    // ip link add vx0 type vxlan id 42 dstport 4789 local 192.0.2.1
    //   remote 192.0.2.2 dev veth0 ttl 5 tos 3 nolearning
    let tunnel = Vxlan::new(42)
        .local("192.0.2.1".parse().unwrap())
        .remote("192.0.2.2".parse().unwrap())
        .dev(index(6));
    let ours = body(|out| NewLink::vxlan(name("vx0"), tunnel).encode(out));
    let golden = bytes(
        "000000000000000000000000000000000800030076783000540012000900010076786c616e00000044000200080003000600000005000500050000000500060003000000080001002a00000008000400c000020108000200c0000202050007000000000006000f0012b50000",
    );
    let (_, golden) = parts(&golden, 16);
    let (_, ours) = parts(&ours, 16);
    // Besides, ip sends TTL (5), TOS (6) and learning (7).
    let beside = |path: &[u16]| matches!(path, [18, 2, 5..=7]);
    let golden: Vec<_> = golden
        .into_iter()
        .filter(|(path, _)| !beside(path))
        .collect();
    assert_eq!(ours, golden);
}

#[test]
fn changes_of_links_are_encoded_as_ip_does() {
    // ip link set veth3 alias "the alias text"
    let change = LinkChange::new(index(7)).alias("the alias text");
    same_as_ip(
        16,
        |out| change.encode(out),
        "000000000700000000000000000000001200140074686520616c69617320746578740000",
    );
    // ip link set tap1 name tapren0
    let change = LinkChange::new(index(3)).rename(name("tapren0"));
    same_as_ip(
        16,
        |out| change.encode(out),
        "000000000300000000000000000000000c00030074617072656e3000",
    );
    // ip link set veth1 master br0
    let change = LinkChange::new(index(5)).master(index(9));
    same_as_ip(
        16,
        |out| change.encode(out),
        "0000000005000000000000000000000008000a0009000000",
    );
}

#[test]
fn addresses_are_encoded_as_ip_does() {
    // ip addr add 10.1.0.1 peer 10.1.0.2/32 dev tap0
    let address = Address::new(index(2), net("10.1.0.1/32")).peer("10.1.0.2".parse().unwrap());
    same_as_ip(
        8,
        |out| address.encode(out),
        "0220000002000000080002000a010001080001000a010002",
    );
    // ip addr add 2001:db8:1::1/64 dev veth0 nodad
    let address = Address::new(index(6), net("2001:db8:1::1/64")).without_dad();
    same_as_ip(
        8,
        |out| address.encode(out),
        "0a400200060000001400020020010db80001000000000000000000011400010020010db8000100000000000000000001",
    );
}

#[test]
fn routes_are_encoded_as_ip_does() {
    let boot = 3;
    let gateway = "192.0.2.254".parse().unwrap();
    // ip route add 203.0.113.0/24 via 192.0.2.254
    let route = Route::new(net("203.0.113.0/24")).via(gateway);
    same_as_ip(
        12,
        |out| route.protocol(boot).encode(out),
        "02180000fe0300010000000008000100cb00710008000500c00002fe",
    );
    // ip route add 203.0.116.0/24 via inet6 2001:db8:1::99 dev veth0
    let route = Route::new(net("203.0.116.0/24")).dev(index(6));
    let route = route.via("2001:db8:1::99".parse().unwrap());
    same_as_ip(
        12,
        |out| route.protocol(boot).encode(out),
        "02180000fe0300010000000008000100cb007400160012000a0020010db800010000000000000000009900000800040006000000",
    );
    // ip route add default via 192.0.2.254 proto static onlink dev veth0
    let route = Route::new(net("0.0.0.0/0")).via(gateway).dev(index(6));
    same_as_ip(
        12,
        |out| route.onlink().encode(out),
        "02000000fe0400010400000008000500c00002fe0800040006000000",
    );
}

#[test]
fn neighbours_and_rules_are_encoded_as_ip_does() {
    // ip neigh add 192.0.2.50 lladdr 02:00:00:00:50:50 dev veth0 nud permanent
    let mac = "02:00:00:00:50:50".parse().unwrap();
    let neighbour = Neighbour::new(index(6), "192.0.2.50".parse().unwrap(), mac);
    same_as_ip(
        12,
        |out| neighbour.encode(out),
        "02000000060000008000000008000100c00002320a0002000200000050500000",
    );
    // ip rule add from 10.0.0.0/8 table 100 priority 1000
    let rule = RoutingRule::ipv4(100)
        .from(net("10.0.0.0/8"))
        .priority(1000);
    same_as_ip(
        12,
        |out| rule.encode(out),
        "020008006400000100000000080002000a00000008000600e8030000",
    );
    // ip rule add to 192.0.2.0/24 iif veth0 lookup 101
    let rule = RoutingRule::ipv4(101)
        .to(net("192.0.2.0/24"))
        .iif(name("veth0"));
    same_as_ip(
        12,
        |out| rule.encode(out),
        "02180000650000010000000008000100c00002000a0003007665746830000000",
    );
    // ip rule add fwmark 0x10/0xff table 102
    let rule = RoutingRule::ipv4(102).fwmark(0x10, 0xff);
    same_as_ip(
        12,
        |out| rule.encode(out),
        "02000000660000010000000008000a001000000008001000ff000000",
    );
}

#[test]
fn links_are_asked_for_without_statistics() {
    let ours = body(|out| link::encode_get(None, None, out));
    let golden = bytes("0000000000000000000000000000000008001d0008000000");
    assert_eq!(ours, golden);
}
