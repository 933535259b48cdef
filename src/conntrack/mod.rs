//! The kernel's connection tracking: list and delete flows by filter.
//!
//! A NAT rule decides for the first packet of a flow only; what it decided
//! lives on here until the flow is deleted. Whoever withdraws or moves an
//! exposure has to say what becomes of its flows.

mod filter;
mod flow;
mod usage;

pub use filter::{FlowFilter, TupleFilter};
pub use flow::{Flow, Tuple};
pub use usage::{Usage, usage};

use crate::conn::Connection;
use crate::error::{Error, Invalid};
use crate::wire::uapi::conntrack::{CTA_TUPLE_ORIG, IPCTNL_MSG_CT_DELETE, IPCTNL_MSG_CT_GET};
use crate::wire::{Attrs, Flags, Writer};

/// `NFNL_SUBSYS_CTNETLINK << 8` of `linux/netfilter/nfnetlink.h`.
const CTNETLINK: u16 = 1 << 8;

/// Length of `struct nfgenmsg`.
const NFGENMSG: usize = 4;

/// Lists the flows that match `filter`, in no order. `connection` speaks
/// netfilter.
///
/// The kernel filters where it can (Linux 5.8 and later); what it lets
/// through is checked once more. It goes through a table that it has for all
/// network namespaces, which takes milliseconds however few flows there are:
/// so it is asked first whether there are any in this one.
///
/// # Errors
/// [`Error::Refused`] (`EPERM` without `CAP_NET_ADMIN`), or what
/// [`Connection::dump`] returns.
pub fn flows(connection: &mut Connection, filter: &FlowFilter) -> Result<Vec<Flow>, Error> {
    if usage(connection)?.entries() == 0 {
        return Ok(Vec::new());
    }
    connection.dump(
        format_args!("list the flows {filter}"),
        CTNETLINK | IPCTNL_MSG_CT_GET,
        |out| filter.write(out),
        |message| {
            let (_, attrs) = message.split::<NFGENMSG>()?;
            let flow = Flow::read(&attrs)?;
            Ok(flow.filter(|flow| filter.matches(flow)))
        },
    )
}

/// Deletes the flows that match `filter`, so that their next packet is
/// looked at as the first of a new flow. None is no error. `connection`
/// speaks netfilter.
///
/// One request on Linux 6.12 and later; before, and for IPv6 addresses, a
/// list and a request each.
///
/// # Errors
/// [`Error::Invalid`] for a filter without a condition, which would delete
/// every flow of the host; [`Error::Refused`] (`EPERM` without
/// `CAP_NET_ADMIN`).
pub fn delete(connection: &mut Connection, filter: &FlowFilter) -> Result<(), Error> {
    if filter.is_empty() {
        return Err(Invalid::new("flow filter", filter, "has no condition").into());
    }
    if !filter.is_exact_in_kernel() {
        return delete_each(connection, filter);
    }
    let what = format_args!("delete the flows {filter}");
    let deleted = connection.execute(
        what,
        CTNETLINK | IPCTNL_MSG_CT_DELETE,
        Flags::empty(),
        |out| filter.write(out),
    );
    match deleted.as_ref().map_err(Error::raw_os_error) {
        Err(Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOENT)) => {
            delete_each(connection, filter)
        }
        _ => deleted,
    }
}

/// Deletes one by one what the kernel cannot filter.
fn delete_each(connection: &mut Connection, filter: &FlowFilter) -> Result<(), Error> {
    for flow in flows(connection, filter)? {
        delete_flow(connection, &flow)?;
    }
    Ok(())
}

/// Deletes a flow that was listed. That it is gone is no error.
///
/// # Errors
/// [`Error::Refused`] (`EPERM` without `CAP_NET_ADMIN`).
pub fn delete_flow(connection: &mut Connection, flow: &Flow) -> Result<(), Error> {
    let family = FlowFilter::family_of(flow.original().source()).family();
    let what = format_args!("delete the flow {}", flow.original());
    let deleted = connection.execute(
        what,
        CTNETLINK | IPCTNL_MSG_CT_DELETE,
        Flags::empty(),
        |out| {
            write_family(out, family);
            out.nest(CTA_TUPLE_ORIG, |out| {
                for attribute in Attrs::new(flow.original_bytes()).flatten() {
                    out.put_raw(attribute.kind_and_flags(), attribute.payload());
                }
            });
        },
    );
    match deleted {
        Err(error) if error.is_not_found() => Ok(()),
        result => result,
    }
}

/// Writes `struct nfgenmsg`: family, version `NFNETLINK_V0`, resource 0.
fn write_family(out: &mut Writer<'_>, family: u8) {
    out.fixed(&[family, 0, 0, 0]);
}
