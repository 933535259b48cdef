//! A guest with the kernel's own network stack, behind the TAP of a take-over.

use std::net::{Ipv6Addr, TcpListener, UdpSocket};

use tapwire::bridged::Bridged;
use tapwire::guest::GuestConfig;
use tapwire::route::{Address, LinkChange, Neighbour, Route, Rtnl};
use tapwire::sys::{NetNs, Tap, TapOptions};
use tapwire::{IfIndex, IfName};

use super::pods::PORT;
use super::support::program::Failure;
use super::support::server::Server;
use super::support::wire::Wire;

/// A running guest; it stops when dropped.
pub(crate) struct Guest {
    netns: NetNs,
    _server: Server,
    _wire: Wire,
}

impl Guest {
    /// Starts one with nothing but what it is told.
    pub(crate) fn boot(pod: &NetNs, bridged: &Bridged) -> Result<Self, Failure> {
        let options = TapOptions::new(bridged.tap()).nonblocking();
        let vmm = pod.run(|| options.attach())??;
        let netns = NetNs::new()?;
        let device = netns.run(|| configure(bridged.config()))??;
        let any = (Ipv6Addr::UNSPECIFIED, PORT);
        let (tcp, udp) = netns.run(|| (TcpListener::bind(any), UdpSocket::bind(any)))?;
        Ok(Self {
            netns,
            _server: Server::start("guest", tcp?, udp?)?,
            _wire: Wire::lay(vmm, device)?,
        })
    }

    pub(crate) fn netns(&self) -> &NetNs {
        &self.netns
    }
}

/// In the guest: its device, with addresses, neighbours and routes as it is
/// told.
fn configure(config: &GuestConfig) -> Result<Tap, Failure> {
    let name: IfName = "eth0".parse()?;
    let device = TapOptions::new(name)
        .mac(config.mac())
        .mtu(config.mtu())
        .nonblocking()
        .create()?;
    let (lo, index) = (IfIndex::new(1)?, device.index()?);
    Rtnl::open()?.apply(|changes| {
        changes.set_link(&LinkChange::new(lo).up());
        changes.set_link(&LinkChange::new(index).up());
        for net in config.addresses() {
            changes.add_address(&Address::new(index, *net).without_dad());
        }
        for (address, mac) in config.neighbours() {
            changes.replace_neighbour(&Neighbour::new(index, *address, *mac));
        }
        for told in config.routes() {
            let mut route = Route::new(told.destination()).dev(index);
            if let Some(gateway) = told.gateway() {
                route = route.via(gateway);
            }
            if told.is_onlink() {
                route = route.onlink();
            }
            changes.add_route(&route);
        }
    })?;
    Ok(device)
}
