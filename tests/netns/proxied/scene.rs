//! A guest with the kernel's own stack on one side of a TAP, the proxy with
//! the descriptor on the other, and a network outside.

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use ipnet::IpNet;
use rustix::net::sockopt;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use tapwire::route::{Address, LinkChange, Route, Rtnl};
use tapwire::sys::{NetNs, Tap, TapOptions, has_net_admin};
use tapwire::{
    Error, Exposure, Guest, IfIndex, Mac, Proxied, ProxiedCounters, ProxiedHandle, ProxiedNotice,
    ProxiedSettings,
};

use super::super::world::{OUTSIDE, SOON, World, at, within};

/// The guest's addresses, and its gateway's.
pub(super) const GUEST: [&str; 2] = ["198.18.0.2", "fd2c:6b8f:4a10::2"];
pub(super) const GATEWAY: [&str; 2] = ["198.18.0.1", "fd2c:6b8f:4a10::1"];
pub(super) const MAC: [u8; 6] = [0x02, 0x74, 0x77, 0, 0, 0];

/// A running proxy and its guest; it stops when dropped.
pub(super) struct Scene {
    pub(super) world: World,
    pub(super) guest: NetNs,
    pub(super) handle: ProxiedHandle,
    pub(super) notices: Vec<ProxiedNotice>,
    task: i32,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

/// What a proxy is started with.
pub(super) struct Start {
    pub(super) guest: Guest,
    pub(super) settings: fn(ProxiedSettings) -> ProxiedSettings,
    pub(super) exposures: Vec<Exposure>,
    pub(super) vnet_header: bool,
    pub(super) mtu: u16,
    pub(super) may_ping: bool,
    /// Has the guest's frames carried by this, instead of by the TAP itself.
    pub(super) carrier: Option<fn(Tap) -> OwnedFd>,
}

impl Start {
    pub(super) fn new() -> Self {
        Self {
            guest: Guest::new("one").unwrap(),
            settings: |settings| settings.resolvers([]),
            exposures: Vec::new(),
            vnet_header: true,
            mtu: 1500,
            may_ping: true,
            carrier: None,
        }
    }

    pub(super) fn exposing(exposures: &[&str]) -> Self {
        let exposures = exposures.iter().map(|text| text.parse().unwrap()).collect();
        Self {
            exposures,
            ..Self::new()
        }
    }

    pub(super) fn go(self) -> Scene {
        let world = World::new();
        if self.may_ping {
            let permit = || std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 0");
            world.node.run(permit).unwrap().unwrap();
        }
        let guest = NetNs::new().unwrap();
        let tap = guest.run(|| configure(self.vnet_header, self.mtu)).unwrap();
        let settings = (self.settings)(ProxiedSettings::new(&self.guest).mtu(self.mtu));
        let (tell, told) = mpsc::channel();
        let (exposures, carrier) = (self.exposures, self.carrier);
        // A thread begins in the namespace of the one that starts it.
        let start = || {
            std::thread::spawn(move || {
                give_up_rights();
                let opened = match carrier {
                    None => Proxied::open(tap, settings),
                    Some(carrier) => Proxied::over(carrier(tap), settings),
                };
                let mut proxied = opened.unwrap();
                for exposure in &exposures {
                    proxied.expose(exposure).unwrap();
                }
                let notices = proxied.notices().to_vec();
                let task = rustix::thread::gettid().as_raw_nonzero().get();
                tell.send((proxied.handle(), notices, task)).unwrap();
                proxied.run()
            })
        };
        let thread = world.node.run(start).unwrap();
        let (handle, notices, task) = told.recv().expect("the proxy was opened");
        Scene {
            world,
            guest,
            handle,
            notices,
            task,
            thread: Some(thread),
        }
    }
}

impl Scene {
    pub(super) fn counters(&self) -> ProxiedCounters {
        self.handle.counters()
    }

    /// Waits until the counters are as wanted.
    #[track_caller]
    pub(super) fn soon(&self, what: &str, is: impl Fn(ProxiedCounters) -> bool) {
        let found = within(SOON, |_| is(self.counters()).then_some(()));
        assert!(found.is_some(), "{what}: {:?}", self.counters());
    }

    /// What the proxy's thread has used of the processor.
    pub(super) fn cpu_time(&self) -> Duration {
        let text = std::fs::read_to_string(format!("/proc/self/task/{}/schedstat", self.task));
        let text = text.unwrap();
        let nanos = text.split(' ').next().unwrap().parse().unwrap();
        Duration::from_nanos(nanos)
    }

