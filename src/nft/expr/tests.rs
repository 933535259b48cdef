//! Expressions as the kernel lists them, and as they are written back.

use std::fmt::Debug;

use super::*;
use crate::nft::{Data, Family, Name, Register};
use crate::wire::uapi::nf_tables_expr::{
    NFT_DYNSET_F_EXPR, NFTA_DYNSET_EXPR, NFTA_DYNSET_EXPRESSIONS, NFTA_DYNSET_FLAGS,
    NFTA_DYNSET_OP, NFTA_DYNSET_SET_NAME, NFTA_DYNSET_SREG_KEY, NFTA_DYNSET_TIMEOUT,
};
use crate::wire::uapi::nf_tables_stmt::{
    NFT_QUOTA_F_DEPLETED, NFT_QUOTA_F_INV, NFTA_EXTHDR_FLAGS, NFTA_EXTHDR_LEN, NFTA_EXTHDR_OFFSET,
    NFTA_EXTHDR_OP, NFTA_EXTHDR_SREG, NFTA_EXTHDR_TYPE, NFTA_OSF_DREG, NFTA_OSF_FLAGS,
    NFTA_QUOTA_BYTES, NFTA_QUOTA_CONSUMED, NFTA_QUOTA_FLAGS,
};
use crate::wire::{Attrs, Bytes};

fn write(body: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut out = Writer::new(&mut bytes);
    body(&mut out);
    out.finish().unwrap();
    bytes
}

fn read(bytes: &[u8]) -> Expr {
    Expr::decode(Attrs::new(bytes)).unwrap()
}

