//! A node with guests, and an outside.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use tapwire::route::{Address, LinkChange, NewLink, Rtnl};
use tapwire::sys::{NetNs, TapOptions};
use tapwire::{Attachment, Exposure, Guest, Host, IfIndex, Owner, Protocol, Snapshot};

use crate::stand_ins::guest::{Config, Guest as Vm};
use crate::stand_ins::server::Server;
use crate::stand_ins::{client, guest, http};

/// How long to wait for what must come.
pub(crate) const SOON: Duration = Duration::from_secs(5);

/// How long to wait for what must not come.
pub(crate) const NEVER: Duration = Duration::from_millis(400);

/// The TCP and UDP port on which every guest answers.
pub(crate) const GUEST_PORT: u16 = 80;

/// A node and an outside host in namespaces of their own, one link between
/// them. The node has two addresses of each family.
pub(crate) struct World {
    pub(crate) node: NetNs,
    pub(crate) outside: NetNs,
}

pub(crate) const NODE: [&str; 2] = ["203.0.113.1", "2001:db8::1"];
pub(crate) const NODE_TOO: [&str; 2] = ["203.0.113.2", "2001:db8::2"];
pub(crate) const OUTSIDE: [&str; 2] = ["203.0.113.7", "2001:db8::7"];

/// IPv4 and IPv6, as indexes of the constants above.
pub(crate) const FAMILIES: [usize; 2] = [0, 1];

pub(crate) const PROTOCOLS: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

/// Each protocol over each family.
pub(crate) fn each_kind() -> impl Iterator<Item = (Protocol, usize)> {
    PROTOCOLS
        .into_iter()
        .flat_map(|protocol| FAMILIES.map(|family| (protocol, family)))
}

pub(crate) fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

pub(crate) fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(address), port)
}

impl World {
    pub(crate) fn new() -> Self {
        let (node, outside) = (NetNs::new().unwrap(), NetNs::new().unwrap());
        let link = IfIndex::new(100).unwrap();
        node.run(|| {
            let mut rtnl = Rtnl::open().unwrap();
            rtnl.apply(|changes| {
                let eth0 = "eth0".parse().unwrap();
                let veth = NewLink::veth(eth0, eth0)
                    .index(link)
                    .peer_index(link)
                    .peer_netns(&outside);
                changes.add_link(&veth);
            })
            .unwrap();
        })
        .unwrap();
        let [node4, node6] = NODE;
        let [too4, too6] = NODE_TOO;
        configure(&node, link, &[node4, node6, too4, too6]);
        configure(&outside, link, &OUTSIDE);
        Self { node, outside }
    }

    pub(crate) fn host(&self) -> Host {
        self.node
            .run(|| Host::open(Owner::new("riklet").unwrap()).unwrap())
            .unwrap()
    }

    /// Attaches a guest and boots it.
    pub(crate) fn boot(&self, host: &mut Host, name: &str) -> (Attachment, Vm) {
        self.boot_as(host, &Guest::new(name).unwrap())
    }

    /// Attaches a guest as it is wanted and boots it.
    pub(crate) fn boot_as(&self, host: &mut Host, guest: &Guest) -> (Attachment, Vm) {
        let attachment = host.attach(guest).unwrap();
        let vm = self.start(&attachment);
        (attachment, vm)
    }

    /// Boots a guest that is attached.
    pub(crate) fn start(&self, attachment: &Attachment) -> Vm {
        Vm::start(self.open_tap(attachment), config(attachment)).unwrap()
    }

    pub(crate) fn open_tap(&self, attachment: &Attachment) -> OwnedFd {
        let options = TapOptions::new(attachment.vmm_tap()).nonblocking();
        // A program that another test starts holds a copy of every descriptor
        // for a moment, also of the one that made the device.
        let attach = || {
            within(SOON, |_| match options.clone().attach() {
                Err(error) if error.is_busy() => None,
                result => Some(result),
            })
        };
        let tap = match attachment.namespace() {
            Some(name) => NetNs::open_named(name).unwrap().run(attach).unwrap(),
            None => self.node.run(attach).unwrap(),
        };
        tap.expect("the TAP is held by another").unwrap().into()
    }

    /// A server on all addresses of a namespace.
    pub(crate) fn server(netns: &NetNs, family: usize, port: u16) -> Server {
        let any = ["0.0.0.0", "::"][family];
        netns
            .run(|| {
                let tcp = bound(|| TcpListener::bind(at(any, port)));
                let udp = bound(|| UdpSocket::bind(at(any, port)));
                Server::start("server", tcp, udp).unwrap()
            })
            .unwrap()
    }
}

/// Binds to a port that a server before may still have for a moment.
fn bound<T>(bind: impl Fn() -> std::io::Result<T>) -> T {
    let bound = within(SOON, |_| match bind() {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => None,
        result => Some(result.unwrap()),
    });
    bound.expect("the port is free again")
}

/// Packets that were dropped for this reason.
#[track_caller]
pub(crate) fn dropped(host: &mut Host, reason: &str) -> u64 {
    let all = host.dropped().unwrap();
    let one = all.iter().find(|dropped| dropped.reason() == reason);
    one.unwrap_or_else(|| panic!("no rule drops for {reason:?}"))
        .counts()
        .packets
}

