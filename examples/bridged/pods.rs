//! Pods on a node, wired as CNI plugins do it, and an outside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tapwire::route::{
    Address, Ipv4Setting, Ipv6Setting, LinkChange, Neighbour, NewLink, Route, Rtnl, Scope,
    set_ipv6_setting,
};
use tapwire::sys::NetNs;
use tapwire::{IfIndex, IfName, Mac};

use super::support::program::Failure;
use super::support::server::Server;

/// How the pods of a node are wired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wiring {
    /// One subnet on a bridge of the node: CNI's `bridge`.
    Subnet,
    /// Each pod alone, with an address of its own and a gateway that only ARP
    /// knows: Calico.
    ProxyArp,
}

/// Four machines.
pub(crate) struct Pods {
    wiring: Wiring,
    node: NetNs,
    outside: NetNs,
    pod: NetNs,
    peer: NetNs,
    servers: Vec<Server>,
}

impl Pods {
    /// Makes them and their wires, and servers on all but the node.
    pub(crate) fn new(wiring: Wiring) -> Result<Self, Failure> {
        let mut pods = Self {
            wiring,
            node: NetNs::new()?,
            outside: NetNs::new()?,
            pod: NetNs::new()?,
            peer: NetNs::new()?,
            servers: Vec::new(),
        };
        pods.node.run(|| pods.lay_wires())??;
        pods.outside.run(outside)??;
        for (machine, addresses) in [(&pods.pod, POD), (&pods.peer, PEER)] {
            machine.run(|| pods.configure(addresses))??;
        }
        for (name, machine) in [
            ("outside", &pods.outside),
            ("pod", &pods.pod),
            ("peer", &pods.peer),
        ] {
            let sockets = machine.run(|| {
                // Both families: a socket on `::` takes IPv4 too.
                let any = (IpAddr::from(Ipv6Addr::UNSPECIFIED), PORT);
                (TcpListener::bind(any), UdpSocket::bind(any))
            })?;
            pods.servers
                .push(Server::start(name, sockets.0?, sockets.1?)?);
        }
        Ok(pods)
    }

    pub(crate) fn outside(&self) -> &NetNs {
        &self.outside
    }

    pub(crate) fn pod(&self) -> &NetNs {
        &self.pod
    }

    pub(crate) fn peer(&self) -> &NetNs {
        &self.peer
    }

    /// Who has a permanent entry for the pod: the peer in one subnet with it,
    /// else the node.
    pub(crate) fn neighbour(&self) -> (&'static str, &NetNs) {
        match self.wiring {
            Wiring::Subnet => ("peer", &self.peer),
            Wiring::ProxyArp => ("node", &self.node),
        }
    }

    /// Has the neighbour take the pod's MAC address for granted.
    pub(crate) fn pin(&self, mac: Mac) -> Result<(), Failure> {
        let (_, netns) = self.neighbour();
        netns.run(|| {
            let link = IfIndex::new(match self.wiring {
                Wiring::Subnet => OWN,
                Wiring::ProxyArp => FIRST_POD,
            })?;
            Rtnl::open()?.apply(|changes| {
                for address in POD {
                    changes.replace_neighbour(&Neighbour::new(link, address, mac));
                }
            })?;
            Ok(())
        })?
    }

    /// In the node: wires to everyone, and the way to each.
    fn lay_wires(&self) -> Result<(), Failure> {
        let mut rtnl = Rtnl::open()?;
        let [lo, uplink, bridge] = [1, OWN, BRIDGE].map(IfIndex::new);
        let (lo, uplink, bridge) = (lo?, uplink?, bridge?);
        let (eth0, cni0): (IfName, IfName) = ("eth0".parse()?, "cni0".parse()?);
        let gateway = Mac::new(GATEWAY)?;
        let outer = nets(NODE, [24, 64])?;
        rtnl.apply(|changes| {
            let wire = NewLink::veth(eth0, eth0)
                .index(uplink)
                .peer_index(uplink)
                .peer_netns(&self.outside);
            changes.add_link(&wire);
            changes.set_link(&LinkChange::new(lo).up());
            changes.set_link(&LinkChange::new(uplink).up());
            for net in outer {
                changes.add_address(&Address::new(uplink, net).without_dad());
            }
            // A node answers by proxy ARP for what it has a way to.
            changes.add_route(&Route::new(EVERYWHERE[0]).via(OUTSIDE[0]).dev(uplink));
            changes.set_ipv4(uplink, &[(Ipv4Setting::Forwarding, 1)]);
            if self.wiring == Wiring::Subnet {
                changes.add_link(&NewLink::bridge(cni0).index(bridge).mac(gateway).up());
                changes.set_ipv4(bridge, &[(Ipv4Setting::Forwarding, 1)]);
            }
        })?;
        if self.wiring == Wiring::Subnet {
            let gateways = nets(GATEWAYS, [24, 64])?;
            rtnl.apply(|changes| {
                for net in gateways {
                    changes.add_address(&Address::new(bridge, net).without_dad());
                }
            })?;
        }
        set_ipv6_setting("all".parse()?, Ipv6Setting::Forwarding, 1)?;
        let pods = [("pod", &self.pod, POD), ("peer", &self.peer, PEER)];
        for (number, (name, netns, addresses)) in (FIRST_POD..).zip(pods) {
            let (name, index): (IfName, _) = (name.parse()?, IfIndex::new(number)?);
            let alone = nets(addresses, [32, 128])?;
            rtnl.apply(|changes| {
                let wire = NewLink::veth(name, eth0)
                    .index(index)
                    .mtu(MTU)
                    .peer_index(uplink)
                    .peer_netns(netns);
                changes.add_link(&wire);
                let up = LinkChange::new(index).up();
                match self.wiring {
                    Wiring::Subnet => changes.set_link(&up.master(bridge)),
                    Wiring::ProxyArp => {
                        changes.set_link(&up.mac(gateway));
                        let settings = [(Ipv4Setting::ProxyArp, 1), (Ipv4Setting::Forwarding, 1)];
                        changes.set_ipv4(index, &settings);
                        for net in alone {
                            changes.add_route(&Route::new(net).dev(index).scope(
                                match net.addr() {
                                    IpAddr::V4(_) => Scope::LINK,
                                    IpAddr::V6(_) => Scope::UNIVERSE,
                                },
                            ));
                        }
                    }
                }
            })?;
        }
        Ok(())
    }

