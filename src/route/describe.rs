//! Requests in words, read back from their bytes only when an error needs
//! them.

use std::fmt;

use crate::wire::uapi::if_link::{IFLA_GROUP, IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINKINFO};
use crate::wire::uapi::rtnetlink::{
    RTM_DELADDR, RTM_DELLINK, RTM_DELNEIGH, RTM_DELQDISC, RTM_DELROUTE, RTM_DELRULE,
    RTM_DELTFILTER, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWNEIGH, RTM_NEWQDISC, RTM_NEWROUTE,
    RTM_NEWRULE, RTM_NEWTFILTER, RTM_SETLINK,
};
use crate::wire::{Attrs, DecodeError, Flags, HEADER_LENGTH, Message, locate};

use super::address::Address;
use super::fib::Route;
use super::neighbour::Neighbour;
use super::rule::RoutingRule;
use super::tc::{Filter, Qdisc};

/// A request as `ip` would be told it: `add address 198.51.100.1/30 dev 7`.
pub(crate) struct Described<'a>(pub(crate) &'a Message<'a>);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.0;
        let (verb, noun) = match message.kind() {
            RTM_NEWLINK => ("add", "link"),
            RTM_SETLINK => ("set", "link"),
            RTM_DELLINK => ("delete", "link"),
            RTM_NEWADDR => ("add", "address"),
            RTM_DELADDR => ("delete", "address"),
            RTM_NEWROUTE => ("add", "route"),
            RTM_DELROUTE => ("delete", "route"),
            RTM_NEWNEIGH => ("add", "neighbour"),
            RTM_DELNEIGH => ("delete", "neighbour"),
            RTM_NEWRULE => ("add", "rule"),
            RTM_DELRULE => ("delete", "rule"),
            RTM_NEWQDISC => ("add", "qdisc"),
            RTM_DELQDISC => ("delete", "qdisc"),
            RTM_NEWTFILTER => ("add", "filter"),
            RTM_DELTFILTER => ("delete", "filter"),
            kind => return write!(f, "request {kind}"),
        };
        let verb = if verb == "add" && message.header().flags.contains(Flags::REPLACE) {
            "replace"
        } else {
            verb
        };
        write!(f, "{verb} {noun}")?;
        let object = match noun {
            "link" => link(message, f),
            "address" => Address::decode(message).map(|address| write!(f, " {address}")),
            "route" => Route::decode(message).map(|route| optional(route, f)),
            "neighbour" => Neighbour::decode(message).map(|neighbour| optional(neighbour, f)),
            "qdisc" => Qdisc::decode(message).map(|qdisc| write!(f, " {qdisc}")),
            "filter" => Filter::describe(message).map(|filter| write!(f, " {filter}")),
            _ => RoutingRule::decode(message).map(|rule| optional(rule, f)),
        };
        object.unwrap_or(Ok(()))
    }
}

/// The number of the attribute that an error offset points at. Offsets count
/// from the netlink header, the attributes start behind the family's.
pub(crate) fn attribute_at(message: &Message<'_>, offset: u32) -> Option<u16> {
    let header = match message.kind() {
        RTM_NEWLINK | RTM_SETLINK | RTM_DELLINK => 16,
        RTM_NEWADDR | RTM_DELADDR => 8,
        RTM_NEWQDISC | RTM_DELQDISC | RTM_NEWTFILTER | RTM_DELTFILTER => 20,
        _ => 12,
    };
    let attrs = Attrs::new(message.body().get(header..)?);
    let start = HEADER_LENGTH.checked_add(header)?;
    let offset = usize::try_from(offset).ok()?.checked_sub(start)?;
    locate(attrs, offset).map(|(kind, ..)| kind)
}

fn link(message: &Message<'_>, f: &mut fmt::Formatter<'_>) -> Result<fmt::Result, DecodeError> {
    let (&[_, _, _, _, i0, i1, i2, i3, ..], attrs) = message.split::<16>()?;
    let index = u32::from_ne_bytes([i0, i1, i2, i3]);
    let name = attrs.clone().find(IFLA_IFNAME)?;
    let kind = attrs.clone().find(IFLA_LINKINFO)?;
    let kind = match kind {
        Some(info) => info.find(IFLA_INFO_KIND)?,
        None => None,
    };
    let group = attrs.find(IFLA_GROUP)?;
    Ok(match (message.kind(), index, group) {
        (RTM_DELLINK, 0, Some(group)) => write!(f, "s of group {group}"),
        (RTM_NEWLINK, ..) => words(f, "", name).and_then(|()| words(f, "type ", kind)),
        (_, index, _) => write!(f, " {index}").and_then(|()| words(f, "name ", name)),
    })
}

fn words(f: &mut fmt::Formatter<'_>, before: &str, text: Option<&[u8]>) -> fmt::Result {
    let Some(text) = text else {
        return Ok(());
    };
    let text = text.split(|&byte| byte == 0).next().unwrap_or_default();
    write!(f, " {before}{}", String::from_utf8_lossy(text))
}

fn optional(value: Option<impl fmt::Display>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    value.map_or(Ok(()), |value| write!(f, " {value}"))
}
