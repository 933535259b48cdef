//! The relay, between clients and guests with real stacks.

mod limits;
mod reach;
mod streams;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use rustix::net::sockopt;
use tapwire::sys::NetNs;
use tapwire::{Attachment, Guest, Host, Protocol, Relay, RelaySettings};

use crate::linux_guest::LinuxGuest;
use crate::world::{GUEST_PORT, SOON, World, at};

pub(crate) fn trials() -> Vec<Trial> {
    let trials = [limits::trials(), reach::trials(), streams::trials()];
    trials.into_iter().flatten().collect()
}

const PORT: u16 = 8080;

/// A relay in the node's namespace.
fn relay(world: &World, settings: RelaySettings) -> Relay {
    world.node.run(|| Relay::with(settings)).unwrap().unwrap()
}

fn settings(protocol: Protocol, listen: &str, guest: SocketAddr) -> RelaySettings {
    RelaySettings::new(protocol, at(listen, PORT), guest)
}

/// A world with one guest that has the kernel's stack.
fn linux_world() -> (World, Host, Attachment, LinuxGuest) {
    let world = World::new();
    let mut host = world.host();
    let attachment = host.attach(&Guest::new("one").unwrap()).unwrap();
    let guest = LinuxGuest::start(&world, &attachment);
    (world, host, attachment, guest)
}

/// Listens on a port of the guest's IPv4 address.
fn listener(guest: &LinuxGuest, attachment: &Attachment) -> TcpListener {
    let address = SocketAddr::new(attachment.ipv4().into(), GUEST_PORT);
    guest
        .netns
        .run(|| {
            let fd = rustix::net::socket(
                rustix::net::AddressFamily::INET,
                rustix::net::SocketType::STREAM,
                None,
            )
            .unwrap();
            rustix::net::bind(&fd, &address).unwrap();
            rustix::net::listen(&fd, 1024).unwrap();
            TcpListener::from(fd)
        })
        .unwrap()
}

/// A connection that waits for what it reads no longer than [`SOON`].
fn connect(netns: &NetNs, to: SocketAddr) -> TcpStream {
    let stream = netns
        .run(|| TcpStream::connect_timeout(&to, SOON))
        .unwrap()
        .unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

fn accept(listener: &TcpListener) -> TcpStream {
    sockopt::set_socket_timeout(listener, sockopt::Timeout::Recv, Some(SOON)).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// The threads of relays in the node's namespace.
fn relay_threads(world: &World) -> Vec<PathBuf> {
    let node = world.node.id().unwrap().to_string();
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    // A thread of another test may end while it is looked at.
    let is_one = |task: &Path| {
        let name = std::fs::read_to_string(task.join("comm")).ok()?;
        let netns = std::fs::read_link(task.join("ns/net")).ok()?;
        Some(name.starts_with("relay ") && netns.to_str() == Some(&node))
    };
    tasks
        .map(|task| task.unwrap().path())
        .filter(|task| is_one(task) == Some(true))
        .collect()
}
