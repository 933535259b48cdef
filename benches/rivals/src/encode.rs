//! One rule as a message, and no kernel: `iifname "eth0" tcp dport 8080 dnat
//! ip to 172.16.0.2:80`. Rules that are values are made before; the time is
//! that of writing one, of many in one batch.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::Duration;

use ::netlink_bindings::nftables::{Chained, Nfgenmsg};
use ::nlink::netlink::nftables::types::{self, Family};
use ::nlink::netlink::{Connection, Nftables};
use tapwire::IfName;
use tapwire::nft::{Batch, Chain, Name, Port, Rule, Table, meta, tcp};

use crate::{Result, Rival, time};

const TABLE: &str = "rival";
const CHAIN: &str = "rules";
const UPLINK: &str = "eth0";
const PORT: u16 = 8080;
const GUEST: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 2);
const GUEST_PORT: u16 = 80;

/// In one batch, so that neither the clock nor the batch's frame counts.
const AT_ONCE: u32 = 200;

/// One of many.
fn each(name: &'static str, mut batch: impl FnMut() + 'static) -> Rival {
    Rival::new(name, 1, move || {
        Ok(time(|| {
            batch();
            Ok(())
        })? / AT_ONCE)
    })
}

pub(crate) fn ours() -> Result<Vec<Rival>> {
    let rule = rule()?;
    let mut batch = Batch::new();
    let written = each("tapwire, a rule written", move || {
        batch.clear();
        for _ in 0..AT_ONCE {
            batch.add(black_box(&rule));
        }
        black_box(batch.encode(0).map(<[u8]>::len)).ok();
    });
    let mut batch = Batch::new();
    let made = each("tapwire, a rule made and written", move || {
        batch.clear();
        for _ in 0..AT_ONCE {
            batch.add(&black_box(self::rule()).expect("a rule"));
        }
    });
    Ok(vec![written, made])
}

fn rule() -> Result<Rule> {
    let table = Table::new(tapwire::nft::Family::INET, Name::constant(TABLE));
    let chain = Chain::new(&table, Name::constant(CHAIN));
    Ok(Rule::new(&chain)
        .matching(meta::iifname().equal(UPLINK.parse::<IfName>()?))
        .matching(tcp::dport().equal(Port(PORT)))
        .dnat(GUEST.into(), Some(Port(GUEST_PORT))))
}

/// It takes a rule away from whoever adds it, so that it is made as well.
pub(crate) fn nlink() -> Result<Vec<Rival>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let connection = {
        let _entered = runtime.enter();
        Connection::<Nftables>::new()?
    };
    Ok(vec![each("nlink, a rule made and written", move || {
        let _held = &runtime;
        let mut transaction = connection.transaction();
        for _ in 0..AT_ONCE {
            let rule = types::Rule::new(TABLE, CHAIN)
                .family(Family::Inet)
                .match_iif(UPLINK)
                .match_tcp_dport(black_box(PORT))
                .dnat(GUEST, Some(GUEST_PORT));
            transaction = transaction.add_rule(rule);
        }
        black_box(transaction);
    })])
}

/// It knows no rule as a value: what is told is written.
pub(crate) fn netlink_bindings() -> Result<Vec<Rival>> {
    let mut header = Nfgenmsg::new();
    header.nfgen_family = 1;
    let mut uplink = [0; 16];
    uplink[..UPLINK.len()].copy_from_slice(UPLINK.as_bytes());
    Ok(vec![each("netlink-bindings, a rule written", move || {
        let mut chained = Chained::new(1);
        for _ in 0..AT_ONCE {
            let request = chained.request().set_create().set_append();
            let mut request = request.op_newrule_do(&header);
            macro_rules! compare {
                ($list:expr, $value:expr) => {
                    $list
                        .nested_elem()
                        .nested_data_cmp()
                        .push_sreg(1)
                        .push_op(0)
                        .nested_data()
                        .push_value($value)
                        .end_nested()
                        .end_nested()
                        .end_nested()
                };
            }
            macro_rules! load {
                ($list:expr, $register:expr, $value:expr) => {
                    $list
                        .nested_elem()
                        .nested_data_immediate()
                        .push_dreg($register)
                        .nested_data()
                        .push_value($value)
                        .end_nested()
                        .end_nested()
                        .end_nested()
                };
            }
            macro_rules! meta {
                ($list:expr, $key:expr) => {
                    $list
                        .nested_elem()
                        .nested_data_meta()
                        .push_dreg(1)
                        .push_key($key)
                        .end_nested()
                        .end_nested()
                };
            }
            let list = request
                .encode()
                .push_table_bytes(TABLE.as_bytes())
                .push_chain_bytes(CHAIN.as_bytes())
                .nested_expressions();
            let list = meta!(list, 6);
            let list = compare!(list, &uplink);
            let list = meta!(list, 16);
            let list = compare!(list, &[6]);
            let list = list
                .nested_elem()
                .nested_data_payload()
                .push_dreg(1)
                .push_base(2)
                .push_offset(2)
                .push_len(2)
                .end_nested()
                .end_nested();
            let list = compare!(list, &black_box(PORT).to_be_bytes());
            let list = load!(list, 1, &GUEST.octets());
            let list = load!(list, 9, &GUEST_PORT.to_be_bytes());
            list.nested_elem()
                .nested_data_nat()
                .push_type(1)
                .push_family(2)
                .push_reg_addr_min(1)
                .push_reg_proto_min(9)
                .end_nested()
                .end_nested()
                .end_nested();
        }
        black_box(chained.finalize());
    })])
}

