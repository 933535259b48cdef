//! The door for the fuzz targets to what is not public: no part of the API.

use std::fmt::Debug;
use std::net::IpAddr;
use std::ptr;
use std::sync::LazyLock;

use crate::conntrack::Flow;
use crate::error::Invalid;
use crate::exposure::Destination;
use crate::layout::{self, Layout, Seat};
use crate::nft::{
    Chain, Element, Elements, Family, Flowtable, Name, NamedObject, Rule, Set, Table,
};
use crate::route::{Address, Link, Neighbour, Route, RoutingRule, describe};
use crate::wire::uapi::nf_tables::{
    NFTA_LIST_ELEM, NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_TABLE,
};
use crate::wire::{DecodeError, Message, Writer};
use crate::{Error, Exposure, GuestName, IfName, Mac, Owner};

/// A value that is read from a message and written as one.
pub trait Codec: Debug + PartialEq + Sized {
    /// Reads a whole message; `None` if it holds no such value.
    fn decode(message: &Message<'_>) -> Result<Option<Self>, DecodeError>;

    /// Writes the body of a message.
    fn encode(&self, out: &mut Writer<'_>);

    /// Whether the value says all that was read, and may be sent.
    fn is_whole(&self) -> bool;
}

macro_rules! codecs {
    ($($value:ident: |$message:ident| $decode:expr, |$self:ident, $out:ident| $encode:expr, $whole:expr;)*) => {$(
        impl Codec for $value {
            fn decode($message: &Message<'_>) -> Result<Option<Self>, DecodeError> {
                $decode
            }

            fn encode(&$self, $out: &mut Writer<'_>) {
                $encode;
            }

            fn is_whole(&$self) -> bool {
                $whole
            }
        }
    )*};
}

codecs! {
    Table: |message| Self::decode(message).map(Some), |self, out| self.encode(out), true;
    Chain: |message| Self::decode(message).map(Some), |self, out| self.encode(None, out), true;
    Set: |message| Self::decode(message).map(Some), |self, out| self.encode(0, out), true;
    Rule: |message| Self::decode(message).map(Some), |self, out| self.encode(0, true, &[], out), true;
    NamedObject: |message| Self::decode(message).map(Some), |self, out| self.encode(out), true;
    Flowtable: |message| Self::decode(message).map(Some), |self, out| self.encode(out), true;
    Elements: |message| Self::decode(message).map(Some), |self, out| write(self, out), true;
    Address: |message| Self::decode(message).map(Some), |self, out| self.encode(out),
        self.check().is_ok() && !self.is_tentative() && !self.dad_failed();
    Route: |message| Self::decode(message), |self, out| self.encode(out), self.check_whole().is_ok();
    Neighbour: |message| Self::decode(message), |self, out| self.encode(out), true;
    RoutingRule: |message| Self::decode(message), |self, out| self.encode(out), self.check().is_ok();
}

/// The message that holds `elements`.
pub fn elements(elements: Vec<Element>) -> Elements {
    Elements {
        family: Family::INET,
        table: Name::constant("fuzz"),
        set: Name::constant("any"),
        elements,
    }
}

fn write(list: &Elements, out: &mut Writer<'_>) {
    out.fixed(&[list.family.as_raw(), 0, 0, 0]);
    out.put(NFTA_SET_ELEM_LIST_TABLE, list.table.as_str());
    out.put(NFTA_SET_ELEM_LIST_SET, list.set.as_str());
    out.nest(NFTA_SET_ELEM_LIST_ELEMENTS, |out| {
        for element in &list.elements {
            out.nest(NFTA_LIST_ELEM, |out| element.encode(out));
        }
    });
}

/// Reads a link.
pub fn link(message: &Message<'_>) -> Result<Link, DecodeError> {
    Link::decode(message)
}

/// Reads a tracked flow.
pub fn flow(message: &Message<'_>) -> Result<Option<Flow>, DecodeError> {
    Flow::read(&message.split::<4>()?.1)
}

/// A request of `route` in words, and the attribute at `offset` in it.
pub fn describe(message: &Message<'_>, offset: u32) -> (String, Option<u16>) {
    let words = describe::Described(message).to_string();
    (words, describe::attribute_at(message, offset))
}

/// The elements of an exposure by set, guests by any names and addresses.
pub fn exposure_elements(exposure: &Exposure) -> Result<Vec<Vec<Element>>, Error> {
    let layout = layout()?;
    let sets: Vec<&Set> = layout.exposure_sets().collect();
    let mut elements = vec![Vec::new(); sets.len()];
    let seat_of = |guest, ipv4| Ok::<_, Error>(seat_of(guest, ipv4));
    layout.exposure_elements(exposure, seat_of, &mut |set, element: &Element| {
        let place = sets.iter().position(|one| ptr::eq(*one, set));
        if let Some(list) = place.and_then(|place| elements.get_mut(place)) {
            list.push(element.clone());
        }
    })?;
    Ok(elements)
}

fn seat_of(guest: &Destination, ipv4: bool) -> Seat<'_> {
    let (address, guest) = match guest {
        Destination::Address(address) => (*address, "guest"),
        Destination::Name(name) if ipv4 => ([198, 18, 0, 2].into(), name.as_str()),
        Destination::Name(name) => ([0xfd00, 0, 0, 0, 0, 0, 0, 2].into(), name.as_str()),
    };
    Seat { address, guest }
}

/// The exposures of elements by set.
pub fn read_exposures(elements: &[Vec<Element>]) -> Result<Vec<Exposure>, Error> {
    let exposures = layout()?.regroup(elements).into_iter();
    Ok(exposures.map(|regrouped| regrouped.exposure).collect())
}

/// The exposures of one element, were it in all of the sets.
pub fn read_exposure(element: &Element) -> Result<Vec<Exposure>, Error> {
    let sets = layout()?.exposure_sets().count();
    read_exposures(&vec![vec![element.clone()]; sets])
}

fn layout() -> Result<&'static Layout, Error> {
    static LAYOUT: LazyLock<Result<Layout, Invalid>> =
        LazyLock::new(|| Layout::new(&Owner::new("fuzz")?, 65_536, 65_536));
    LAYOUT.as_ref().map_err(|invalid| invalid.clone().into())
}

/// The guard of an element: TAP, MAC, address and name of a guest.
pub fn read_guard(element: &Element) -> Option<(IfName, Mac, IpAddr, GuestName)> {
    layout::read_guard(element)
}

/// The uplink of an element.
pub fn read_uplink(element: &Element) -> Option<IfName> {
    layout::read_uplink(element)
}
