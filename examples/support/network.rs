//! A node and a client on one wire, in network namespaces that go with the
//! program.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};

use ipnet::IpNet;
use tapwire::route::{Address, Changes, LinkChange, NewLink, Route, Rtnl};
use tapwire::sys::NetNs;
use tapwire::{Error, IfIndex};

use super::program::Failure;
use super::server::Server;

/// Two machines.
pub(crate) struct Network {
    node: NetNs,
    client: NetNs,
    servers: Vec<Server>,
}

impl Network {
    /// Makes them and their wire, and servers on both.
    pub(crate) fn new() -> Result<Self, Failure> {
        let (node, client) = (NetNs::new()?, NetNs::new()?);
        node.run(|| lay_wire(&client))??;
        client.run(|| set_up(CLIENT_IPV4, CLIENT_IPV6, true))??;
        let mut network = Self {
            node,
            client,
            servers: Vec::new(),
        };
        for (machine, name, port) in [
            (&network.client, "client", CLIENT_PORT),
            (&network.node, "node", NODE_PORT),
        ] {
            let addresses = if name == "client" { CLIENT } else { NODE };
            for address in addresses {
                let (tcp, udp) = machine.run(|| {
                    (
                        TcpListener::bind((address, port)),
                        UdpSocket::bind((address, port)),
                    )
                })?;
                network.servers.push(Server::start(name, tcp?, udp?)?);
            }
        }
        Ok(network)
    }

    /// The machine that runs functions.
    pub(crate) fn node(&self) -> &NetNs {
        &self.node
    }

    /// A machine outside, whose way to everywhere leads over the node.
    pub(crate) fn client(&self) -> &NetNs {
        &self.client
    }
}

/// In the node: makes the wire, and its own end ready.
fn lay_wire(client: &NetNs) -> Result<(), Failure> {
    let name = "eth0".parse()?;
    let index = IfIndex::new(WIRE)?;
    Rtnl::open()?.apply(|changes| {
        let wire = NewLink::veth(name, name)
            .index(index)
            .peer_netns(client)
            .peer_index(index);
        changes.add_link(&wire);
    })?;
    set_up(NODE_IPV4, NODE_IPV6, false)
}

/// In either: sets addresses, and a way over the node.
fn set_up(ipv4: Ipv4Addr, ipv6: Ipv6Addr, over_node: bool) -> Result<(), Failure> {
    let wire = IfIndex::new(WIRE)?;
    let loopback = IfIndex::new(1)?;
    let nets = [IpNet::new(ipv4.into(), 24)?, IpNet::new(ipv6.into(), 64)?];
    let everywhere: [IpNet; 2] = ["0.0.0.0/0".parse()?, "::/0".parse()?];
    let queue = |changes: &mut Changes<'_>| {
        for link in [loopback, wire] {
            changes.set_link(&LinkChange::new(link).up());
        }
        for net in nets {
            changes.add_address(&Address::new(wire, net).without_dad());
        }
        if over_node {
            for (net, gateway) in everywhere.into_iter().zip(NODE) {
                changes.add_route(&Route::new(net).via(gateway).dev(wire));
            }
        }
    };
    Rtnl::open()?.apply(queue).map_err(Error::into)
}

const NODE_IPV4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const NODE_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const CLIENT_IPV4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const CLIENT_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);

/// The node's addresses (RFC 5737 and RFC 3849: for examples only).
pub(crate) const NODE: [IpAddr; 2] = [IpAddr::V4(NODE_IPV4), IpAddr::V6(NODE_IPV6)];

/// The client's addresses.
pub(crate) const CLIENT: [IpAddr; 2] = [IpAddr::V4(CLIENT_IPV4), IpAddr::V6(CLIENT_IPV6)];

/// A port of the node's own, as that of `sshd` would be.
pub(crate) const NODE_PORT: u16 = 22;

/// The port of the client's web server.
pub(crate) const CLIENT_PORT: u16 = 80;

/// The index of either end of the wire.
const WIRE: u32 = 100;