#[cfg(feature = "nftnl")]
pub(crate) fn nftnl() -> Result<Vec<Rival>> {
    use nftnl::expr::{Cmp, CmpOp, Immediate, InterfaceName, Nat, NatType, Register};
    use nftnl::{Batch, Chain, MsgType, ProtoFamily, Rule, Table, nft_expr};
    use std::ffi::CString;

    let (table, chain) = (CString::new(TABLE)?, CString::new(CHAIN)?);
    let uplink = InterfaceName::Exact(CString::new(UPLINK)?);
    Ok(vec![each("nftnl, a rule written", move || {
        let table = Table::new(&table, ProtoFamily::Inet);
        let chain = Chain::new(&chain, &table);
        let mut rule = Rule::new(&chain);
        rule.add_expr(&nft_expr!(meta iifname));
        rule.add_expr(&Cmp::new(CmpOp::Eq, uplink.clone()));
        rule.add_expr(&nft_expr!(meta l4proto));
        rule.add_expr(&nft_expr!(cmp == 6_u8));
        rule.add_expr(&nft_expr!(payload tcp dport));
        rule.add_expr(&nft_expr!(cmp == PORT.to_be()));
        rule.add_expr(&Immediate::new(GUEST.octets(), Register::Reg1));
        rule.add_expr(&Immediate::new(GUEST_PORT.to_be_bytes(), Register::Reg2));
        rule.add_expr(&Nat {
            nat_type: NatType::DNat,
            family: ProtoFamily::Ipv4,
            ip_register: Register::Reg1,
            port_register: Some(Register::Reg2),
        });
        let mut batch = Batch::new();
        for _ in 0..AT_ONCE {
            batch.add(black_box(&rule), MsgType::Add);
        }
        black_box(batch.finalize());
    })])
}

#[cfg(not(feature = "nftnl"))]
pub(crate) fn nftnl() -> Result<Vec<Rival>> {
    Err("built without the feature".into())
}

#[cfg(feature = "rustables")]
pub(crate) fn rustables() -> Result<Vec<Rival>> {
    use rustables::expr::{Immediate, Nat, NatType, Register};
    use rustables::{Batch, Chain, MsgType, Protocol, ProtocolFamily, Rule, Table};

    let table = Table::new(ProtocolFamily::Inet).with_name(TABLE);
    let chain = Chain::new(&table).with_name(CHAIN);
    let nat = Nat::default()
        .with_nat_type(NatType::DNat)
        .with_family(ProtocolFamily::Ipv4)
        .with_ip_register(Register::Reg1)
        .with_port_register(Register::Reg2);
    let rule = Rule::new(&chain)?
        .iiface(UPLINK)?
        .dport(PORT, Protocol::TCP)
        .with_expr(Immediate::new_data(GUEST.octets().to_vec(), Register::Reg1))
        .with_expr(Immediate::new_data(
            GUEST_PORT.to_be_bytes().to_vec(),
            Register::Reg2,
        ))
        .with_expr(nat);
    Ok(vec![each("rustables, a rule written", move || {
        let mut batch = Batch::new();
        for _ in 0..AT_ONCE {
            batch.add(black_box(&rule), MsgType::Add);
        }
        black_box(batch.finalize());
    })])
}

#[cfg(not(feature = "rustables"))]
pub(crate) fn rustables() -> Result<Vec<Rival>> {
    Err("built without the feature".into())
}
