//! Single values as text.

use std::net::Ipv4Addr;

use crate::nft::expr::{
    Cmp, CmpOp, Counter, Expr, Inner, InnerType, Meta, MetaKey, Payload, PayloadBase, Socket,
    SocketKey,
};
use crate::nft::{
    Chain, Comment, Data, DataType, Element, Family, L4Proto, Mark, Name, NamedObject, Port,
    Register, Rule, Set, Table, TunnelInfo, TunnelIp4, TunnelOption, ct, ip, meta, tcp, udp,
};

fn rule() -> Rule {
    let table = Table::new(Family::INET, Name::constant("t"));
    Rule::new(&Chain::new(&table, Name::constant("c")))
}

#[test]
fn rule_reads_as_it_was_written() {
    let rule = rule()
        .matching(meta::iifname().starts_with("tap"))
        .matching(ip::saddr().within("10.0.0.0/9".parse().unwrap()))
        .matching(tcp::dport().between(Port(80), Port(90)))
        .matching(ct::state().any_of(ct::State::NEW | ct::State::RELATED))
        .accept()
        .comment(Comment::constant("web"));
    assert_eq!(
        rule.to_string(),
        "iifname \"tap*\" ip saddr 10.0.0.0/9 tcp dport 80-90 ct state related,new accept comment \"web\"",
    );
}

#[test]
fn condition_before_an_action_is_kept() {
    let rule = rule()
        .matching(meta::l4proto().equal(L4Proto::TCP))
        .expression(Counter::new())
        .matching(tcp::dport().equal(Port(80)));
    assert_eq!(
        rule.to_string(),
        "meta l4proto tcp counter packets 0 bytes 0 tcp dport 80",
    );
}

#[test]
fn what_was_never_loaded_stands_in_brackets() {
    let lost = rule().expression(Cmp::new(Register::FIRST, CmpOp::EQ, Mark(1).into()));
    assert!(lost.to_string().starts_with("[ Cmp("), "{lost}");
}

#[test]
fn element_prints_by_the_types_of_its_set() {
    let table = Table::new(Family::IP, Name::constant("t"));
    let key = [DataType::IPV4_ADDR, DataType::INET_SERVICE];
    let map = Set::map(&table, Name::constant("m"), &key, &[DataType::MARK]);
    let element = Element::new((Ipv4Addr::LOCALHOST, Port(80))).data(Mark(5));
    assert_eq!(
        map.element(&element).to_string(),
        "127.0.0.1 . 80 : 0x00000005",
    );
}

#[test]
fn packets_inside_of_tunnels_read_as_nft_writes_them() {
    let first = Register::FIRST;
    let bytes = |bytes: &[u8]| Data::from_bytes(bytes).unwrap();
    let equal = |value: &[u8]| Cmp::new(first, CmpOp::EQ, bytes(value));
    let inner = |load: Expr| Inner::new(0, InnerType::VXLAN, 0xf, 8, Box::new(load));
    let load = |base, offset, length| inner(Payload::new(first, base, offset, length).into());
    // As `nft --debug=netlink` says it for `udp dport 4789 vxlan vni 10
    // vxlan ip saddr 10.141.11.2 vxlan tcp dport 80`.
    let rule = rule()
        .matching(udp::dport().equal(Port(4789)))
        .expression(load(PayloadBase::TUNNEL, 4, 3))
        .expression(equal(&[0, 0, 10]))
        .expression(inner(Meta::new(first, MetaKey::PROTOCOL).into()))
        .expression(equal(&[8, 0]))
        .expression(load(PayloadBase::NETWORK, 12, 4))
        .expression(equal(&[10, 141, 11, 2]))
        .expression(inner(Meta::new(first, MetaKey::L4PROTO).into()))
        .expression(equal(&[6]))
        .expression(load(PayloadBase::TRANSPORT, 2, 2))
        .expression(equal(&[0, 80]));
    assert_eq!(
        rule.to_string(),
        "udp dport 4789 vxlan vni 10 vxlan ip saddr 10.141.11.2 vxlan tcp dport 80",
    );
}

#[test]
fn tunnels_over_gre_are_told_by_their_headers() {
    let first = Register::FIRST;
    let network = Payload::new(first, PayloadBase::NETWORK, 12, 4);
    let inner = |load: Expr| Inner::new(0, InnerType::from_raw(3), 0xc, 4, Box::new(load));
    let rule = rule()
        .matching(meta::l4proto().equal(L4Proto::from_raw(47)))
        .expression(inner(Meta::new(first, MetaKey::PROTOCOL).into()))
        .expression(Cmp::new(
            first,
            CmpOp::EQ,
            Data::from_bytes(&[8, 0]).unwrap(),
        ))
        .expression(inner(network.into()))
        .expression(Cmp::new(first, CmpOp::EQ, Ipv4Addr::LOCALHOST.into()));
    assert_eq!(rule.to_string(), "gre ip saddr 127.0.0.1");
}

#[test]
fn control_group_reads_as_its_number() {
    let rule = rule()
        .expression(Socket::new(Register::FIRST, SocketKey::CGROUPV2).with_level(2))
        .expression(Cmp::new(
            Register::FIRST,
            CmpOp::EQ,
            Data::from_bytes(&77_u64.to_ne_bytes()).unwrap(),
        ));
    assert_eq!(rule.to_string(), "socket cgroupv2 level 2 77");
}

#[test]
fn tunnel_reads_as_its_lines() {
    let table = Table::new(Family::IP, Name::constant("t"));
    let ends = TunnelIp4::new(Ipv4Addr::new(192, 0, 2, 2)).with_local(Ipv4Addr::new(192, 0, 2, 1));
    let info = TunnelInfo::new(10)
        .with_ip(ends)
        .with_port(4789)
        .with_options(vec![TunnelOption::Vxlan(200)]);
    let tunnel = NamedObject::new(&table, Name::constant("x"), info);
    assert_eq!(
        tunnel.to_string(),
        "\ttunnel x {\n\t\tid 10\n\t\tip saddr 192.0.2.1\n\t\tip daddr 192.0.2.2\n\t\tdport 4789\n\t\tvxlan {\n\t\t\tgbp 200\n\t\t}\n\t}\n",
    );
}
