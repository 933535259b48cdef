//! Libraries that know rules: one more in a chain of 10 000.

use crate::{Result, Rival};

const TABLE: &str = "rival";
const CHAIN: &str = "rules";

#[cfg(any(feature = "nftnl", feature = "rustables"))]
fn chain() -> Result<()> {
    use std::fmt::Write;
    let mut text = format!("add table inet {TABLE}\nadd chain inet {TABLE} {CHAIN}\n");
    for port in crate::FIRST..crate::FIRST + crate::PRESENT {
        writeln!(
            text,
            "add rule inet {TABLE} {CHAIN} tcp dport {port} accept"
        )?;
    }
    crate::programs::feed("nft", &["-f", "-"], &text)
}

#[cfg(feature = "nftnl")]
pub(crate) fn nftnl() -> Result<Vec<Rival>> {
    use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};
    use nftnl::{Batch, Chain, MsgType, ProtoFamily, Rule, Table, nft_expr};

    let (netns, socket) = crate::in_new_namespace(|| {
        chain()?;
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(socket)
    })?;
    let (table_name, chain_name) = (
        std::ffi::CString::new(TABLE)?,
        std::ffi::CString::new(CHAIN)?,
    );
    Ok(vec![Rival::new("nftnl, a rule", 20, move || {
        let _held = &netns;
        socket.set_non_blocking(true)?;
        let mut buffer = vec![0; 65_536];
        while socket.recv(&mut buffer.as_mut_slice(), 0).is_ok() {}
        socket.set_non_blocking(false)?;
        crate::time(|| {
            let table = Table::new(&table_name, ProtoFamily::Inet);
            let chain = Chain::new(&chain_name, &table);
            let mut rule = Rule::new(&chain);
            rule.add_expr(&nft_expr!(meta l4proto));
            rule.add_expr(&nft_expr!(cmp == 6_u8));
            rule.add_expr(&nft_expr!(payload tcp dport));
            rule.add_expr(&nft_expr!(cmp == crate::PORT.to_be()));
            rule.add_expr(&nft_expr!(verdict accept));
            let mut batch = Batch::new();
            batch.add(&rule, MsgType::Add);
            let batch = batch.finalize();
            for bytes in &batch {
                socket.send(bytes, 0)?;
            }
            socket.recv(&mut buffer.as_mut_slice(), 0)?;
            Ok(())
        })
    })])
}

#[cfg(not(feature = "nftnl"))]
pub(crate) fn nftnl() -> Result<Vec<Rival>> {
    let _ = (TABLE, CHAIN);
    Err("built without the feature".into())
}

#[cfg(feature = "rustables")]
pub(crate) fn rustables() -> Result<Vec<Rival>> {
    use rustables::{Batch, Chain, MsgType, Protocol, ProtocolFamily, Rule, Table};

    let (netns, ()) = crate::in_new_namespace(chain)?;
    Ok(vec![Rival::new("rustables, a rule", 20, move || {
        // It opens a socket each time.
        crate::inside(&netns, || {
            crate::time(|| {
                let table = Table::new(ProtocolFamily::Inet).with_name(TABLE);
                let chain = Chain::new(&table).with_name(CHAIN);
                let rule = Rule::new(&chain)?
                    .dport(crate::PORT, Protocol::TCP)
                    .accept();
                let mut batch = Batch::new();
                batch.add(&rule, MsgType::Add);
                Ok(batch.send()?)
            })
        })
    })])
}

#[cfg(not(feature = "rustables"))]
pub(crate) fn rustables() -> Result<Vec<Rival>> {
    Err("built without the feature".into())
}