/// An expression as the kernel lists it.
fn listed(name: &str, body: impl FnOnce(&mut Writer<'_>)) -> Expr {
    read(&write(|out| {
        out.put(NFTA_EXPR_NAME, name);
        out.nest(NFTA_EXPR_DATA, body);
    }))
}

/// The numbers of the attributes that are written for it.
fn kinds(expression: &Expr) -> Vec<u16> {
    let bytes = write(|out| expression.encode(out));
    let data = Attrs::new(&bytes).find(NFTA_EXPR_DATA).unwrap().unwrap();
    data.map(|attribute| attribute.unwrap().kind()).collect()
}

fn assert_survives(expression: impl Into<Expr> + Debug) {
    let expression = expression.into();
    let bytes = write(|out| expression.encode(out));
    assert_eq!(read(&bytes), expression);
    assert!(!matches!(expression, Expr::Unknown(_)));
}

#[test]
fn expressions_read_as_they_were_written() {
    let register = |slot| Register::slot(slot).unwrap();
    let name = || Name::constant("x");
    let one = Register::FIRST;
    assert_survives(
        Exthdr::new(one, 43, 1, 1)
            .with_op(ExthdrOp::DCCP)
            .with_flags(1),
    );
    assert_survives(ExthdrSet::new(one, 2, 2, 2, ExthdrOp::TCP_OPTION));
    assert_survives(ExthdrReset::new(2, ExthdrOp::TCP_OPTION));
    assert_survives(Rt::new(one, RtKey::NEXTHOP6));
    assert_survives(Socket::new(one, SocketKey::CGROUPV2).with_level(2));
    assert_survives(Osf::new(one).with_ttl(2).with_flags(1));
    assert_survives(Xfrm::new(one, XfrmKey::SPI, 1).with_number(2));
    assert_survives(Tunnel::new(one, TunnelKey::ID).with_mode(TunnelMode::TX));
    let meta = Meta::new(one, MetaKey::PROTOCOL).into();
    assert_survives(Inner::new(0, InnerType::VXLAN, 15, 8, Box::new(meta)));
    assert_survives(
        Quota::new(1 << 40)
            .with_flags(NFT_QUOTA_F_INV)
            .with_consumed(7),
    );
    assert_survives(Last::new().with_seen(1).with_ago(1500));
    assert_survives(
        Log::new()
            .with_prefix("in: ".into())
            .with_level(LogLevel::EMERGENCY),
    );
    assert_survives(
        Log::new()
            .with_group(0)
            .with_snaplen(64)
            .with_queue_threshold(3),
    );
    assert_survives(Queue::new().with_number(0).with_total(4).with_flags(3));
    assert_survives(Queue::new().with_from(register(5)));
    assert_survives(
        Tproxy::new(Family::IP)
            .with_address(one)
            .with_port(register(1)),
    );
    assert_survives(Dup::new().with_address(one).with_device(register(1)));
    assert_survives(
        Fwd::new(one)
            .with_address(register(1))
            .with_family(Family::IP6),
    );
    assert_survives(FlowOffload::new(name()));
    assert_survives(
        Synproxy::new()
            .with_mss(1460)
            .with_window_scale(7)
            .with_flags(3),
    );
    assert_survives(XtMatch::new("comment".into(), 0, [1; 256].into()));
    assert_survives(XtTarget::new("LOG".into(), 0, [2; 40].into()));
    assert_survives(Objref::new().with_kind(1).with_object(name()));
    assert_survives(Objref::new().with_key(one).with_map(name()));
    assert_survives(
        Bitwise::new(one, one, 4)
            .with_op(BitwiseOp::XOR)
            .with_second(register(1)),
    );
    let shift = Data::from_bytes(&[0, 0, 0, 8]).unwrap();
    assert_survives(
        Bitwise::new(one, one, 4)
            .with_op(BitwiseOp::LSHIFT)
            .with_data(shift),
    );
    assert_survives(
        Hash::new(one, 8)
            .with_kind(HashType::SYMMETRIC)
            .with_offset(2),
    );
    assert_survives(Ct::new(one, CtKey::BYTES).with_direction(0));
    assert_survives(Expr::Notrack);
}

#[test]
fn zero_of_an_optional_number_is_not_its_absence() {
    assert_ne!(Expr::from(Log::new().with_group(0)), Expr::from(Log::new()));
    assert_eq!(kinds(&Log::new().with_group(0).into()), [1]);
    assert_eq!(
        kinds(&Log::new().with_level(LogLevel::EMERGENCY).into()),
        [5]
    );
}

#[test]
fn log_is_the_same_without_what_the_kernel_takes_for_granted() {
    let log = Log::new().with_group(1);
    let plain = |log: Log| Expr::from(log).plain();
    assert_eq!(
        plain(log.clone().with_queue_threshold(0)),
        plain(log.clone())
    );
    assert_ne!(
        plain(log.clone().with_queue_threshold(1)),
        plain(log.clone())
    );
    assert_eq!(
        plain(Log::new()),
        plain(Log::new().with_level(LogLevel::WARNING))
    );
    assert_ne!(plain(log.clone().with_level(LogLevel::WARNING)), plain(log));
    assert_eq!(plain(Log::new().with_snaplen(64)), plain(Log::new()));
}

#[test]
fn direction_says_nothing_of_what_is_the_same_in_both() {
    let to = Register::slot(0).unwrap();
    let plain = |key| Expr::from(Ct::new(to, key)).plain();
    let reply = |key| Expr::from(Ct::new(to, key).with_direction(1)).plain();
    assert_eq!(reply(CtKey::PROTOCOL), plain(CtKey::PROTOCOL));
    assert_ne!(reply(CtKey::BYTES), plain(CtKey::BYTES));
}

#[test]
fn level_of_a_control_group_says_nothing_of_other_sockets() {
    let to = Register::slot(0).unwrap();
    let plain = |key| Expr::from(Socket::new(to, key)).plain();
    let level = |key| Expr::from(Socket::new(to, key).with_level(1)).plain();
    assert_eq!(level(SocketKey::MARK), plain(SocketKey::MARK));
    assert_ne!(level(SocketKey::CGROUPV2), plain(SocketKey::CGROUPV2));
}

#[test]
fn last_that_is_the_first_says_nothing() {
    let first = Register::slot(0).unwrap();
    let nat = Nat::new(NatType::DNAT, Family::IP).with_address(first);
    let plain = |nat: Nat| Expr::from(nat).plain();
    assert_eq!(
        plain(nat.clone().with_address_max(first)),
        plain(nat.clone())
    );
    let last = Register::slot(1).unwrap();
    assert_ne!(plain(nat.clone().with_address_max(last)), plain(nat));
    let port = Redirect::new().with_port(first);
    assert_eq!(
        Expr::from(port.clone().with_port_max(first)).plain(),
        Expr::from(port).plain()
    );
}

#[test]
fn written_option_loses_the_flags_that_the_kernel_refuses() {
    let expression = listed("exthdr", |out| {
        out.put(NFTA_EXTHDR_SREG, 1);
        out.put(NFTA_EXTHDR_TYPE, 2);
        out.put(NFTA_EXTHDR_OFFSET, 2);
        out.put(NFTA_EXTHDR_LEN, 2);
        out.put(NFTA_EXTHDR_FLAGS, 0);
        out.put(NFTA_EXTHDR_OP, 1);
    });
    assert!(!kinds(&expression).contains(&NFTA_EXTHDR_FLAGS.kind()));
}

#[test]
fn removed_option_has_only_a_type_and_where_it_is() {
    let expression = listed("exthdr", |out| {
        out.put(NFTA_EXTHDR_TYPE, 2);
        out.put(NFTA_EXTHDR_OFFSET, 0);
        out.put(NFTA_EXTHDR_LEN, 0);
        out.put(NFTA_EXTHDR_FLAGS, 0);
        out.put(NFTA_EXTHDR_OP, 1);
    });
    assert_eq!(
        kinds(&expression),
        [NFTA_EXTHDR_TYPE.kind(), NFTA_EXTHDR_OP.kind()]
    );
}

#[test]
fn fingerprint_without_flags_has_none() {
    let expression = listed("osf", |out| {
        out.put(NFTA_OSF_DREG, 1);
        out.put(NFTA_OSF_FLAGS, 0);
    });
    assert_eq!(kinds(&expression), [NFTA_OSF_DREG.kind()]);
}

#[test]
fn used_up_quota_is_written_without_saying_so() {
    let expression = listed("quota", |out| {
        out.put(NFTA_QUOTA_BYTES, 10);
        out.put(NFTA_QUOTA_CONSUMED, 10);
        out.put(NFTA_QUOTA_FLAGS, NFT_QUOTA_F_DEPLETED | NFT_QUOTA_F_INV);
    });
    let wanted = Quota::new(10).with_consumed(10).with_flags(NFT_QUOTA_F_INV);
    assert_eq!(expression, wanted.into());
}

#[test]
fn several_expressions_of_a_dynset_get_the_flag_that_they_need() {
    let expression = listed("dynset", |out| {
        out.put(NFTA_DYNSET_SET_NAME, "s");
        out.put(NFTA_DYNSET_OP, 0);
        out.put(NFTA_DYNSET_SREG_KEY, 1);
        out.put(NFTA_DYNSET_TIMEOUT, 0);
        out.put(NFTA_DYNSET_FLAGS, 0);
        vec![Expr::from(Counter::new()), Last::new().into()].put(NFTA_DYNSET_EXPRESSIONS, out);
    });
    let Expr::Dynset(dynset) = &expression else {
        panic!("{expression:?}");
    };
    assert_eq!(*dynset.flags(), NFT_DYNSET_F_EXPR);
    assert!(!kinds(&expression).contains(&NFTA_DYNSET_TIMEOUT.kind()));
}

#[test]
fn expressions_nested_as_deep_as_bytes_go_do_not_exhaust_the_stack() {
    // Miri would take an hour over all of them.
    let most = if cfg!(miri) { 2_000 } else { 65_000 };
    let mut bytes = Vec::new();
    while bytes.len() <= most {
        let mut next = Vec::new();
        let mut out = Writer::new(&mut next);
        out.put(NFTA_EXPR_NAME, "dynset");
        out.nest(NFTA_EXPR_DATA, |out| {
            out.nest(NFTA_DYNSET_EXPR, |out| out.fixed(&bytes));
        });
        out.finish().unwrap();
        bytes = next;
    }
    assert!(Expr::decode(Attrs::new(&bytes)).is_ok());
}

#[test]
fn unknown_expression_without_its_last_padding_reads_equal_when_written() {
    let mut bytes = Vec::new();
    let mut out = Writer::new(&mut bytes);
    out.put(NFTA_EXPR_NAME, "from_the_future");
    let data = Attr::<Bytes>::new(NFTA_EXPR_DATA.kind());
    let inside = crate::wire::laid_out(&[(8, 1, &[0, 0, 0, 1]), (6, 2, &[7, 7])]);
    out.put(data, &inside);
    out.finish().unwrap();
    let read = Expr::decode(Attrs::new(&bytes)).unwrap();
    assert!(matches!(read, Expr::Unknown(_)));
    assert_eq!(self::read(&write(|out| read.encode(out))), read);
}
