//! Libraries that speak netlink themselves and know elements.

use std::net::{IpAddr, Ipv4Addr};

use ::netlink_bindings::nftables::{Chained, Nfgenmsg};
use ::nlink::netlink::nftables::types::{Family, Set, SetElement, SetKeyType};
use ::nlink::netlink::{Connection, Nftables};
use netlink_socket2::NetlinkSocket;
use tapwire::nft::{Batch, DataType, Element, L4Proto, Name, Nft, Port, Table};
use tapwire::route::{Address, Rtnl};

use crate::{FIRST, PORT, PRESENT, Result, Rival, in_new_namespace, time};

const TABLE: &str = "rival";
const SET: &str = "ports";

/// As the kernel has the key: each part takes four bytes.
const KEY: [u8; 8] = {
    let [high, low] = PORT.to_be_bytes();
    [6, 0, 0, 0, high, low, 0, 0]
};

/// A table with a set of protocols and ports, the keys that exposures have.
fn table() -> Result<()> {
    let table = Table::new(tapwire::nft::Family::INET, Name::constant(TABLE));
    let key = [DataType::INET_PROTO, DataType::INET_SERVICE];
    let ports = tapwire::nft::Set::new(&table, Name::constant(SET), &key).size(65_536);
    let mut batch = Batch::new();
    batch.add(&table).add(&ports);
    let present = (FIRST..FIRST + PRESENT).map(|port| Element::new((L4Proto::TCP, Port(port))));
    batch.add_elements(&ports, present);
    Ok(Nft::open()?.commit(&mut batch)?)
}

pub(crate) fn nlink() -> Result<Vec<Rival>> {
    let runtime = runtime()?;
    let entered = runtime.handle().clone();
    let (netns, connection) = in_new_namespace(move || {
        table()?;
        let _entered = entered.enter();
        Ok(Connection::<Nftables>::new()?)
    })?;
    let set = Set::new(TABLE, SET)
        .family(Family::Inet)
        .key_type(SetKeyType::Concat(vec![
            SetKeyType::InetProto,
            SetKeyType::InetService,
        ]));
    let element = [SetElement::new(KEY.to_vec())];
    Ok(vec![Rival::new("nlink, an element", 1, move || {
        let _held = &netns;
        let taken = time(|| Ok(runtime.block_on(connection.add_set_elements(&set, &element))?))?;
        runtime.block_on(connection.del_set_elements(&set, &element))?;
        Ok(taken)
    })])
}

pub(crate) fn netlink_bindings() -> Result<Vec<Rival>> {
    let (netns, mut socket) = in_new_namespace(|| {
        table()?;
        let mut socket = NetlinkSocket::new();
        // Opens the socket here.
        change(&mut socket, true)?;
        change(&mut socket, false)?;
        Ok(socket)
    })?;
    Ok(vec![Rival::new(
        "netlink-bindings, an element",
        1,
        move || {
            let _held = &netns;
            let taken = time(|| change(&mut socket, true))?;
            change(&mut socket, false)?;
            Ok(taken)
        },
    )])
}

fn change(socket: &mut NetlinkSocket, add: bool) -> Result<()> {
    let header = |family| {
        let mut header = Nfgenmsg::new();
        header.nfgen_family = family;
        header
    };
    let mut of_batch = header(0);
    of_batch._res_id_be = 10_u16.to_be();
    let inet = header(1);
    let mut chained = Chained::new(socket.reserve_seq(3));
    chained.request().op_batch_begin_do(&of_batch);
    macro_rules! elements {
        ($operation:expr) => {
            $operation
                .encode()
                .push_table_bytes(TABLE.as_bytes())
                .push_set_bytes(SET.as_bytes())
                .nested_elements()
                .nested_elem()
                .nested_key()
                .push_value(&KEY)
                .end_nested()
                .end_nested()
                .end_nested()
        };
    }
    if add {
        elements!(chained.request().set_create().op_newsetelem_do(&inet));
    } else {
        elements!(chained.request().op_delsetelem_do(&inet));
    }
    chained.request().op_batch_end_do(&of_batch);
    let chained = chained.finalize();
    let mut replies = socket.request_chained(&chained)?;
    Ok(replies.recv_all().map_err(|error| error.to_string())?)
}

/// It knows no nf_tables: an address instead, next to ours.
pub(crate) fn rtnetlink() -> Result<Vec<Rival>> {
    let runtime = runtime()?;
    let entered = runtime.handle().clone();
    let (netns, (task, handle, mut rtnl)) = in_new_namespace(move || {
        let _entered = entered.enter();
        let (connection, handle, _) = ::rtnetlink::new_connection()?;
        Ok((entered.spawn(connection), handle, Rtnl::open()?))
    })?;
    const LOOPBACK: u32 = 1;
    let address = Ipv4Addr::new(10, 0, 0, 1);
    let index = tapwire::IfIndex::new(LOOPBACK)?;
    let ours = Address::new(index, "10.0.0.1/32".parse()?);
    let netns = std::rc::Rc::new(netns);
    let held = std::rc::Rc::clone(&netns);
    let theirs = move || {
        let _held = (&held, &task);
        let add = handle.address().add(LOOPBACK, IpAddr::V4(address), 32);
        let mut message = add;
        let again = message.message_mut().clone();
        let taken = time(|| Ok(runtime.block_on(message.execute())?))?;
        runtime.block_on(handle.address().del(again).execute())?;
        Ok(taken)
    };
    let ours = move || {
        let _held = &netns;
        let taken = time(|| Ok(rtnl.apply(|changes| changes.add_address(&ours))?))?;
        rtnl.apply(|changes| changes.delete_address(&ours))?;
        Ok(taken)
    };
    Ok(vec![
        Rival::new("rtnetlink, an address", 1, theirs),
        Rival::new("tapwire, an address", 1, ours),
    ])
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    Ok(builder.enable_all().build()?)
}