    /// In a pod: addresses and routes, as a CNI plugin leaves them.
    fn configure(&self, addresses: [IpAddr; 2]) -> Result<(), Failure> {
        let mut rtnl = Rtnl::open()?;
        let (lo, own) = (IfIndex::new(1)?, IfIndex::new(OWN)?);
        let (prefixes, gateways) = match self.wiring {
            Wiring::Subnet => ([24, 64], GATEWAYS),
            Wiring::ProxyArp => ([32, 128], FAR_GATEWAYS),
        };
        let own_nets = nets(addresses, prefixes)?;
        rtnl.apply(|changes| {
            changes.set_link(&LinkChange::new(lo).up());
            changes.set_link(&LinkChange::new(own).mtu(MTU).up());
            for net in own_nets {
                changes.add_address(&Address::new(own, net).without_dad());
            }
            if self.wiring == Wiring::ProxyArp {
                let gateway = Route::new(gateways[0].into()).dev(own);
                changes.add_route(&gateway.scope(Scope::LINK));
            }
            for (net, gateway) in EVERYWHERE.into_iter().zip(gateways) {
                changes.add_route(&Route::new(net).via(gateway).dev(own));
            }
        })?;
        Ok(())
    }
}

/// Outside: all pods are behind the node.
fn outside() -> Result<(), Failure> {
    let (lo, own) = (IfIndex::new(1)?, IfIndex::new(OWN)?);
    let own_nets = nets(OUTSIDE, [24, 64])?;
    Rtnl::open()?.apply(|changes| {
        for link in [lo, own] {
            changes.set_link(&LinkChange::new(link).up());
        }
        for net in own_nets {
            changes.add_address(&Address::new(own, net).without_dad());
        }
        for (net, gateway) in EVERYWHERE.into_iter().zip(NODE) {
            changes.add_route(&Route::new(net).via(gateway).dev(own));
        }
    })?;
    Ok(())
}

fn nets(addresses: [IpAddr; 2], prefixes: [u8; 2]) -> Result<Vec<IpNet>, Failure> {
    let pairs = addresses.into_iter().zip(prefixes);
    let nets: Result<Vec<IpNet>, _> = pairs
        .map(|(address, prefix)| IpNet::new(address, prefix))
        .collect();
    nets.map_err(Into::into)
}

const fn v4(octets: [u8; 4]) -> IpAddr {
    let [first, second, third, fourth] = octets;
    IpAddr::V4(Ipv4Addr::new(first, second, third, fourth))
}

const fn v6(bits: u128) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_bits(bits))
}

/// The pod's addresses.
pub(crate) const POD: [IpAddr; 2] = [
    v4([10, 244, 3, 5]),
    v6(0xfd00_0244_0003_0000_0000_0000_0000_0005),
];

/// The other pod's.
pub(crate) const PEER: [IpAddr; 2] = [
    v4([10, 244, 3, 6]),
    v6(0xfd00_0244_0003_0000_0000_0000_0000_0006),
];

/// A machine outside (RFC 5737 and RFC 3849: for examples only).
pub(crate) const OUTSIDE: [IpAddr; 2] = [
    v4([203, 0, 113, 7]),
    v6(0x2001_0db8_0000_0000_0000_0000_0000_0007),
];

const NODE: [IpAddr; 2] = [
    v4([203, 0, 113, 1]),
    v6(0x2001_0db8_0000_0000_0000_0000_0000_0001),
];
const GATEWAYS: [IpAddr; 2] = [
    v4([10, 244, 3, 1]),
    v6(0xfd00_0244_0003_0000_0000_0000_0000_0001),
];

/// Those that ARP and ND alone know: the second is made from [`GATEWAY`].
const FAR_GATEWAYS: [IpAddr; 2] = [
    v4([169, 254, 1, 1]),
    v6(0xfe80_0000_0000_0000_ecee_eeff_feee_eeee),
];

const EVERYWHERE: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
];

/// The node's MAC address towards pods that are alone.
const GATEWAY: [u8; 6] = [0xee; 6];

/// The port of all servers.
pub(crate) const PORT: u16 = 80;

/// The MTU of pods, as on an overlay.
const MTU: u32 = 1450;

/// Indexes: of everyone's own interface, the node's ends of the pods' wires,
/// and its bridge.
const OWN: u32 = 100;
const FIRST_POD: u32 = 105;
const BRIDGE: u32 = 110;
