//! Changes of a link: `RTM_SETLINK`, `ip-link(8)`.

use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use netlink_packet_core::DefaultNla;
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};

use crate::error::Invalid;
use crate::wire::Writer;
use crate::wire::uapi::if_link::IFLA_IFALIAS;
use crate::{IfIndex, IfName, Mac};

use super::codec::emit;
use super::devconf::{self, Ipv4Setting};
use super::new_link::check_mtu;

/// Longest alias in bytes: `IFALIASZ` of `linux/if.h` less its NUL.
const ALIAS_MAX: usize = 255;

/// What is to change about a link; the rest stays as it is.
///
/// ```
/// use tapwire::{IfIndex, route::LinkChange};
/// let change = LinkChange::new(IfIndex::new(7)?).alias("riklet: function-1").up();
/// # Ok::<(), tapwire::error::Invalid>(())
/// ```
#[derive(Debug, Clone)]
pub struct LinkChange<'fd> {
    index: IfIndex,
    name: Option<IfName>,
    up: Option<bool>,
    mac: Option<Mac>,
    mtu: Option<u32>,
    group: Option<u32>,
    alias: Option<Box<str>>,
    master: Option<u32>,
    namespace: Option<RawFd>,
    ipv4: Vec<(Ipv4Setting, u32)>,
    makes_no_ipv6: bool,
    descriptors: PhantomData<BorrowedFd<'fd>>,
}

impl<'fd> LinkChange<'fd> {
    /// Nothing yet.
    pub fn new(index: IfIndex) -> Self {
        Self {
            index,
            name: None,
            up: None,
            mac: None,
            mtu: None,
            group: None,
            alias: None,
            master: None,
            namespace: None,
            ipv4: Vec::new(),
            makes_no_ipv6: false,
            descriptors: PhantomData,
        }
    }

    /// Gives it another name. Kernels before 6.2 refuse that while it is up.
    #[must_use]
    pub fn rename(mut self, name: IfName) -> Self {
        self.name = Some(name);
        self
    }

    /// Sets it up.
    #[must_use]
    pub fn up(mut self) -> Self {
        self.up = Some(true);
        self
    }

    /// Sets it down, which removes its routes and IPv6 addresses.
    #[must_use]
    pub fn down(mut self) -> Self {
        self.up = Some(false);
        self
    }

    /// Gives it this MAC address.
    #[must_use]
    pub fn mac(mut self, mac: Mac) -> Self {
        self.mac = Some(mac);
        self
    }

    /// Sets the largest packet in bytes.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// Puts it into a group.
    #[must_use]
    pub fn group(mut self, group: u32) -> Self {
        self.group = Some(group);
        self
    }

    /// Attaches a text of at most 255 bytes without control characters; an
    /// empty one removes it.
    #[must_use]
    pub fn alias(mut self, alias: &str) -> Self {
        self.alias = Some(alias.into());
        self
    }

    /// Makes it a port of this bridge.
    #[must_use]
    pub fn master(mut self, master: IfIndex) -> Self {
        self.master = Some(master.get());
        self
    }

    /// Takes it out of its bridge.
    #[must_use]
    pub fn no_master(mut self) -> Self {
        self.master = Some(0);
        self
    }

    /// Moves it to another network namespace, given by its open file. It is
    /// down there, without addresses, and under another index if its own is
    /// taken.
    #[must_use]
    pub fn netns(mut self, namespace: &'fd impl AsFd) -> Self {
        self.namespace = Some(namespace.as_fd().as_raw_fd());
        self
    }

    /// Changes IPv4 settings, after it is set up or down.
    #[must_use]
    pub fn ipv4(mut self, settings: &[(Ipv4Setting, u32)]) -> Self {
        self.ipv4.extend_from_slice(settings);
        self
    }

    /// Has it make no IPv6 address of its own when it goes up. Refused where
    /// the kernel has no IPv6.
    #[must_use]
    pub(crate) fn no_own_ipv6(mut self) -> Self {
        self.makes_no_ipv6 = true;
        self
    }

    pub(super) fn check(&self) -> Result<(), Invalid> {
        check_mtu(self.mtu)?;
        match &self.alias {
            Some(alias) if alias.len() > ALIAS_MAX => {
                Err(Invalid::new("alias", alias, "is longer than 255 bytes"))
            }
            Some(alias) if alias.chars().any(char::is_control) => {
                Err(Invalid::new("alias", alias, "holds a control character"))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn encode(&self, out: &mut Writer<'_>) {
        let mut message = LinkMessage::default();
        message.header.index = self.index.get();
        if let Some(up) = self.up {
            message.header.flags.set(LinkFlags::Up, up);
            message.header.change_mask = LinkFlags::Up;
        }
        let attributes = &mut message.attributes;
        attributes.extend(
            self.name
                .map(|name| LinkAttribute::IfName(name.as_str().into())),
        );
        attributes.extend(
            self.mac
                .map(|mac| LinkAttribute::Address(mac.octets().to_vec())),
        );
        attributes.extend(self.mtu.map(LinkAttribute::Mtu));
        attributes.extend(self.group.map(LinkAttribute::Group));
        // Without a NUL, which the kernel would count as the 256th byte.
        attributes.extend(self.alias.as_deref().map(|alias| {
            let bytes = alias.as_bytes().to_vec();
            LinkAttribute::Other(DefaultNla::new(IFLA_IFALIAS.kind(), bytes))
        }));
        attributes.extend(self.master.map(LinkAttribute::Controller));
        attributes.extend(self.namespace.map(LinkAttribute::NetNsFd));
        emit(out, &message);
        devconf::encode(&self.ipv4, self.makes_no_ipv6, out);
    }
}