    /// Connects from the guest.
    pub(super) fn connect_from_guest(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        let stream = self
            .guest
            .run(|| TcpStream::connect_timeout(&to, SOON))
            .unwrap()?;
        stream.set_read_timeout(Some(SOON))?;
        Ok(stream)
    }

    /// Listens in the guest.
    pub(super) fn in_guest(&self, family: usize, port: u16) -> TcpListener {
        listen(&self.guest, at(GUEST[family], port))
    }

    /// Listens outside.
    pub(super) fn outside(&self, family: usize, port: u16) -> TcpListener {
        listen(&self.world.outside, at(OUTSIDE[family], port))
    }

    /// Connects from outside.
    pub(super) fn connect_from_outside(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        let stream = self
            .world
            .outside
            .run(|| TcpStream::connect_timeout(&to, SOON))
            .unwrap()?;
        stream.set_read_timeout(Some(SOON))?;
        Ok(stream)
    }

    /// A connection of the guest's to the outside, and its other end there.
    pub(super) fn pair(&self, family: usize) -> (TcpStream, TcpStream) {
        let server = self.outside(family, 0);
        let guest = self
            .connect_from_guest(server.local_addr().unwrap())
            .unwrap();
        (guest, accept(&server).0)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.expect("no panic").expect("the proxy ran to its end");
            }
        }
    }
}

pub(super) fn listen(netns: &NetNs, address: SocketAddr) -> TcpListener {
    netns
        .run(|| {
            let family = if address.is_ipv4() {
                rustix::net::AddressFamily::INET
            } else {
                rustix::net::AddressFamily::INET6
            };
            let fd = rustix::net::socket(family, rustix::net::SocketType::STREAM, None).unwrap();
            rustix::net::bind(&fd, &address).unwrap();
            rustix::net::listen(&fd, 2048).unwrap();
            TcpListener::from(fd)
        })
        .unwrap()
}

/// A socket of UDP that waits no longer than [`SOON`].
pub(super) fn datagrams(netns: &NetNs, address: SocketAddr) -> UdpSocket {
    let socket = netns.run(|| UdpSocket::bind(address)).unwrap().unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

/// A connection that waits for what it reads no longer than [`SOON`].
pub(super) fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    sockopt::set_socket_timeout(listener, sockopt::Timeout::Recv, Some(SOON)).unwrap();
    let (stream, peer) = listener.accept().unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    (stream, peer)
}

/// The thread has no capability left, and shows it.
fn give_up_rights() {
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).unwrap();
    assert!(!has_net_admin().unwrap());
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    assert_eq!(effective.map(str::trim), Some("0000000000000000"));
    let mut rtnl = Rtnl::open().unwrap();
    let loopback = IfIndex::new(1).unwrap();
    let down = rtnl.apply(|changes| changes.set_link(&LinkChange::new(loopback).down()));
    assert!(down.unwrap_err().is_permission_denied());
}

/// Makes the guest's interface; what it sends comes out of the descriptor.
fn configure(vnet_header: bool, mtu: u16) -> Tap {
    let options = TapOptions::new("eth0".parse().unwrap())
        .mac(Mac::new(MAC).unwrap())
        .mtu(mtu.into());
    let options = if vnet_header {
        options.vnet_header()
    } else {
        options
    };
    let tap = options.create().unwrap();
    let index = tap.index().unwrap();
    let net = |address: &str, prefix| IpNet::new(address.parse::<IpAddr>().unwrap(), prefix);
    let [any4, any6] = ["0.0.0.0/0", "::/0"].map(|net| net.parse().unwrap());
    let mut rtnl = Rtnl::open().unwrap();
    rtnl.apply(|changes| {
        changes.set_link(&LinkChange::new(IfIndex::new(1).unwrap()).up());
        changes.set_link(&LinkChange::new(index).up());
        changes.add_address(&Address::new(index, net(GUEST[0], 30).unwrap()));
        let ipv6 = Address::new(index, net(GUEST[1], 126).unwrap());
        changes.add_address(&ipv6.without_dad());
        changes.add_route(&Route::new(any4).via(GATEWAY[0].parse().unwrap()));
        let gateway = GATEWAY[1].parse().unwrap();
        changes.add_route(&Route::new(any6).via(gateway).dev(index));
    })
    .unwrap();
    tap
}
