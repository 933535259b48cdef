//! Guests that are real: a kernel boots on a TAP, with a small init of our
//! own as its whole user space, and is talked to through exposures.
//!
//! User-mode Linux is a kernel as a process: it boots in a second or two and
//! needs no privilege. QEMU has a virtio-net card, as the VMMs that exposures
//! are for: it proves the vnet header and offloads.

mod clones;
mod exposures;
mod initramfs;
mod offloads;
mod resume;
mod vm;

use std::net::{IpAddr, SocketAddr};

use libtest_mimic::Trial;
use tapwire::{Attachment, Protocol};

use crate::stand_ins::client;
use crate::stand_ins::server::Server;
use crate::world::{
    FAMILIES, GUEST_PORT, NODE, NODE_TOO, OUTSIDE, SOON, World, address_of, at, ip, source_in,
    within,
};

pub(crate) fn trials() -> Vec<Trial> {
    [
        clones::trials(),
        exposures::trials(),
        offloads::trials(),
        resume::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What is told by a guest that is asked for `path` from its own node.
fn told(world: &World, guest: &Attachment, family: usize, path: &str) -> Option<String> {
    let to = SocketAddr::new(address_of(guest, family), GUEST_PORT);
    let get = || within(SOON, |timeout| client::http_get(to, path, timeout).ok());
    world.node.run(get).unwrap()
}

/// Asserts that a guest reaches a server outside, behind the node.
#[track_caller]
fn reaches_outside(world: &World, guest: &Attachment, protocol: Protocol, family: usize) {
    let server = at(OUTSIDE[family], SERVERS[family]);
    let (_, source) = relayed(world, guest, protocol, server).unwrap();
    // The node has two addresses to leave behind.
    let of_node = [NODE, NODE_TOO].map(|node| ip(node[family]));
    assert!(of_node.contains(&source), "{server} sees {source}");
}

/// Servers outside, one for each family.
fn servers(world: &World) -> [Server; 2] {
    FAMILIES.map(|family| World::server(&world.outside, family, SERVERS[family]))
}

/// Their ports, two since a socket of IPv6 takes IPv4's too.
const SERVERS: [u16; 2] = [9004, 9006];

/// Has a guest ask another; who answered, and which source it saw.
fn relayed(
    world: &World,
    guest: &Attachment,
    protocol: Protocol,
    to: SocketAddr,
) -> Option<(String, IpAddr)> {
    let path = format!("/{protocol}/{}/{}", to.ip(), to.port());
    let family = usize::from(to.is_ipv6());
    told(world, guest, family, &path).map(|body| source_in(protocol, &body))
}
