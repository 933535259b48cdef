//! A guest with the kernel's own TCP/IP stack: a namespace behind a TAP,
//! whose frames are carried to and from the TAP that a VMM would open.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tapwire::route::{Address, LinkChange, Route, Rtnl};
use tapwire::sys::{NetNs, Tap, TapOptions};
use tapwire::{Attachment, Snapshot};

use crate::stand_ins::wire::{self, Plug};
use crate::world::{SOON, World, within};

/// A running guest; it stops when dropped.
pub(crate) struct LinuxGuest {
    pub(crate) netns: NetNs,
    _wire: Wire,
}

impl LinuxGuest {
    /// Boots an attached guest.
    pub(crate) fn start(world: &World, attachment: &Attachment) -> Self {
        let host = Tap::from_fd(world.open_tap(attachment)).unwrap();
        let netns = NetNs::new().unwrap();
        let guest = netns.run(|| configure(attachment)).unwrap();
        let wire = Wire::new(host, guest);
        for address in [attachment.ipv4().into(), attachment.ipv6().into()] {
            let to = SocketAddr::new(address, CLOSED);
            let refused = |timeout: Duration| {
                let result = TcpStream::connect_timeout(&to, timeout / 10);
                let kind = result.err().map(|error| error.kind());
                (kind == Some(ErrorKind::ConnectionRefused)).then_some(())
            };
            // The TAP sends nothing until the kernel has seen its carrier.
            let refused = world.node.run(|| within(SOON, refused)).unwrap();
            refused.expect("the guest answers");
        }
        Self { netns, _wire: wire }
    }
}

/// What carries frames between two ends, both not blocking; it ends when
/// dropped.
pub(crate) struct Wire {
    _laid: wire::Wire,
}

impl Wire {
    pub(crate) fn new(host: impl Plug, guest: impl Plug) -> Self {
        Self {
            _laid: wire::Wire::lay(host, guest).unwrap(),
        }
    }
}

fn configure(attachment: &Attachment) -> Tap {
    let inside = Snapshot::of(attachment);
    let tap = TapOptions::new("eth0".parse().unwrap())
        .mac(inside.mac())
        .nonblocking()
        .create()
        .unwrap();
    let index = tap.index().unwrap();
    let [any4, any6] = ["0.0.0.0/0", "::/0"].map(|net| net.parse().unwrap());
    let mut rtnl = Rtnl::open().unwrap();
    rtnl.apply(|changes| {
        changes.set_link(&LinkChange::new(index).up());
        changes.add_address(&Address::new(index, inside.ipv4_net().into()));
        changes.add_route(&Route::new(any4).via(inside.gateway_ipv4().into()));
        if let (Some(ipv6), Some(gateway)) = (inside.ipv6_net(), inside.gateway_ipv6()) {
            changes.add_address(&Address::new(index, ipv6.into()).without_dad());
            changes.add_route(&Route::new(any6).via(gateway.into()).dev(index));
        }
    })
    .unwrap();
    tap
}

/// A port on which no guest listens.
const CLOSED: u16 = 1;