/// Waits until so many packets were dropped for this reason.
#[track_caller]
pub(crate) fn soon_dropped(host: &mut Host, reason: &str, packets: u64) {
    let mut seen = 0;
    let found = within(SOON, |_| {
        seen = dropped(host, reason);
        (seen == packets).then_some(())
    });
    assert_eq!(found, Some(()), "{reason}: {seen} dropped");
}

/// The addresses of an attached guest.
pub(crate) fn address_of(attachment: &Attachment, family: usize) -> IpAddr {
    [attachment.ipv4().into(), attachment.ipv6().into()][family]
}

/// The addresses of an attached guest's gateway.
pub(crate) fn gateway_of(attachment: &Attachment, family: usize) -> IpAddr {
    [
        attachment.gateway_ipv4().into(),
        attachment.gateway_ipv6().into(),
    ][family]
}

/// An exposure of a guest's port on all host addresses.
pub(crate) fn exposure(
    protocol: Protocol,
    port: u16,
    attachment: &Attachment,
    family: usize,
) -> Exposure {
    Exposure::new(
        protocol,
        port,
        SocketAddr::new(address_of(attachment, family), GUEST_PORT),
    )
    .unwrap()
}

/// What an attached guest is configured with; a clone with what is in its
/// snapshot.
pub(crate) fn config(attachment: &Attachment) -> Config {
    let inside = Snapshot::of(attachment);
    let ipv4 = inside.ipv4_net();
    let mut config = Config::new(attachment.name(), inside.mac()).ipv4(
        ipv4.addr(),
        ipv4.prefix_len(),
        inside.gateway_ipv4(),
    );
    if let (Some(ipv6), Some(gateway)) = (inside.ipv6_net(), inside.gateway_ipv6()) {
        config = config.ipv6(ipv6.addr(), ipv6.prefix_len(), gateway);
    }
    config.http(GUEST_PORT).echo(GUEST_PORT)
}

/// Asks from a namespace until there is an answer: who answered, and which
/// source address it saw. `None` if nothing comes within `patience`.
pub(crate) fn ask(
    netns: &NetNs,
    protocol: Protocol,
    to: SocketAddr,
    patience: Duration,
) -> Option<(String, IpAddr)> {
    netns.run(|| ask_here(protocol, to, patience)).unwrap()
}

/// [`ask`] from the calling thread's namespace.
pub(crate) fn ask_here(
    protocol: Protocol,
    to: SocketAddr,
    patience: Duration,
) -> Option<(String, IpAddr)> {
    within(patience, |timeout| match protocol {
        Protocol::Tcp => client::http_get(to, "/", timeout)
            .ok()
            .map(|body| greeting(&body)),
        _ => client::udp_ask(None, to, b"ping", timeout)
            .ok()
            .map(|answer| echo(&answer)),
    })
}

/// [`ask`] from a guest.
pub(crate) fn ask_from(
    vm: &guest::Guest,
    protocol: Protocol,
    to: SocketAddr,
    patience: Duration,
) -> Option<(String, IpAddr)> {
    within(patience, |timeout| match protocol {
        Protocol::Tcp => vm
            .http_get(to, "/", timeout)
            .ok()
            .map(|body| greeting(&body)),
        _ => vm
            .udp_ask(to, b"ping", timeout)
            .ok()
            .map(|answer| echo(&answer)),
    })
}

/// Repeats `attempt` until it gives something or `patience` is over. Where the
/// processor is emulated, what comes soon comes later.
pub(crate) fn within<T>(
    patience: Duration,
    mut attempt: impl FnMut(Duration) -> Option<T>,
) -> Option<T> {
    let emulated = patience >= SOON && std::env::var_os("OTHER_KERNEL").is_some();
    let end = Instant::now() + patience * if emulated { 4 } else { 1 };
    loop {
        let result = attempt(patience.min(Duration::from_secs(1)));
        if result.is_some() || Instant::now() >= end {
            return result;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Who answered over a protocol, and which source address it saw.
pub(crate) fn source_in(protocol: Protocol, answer: &str) -> (String, IpAddr) {
    match protocol {
        Protocol::Tcp => greeting(answer),
        _ => echo(answer.as_bytes()),
    }
}

fn greeting(body: &str) -> (String, IpAddr) {
    let (name, source) = http::greeting_in(body).unwrap();
    (name.to_owned(), source.ip())
}

/// `ADDRESS:PORT ping`.
fn echo(answer: &[u8]) -> (String, IpAddr) {
    let text = str::from_utf8(answer).unwrap();
    let source = text.strip_suffix(" ping").unwrap();
    (String::new(), source.parse::<SocketAddr>().unwrap().ip())
}

/// Not if the kernel was told `ipv6.disable=1`.
fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6/conf").exists()
}

fn configure(netns: &NetNs, link: IfIndex, addresses: &[&str]) {
    netns
        .run(|| {
            let mut rtnl = Rtnl::open().unwrap();
            rtnl.apply(|changes| {
                changes.set_link(&LinkChange::new(IfIndex::new(1).unwrap()).up());
                changes.set_link(&LinkChange::new(link).up());
                let works = |address: &IpAddr| address.is_ipv4() || has_ipv6();
                for address in addresses.iter().map(|address| ip(address)).filter(works) {
                    let prefix = if address.is_ipv4() { 24 } else { 64 };
                    let net = ipnet::IpNet::new(address, prefix).unwrap();
                    changes.add_address(&Address::new(link, net).without_dad());
                }
            })
            .unwrap();
        })
        .unwrap();
}
