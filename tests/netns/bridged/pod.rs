//! Pods on a node, as CNI plugins wire them, and a guest in their place.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use tapwire::bridged::{BridgePlan, Bridged, PodInterface};
use tapwire::guest::GuestConfig;
use tapwire::sys::{NetNs, TapOptions};
use tapwire::{IfName, Protocol};

use crate::linux_guest::Wire;
use crate::stand_ins::server::Server;
use crate::support::run;
use crate::world::{FAMILIES, SOON, ask, at, within};

/// How the pods of a node are wired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wiring {
    /// One subnet on a bridge of the node: CNI's `bridge`.
    Subnet,
    /// Each pod alone, with a /32 and a gateway that only ARP knows: Calico.
    ProxyArp,
}

/// A node with two pods, and an outside host behind it.
pub(crate) struct Pods {
    pub(crate) node: NetNs,
    pub(crate) outside: NetNs,
    pub(crate) pod: NetNs,
    pub(crate) other: NetNs,
    pub(crate) wiring: Wiring,
}

pub(crate) const OUTSIDE: [&str; 2] = ["203.0.113.7", "2001:db8::7"];

/// The addresses of the pod and of the other one.
pub(crate) const POD: [&str; 2] = ["10.244.3.5", "fd00:244:3::5"];
pub(crate) const OTHER: [&str; 2] = ["10.244.3.6", "fd00:244:3::6"];

/// The MTU of both, as on an overlay.
pub(crate) const MTU: u32 = 1450;

pub(crate) const PORT: u16 = 80;

impl Pods {
    pub(crate) fn new(wiring: Wiring) -> Self {
        let [node, outside, pod, other] = [(); 4].map(|()| NetNs::new().unwrap());
        let pods = Self {
            node,
            outside,
            pod,
            other,
            wiring,
        };
        pods.join_outside();
        for (number, netns, addresses) in [(5, &pods.pod, POD), (6, &pods.other, OTHER)] {
            pods.plug(number, netns);
            match wiring {
                Wiring::Subnet => pods.subnet(number, netns, addresses),
                Wiring::ProxyArp => pods.proxy_arp(number, netns, addresses),
            }
        }
        pods
    }

    /// The interface of the pod.
    pub(crate) fn read(&self) -> PodInterface {
        inside(&self.pod, || PodInterface::read(eth0()).unwrap())
    }

    pub(crate) fn take_over(&self) -> Bridged {
        inside(&self.pod, || {
            let pod = PodInterface::read(eth0()).unwrap();
            BridgePlan::new(pod).take_over().unwrap()
        })
    }

    pub(crate) fn undo(&self, bridged: &Bridged) {
        inside(&self.pod, || bridged.undo().unwrap());
    }

    /// Has the other pod, or the node where each pod is alone, take the pod's
    /// MAC address for granted.
    pub(crate) fn pin(&self) {
        let mac = self.read().mac().to_string();
        let (netns, device) = match self.wiring {
            Wiring::Subnet => (&self.other, "eth0"),
            Wiring::ProxyArp => (&self.node, "pod5"),
        };
        inside(netns, || {
            for address in POD {
                ip(&format!(
                    "neigh replace {address} lladdr {mac} dev {device} nud permanent"
                ));
            }
        });
    }

    /// What the pod has, in the words of `ip`, when it has settled.
    pub(crate) fn dump(&self) -> String {
        inside(&self.pod, settled)
    }

    /// Who answers at the pod's addresses, and sees whom, from everywhere.
    #[track_caller]
    pub(crate) fn assert_answers(&self, name: &str) {
        for family in FAMILIES {
            for (from, source) in [(&self.outside, OUTSIDE), (&self.other, OTHER)] {
                let answer = asked(from, at(POD[family], PORT));
                let expected = (name.to_owned(), source[family].parse().unwrap());
                assert_eq!(answer, Some(expected), "{:?}, family {family}", self.wiring);
            }
        }
    }

    fn join_outside(&self) {
        let outside = giver(&self.outside);
        inside(&self.node, || {
            ip("link set lo up");
            ip("link add eth0 type veth peer name far");
            outside("far");
            ip("address add 203.0.113.1/24 dev eth0");
            ip("address add 2001:db8::1/64 dev eth0 nodad");
            ip("link set eth0 up");
            // A node answers by proxy ARP for what it has a way to.
            ip("route add default via 203.0.113.7");
            set("net/ipv4/ip_forward", "1");
            set("net/ipv6/conf/all/forwarding", "1");
        });
        inside(&self.outside, || {
            ip("link set lo up");
            ip("address add 203.0.113.7/24 dev far");
            ip("address add 2001:db8::7/64 dev far nodad");
            ip("link set far up");
            ip("route add 10.244.3.0/24 via 203.0.113.1");
            ip("-6 route add fd00:244:3::/64 via 2001:db8::1");
        });
    }

    /// A pair of links between the node and a pod.
    fn plug(&self, number: u8, netns: &NetNs) {
        let give = giver(netns);
        inside(&self.node, || {
            ip(&format!(
                "link add pod{number} type veth peer name tmp{number}"
            ));
            ip(&format!("link set pod{number} mtu {MTU}"));
            give(&format!("tmp{number}"));
        });
        inside(netns, || ip(&format!("link set tmp{number} name eth0")));
    }

    fn subnet(&self, number: u8, netns: &NetNs, [ipv4, ipv6]: [&str; 2]) {
        inside(&self.node, || {
            if number == 5 {
                ip("link add cni0 type bridge");
                ip("address add 10.244.3.1/24 dev cni0");
                ip("address add fd00:244:3::1/64 dev cni0 nodad");
                ip("link set cni0 up");
            }
            ip(&format!("link set pod{number} master cni0 up"));
        });
        inside(netns, || {
            ip("link set lo up");
            ip(&format!("link set eth0 mtu {MTU} up"));
            ip(&format!("address add {ipv4}/24 dev eth0"));
            ip(&format!("address add {ipv6}/64 dev eth0 nodad"));
            ip("route add default via 10.244.3.1");
            ip("-6 route add default via fd00:244:3::1");
        });
    }

    fn proxy_arp(&self, number: u8, netns: &NetNs, [ipv4, ipv6]: [&str; 2]) {
        inside(&self.node, || {
            let device = format!("pod{number}");
            ip(&format!("link set {device} address ee:ee:ee:ee:ee:ee up"));
            set(&format!("net/ipv4/conf/{device}/proxy_arp"), "1");
            set(&format!("net/ipv4/neigh/{device}/proxy_delay"), "0");
            ip(&format!("route add {ipv4}/32 dev {device}"));
            ip(&format!("-6 route add {ipv6}/128 dev {device}"));
        });
        inside(netns, || {
            ip("link set lo up");
            ip(&format!("link set eth0 mtu {MTU} up"));
            ip(&format!("address add {ipv4}/32 dev eth0"));
            ip(&format!("address add {ipv6}/128 dev eth0 nodad"));
            ip("route add 169.254.1.1 dev eth0 scope link");
            ip("route add default via 169.254.1.1 dev eth0");
            ip("-6 route add default via fe80::ecee:eeff:feee:eeee dev eth0");
        });
    }
}

/// A guest with the kernel's own stack behind the TAP of a take-over, named
/// `guest` by what answers in it.
pub(crate) struct PodGuest {
    pub(crate) netns: NetNs,
    servers: Vec<Server>,
    _wire: Wire,
}

impl PodGuest {
    /// Boots it, with nothing but the MAC and the MTU that its device has.
    pub(crate) fn boot(pods: &Pods, bridged: &Bridged) -> Self {
        Self::on(&pods.pod, bridged.tap(), bridged.config())
    }

    /// Boots one on a TAP of a namespace.
    pub(crate) fn on(pod: &NetNs, tap: IfName, config: &GuestConfig) -> Self {
        let attach = || {
            let options = TapOptions::new(tap).nonblocking();
            // A program that another test starts holds a copy of the
            // descriptor that made the device for a moment.
            within(SOON, |_| match options.clone().attach() {
                Err(error) if error.is_busy() => None,
                result => Some(result.unwrap()),
            })
        };
        let host = inside(pod, attach).expect("the TAP is held by another");
        let netns = NetNs::new().unwrap();
        let guest = inside(&netns, || {
            TapOptions::new(eth0())
                .mac(config.mac())
                .mtu(config.mtu())
                .nonblocking()
                .create()
                .unwrap()
        });
        Self {
            netns,
            servers: Vec::new(),
            _wire: Wire::new(host, guest),
        }
    }

    /// Configures it by the commands that the configuration makes.
    pub(crate) fn configure(&mut self, config: &GuestConfig) {
        inside(&self.netns, || {
            ip("link set lo up");
            obey(config);
        });
        self.serve();
    }

    /// Answers on all its addresses.
    pub(crate) fn serve(&mut self) {
        self.servers = servers(&self.netns, "guest");
    }

    /// Reaches the outside and the other pod, under its own addresses.
    #[track_caller]
    pub(crate) fn assert_reaches(&self) {
        for family in FAMILIES {
            for to in [OUTSIDE, OTHER] {
                let answer = asked(&self.netns, at(to[family], PORT));
                let source: IpAddr = POD[family].parse().unwrap();
                assert_eq!(answer.map(|(_, seen)| seen), Some(source), "{}", to[family]);
            }
        }
    }
}

/// Who answers, and whom it saw.
pub(crate) fn asked(from: &NetNs, to: SocketAddr) -> Option<(String, IpAddr)> {
    let (name, source) = ask(from, Protocol::Tcp, to, SOON)?;
    Some((name, source.to_canonical()))
}

/// Answers in a namespace under a name, on both families.
pub(crate) fn servers(netns: &NetNs, name: &str) -> Vec<Server> {
    let serve = |any: &str| {
        let tcp = TcpListener::bind(at(any, PORT)).unwrap();
        let udp = UdpSocket::bind(at(any, PORT)).unwrap();
        Server::start(name, tcp, udp).unwrap()
    };
    // A socket on `::` takes both families.
    inside(netns, || vec![serve("::")])
}

pub(crate) fn inside<T: Send>(netns: &NetNs, work: impl FnOnce() -> T + Send) -> T {
    netns.run(work).unwrap()
}

pub(crate) fn ip(words: &str) {
    run("ip", &words.split(' ').collect::<Vec<_>>());
}

/// Does what the configuration says, command by command.
pub(crate) fn obey(config: &GuestConfig) {
    for line in config.to_string().lines() {
        ip(line.strip_prefix("ip ").unwrap());
    }
}

pub(crate) fn set(key: &str, value: &str) {
    std::fs::write(format!("/proc/sys/{key}"), value).unwrap();
}

pub(crate) fn eth0() -> IfName {
    "eth0".parse().unwrap()
}

/// All that is configured in the calling thread's namespace.
pub(crate) fn dump() -> String {
    [
        "-d link",
        "-d address",
        "-d -4 route show table all",
        "-d -6 route show table all",
        "-d neigh show nud permanent",
        "-d -4 rule",
        "-d -6 rule",
    ]
    .map(|words| timeless(&run("ip", &words.split(' ').collect::<Vec<_>>())))
    .concat()
}

/// A listing without the timers of bridges, which run.
fn timeless(listing: &str) -> String {
    let mut lines = String::new();
    for line in listing.lines() {
        let mut after_timer = false;
        for word in line.split(' ') {
            if !word.is_empty() && !after_timer {
                lines.push_str(word);
                lines.push(' ');
            }
            after_timer = word.ends_with("_timer") || (after_timer && word.is_empty());
        }
        lines.push('\n');
    }
    lines
}

/// [`dump`], when addresses are in use and cables plugged in.
pub(crate) fn settled() -> String {
    let mut before = String::new();
    let dump = within(SOON, |_| {
        let now = dump();
        let moves = now != before
            || ["tentative", "NO-CARRIER"]
                .iter()
                .any(|it| now.contains(it));
        before.clone_from(&now);
        (!moves).then_some(now)
    });
    dump.expect("the links settle")
}

/// [`dump`] without what hangs on cables: a TAP loses its own a moment after
/// its descriptor is closed.
pub(crate) fn without_cables() -> String {
    let mut words = Vec::new();
    let mut after_state = false;
    let dump = dump();
    for word in dump.split(' ') {
        if !after_state && !word.starts_with('<') {
            words.push(word);
        }
        after_state = word == "state";
    }
    words.join(" ")
}

/// Panics with the lines in which two dumps differ.
#[track_caller]
pub(crate) fn assert_same(now: &str, before: &str, when: &str) {
    // A line that is there twice, and once in the other, is told once.
    let only = |one: &str, other: &str| {
        let mut others: Vec<&str> = other.lines().collect();
        let mut lines: Vec<String> = Vec::new();
        for line in one.lines() {
            match others.iter().position(|it| *it == line) {
                Some(place) => drop(others.swap_remove(place)),
                None => lines.push(line.to_owned()),
            }
        }
        lines
    };
    assert!(
        now == before,
        "{when}:\n- {:#?}\n+ {:#?}",
        only(before, now),
        only(now, before)
    );
}

/// Moves a link of the calling thread's namespace into another.
fn giver(netns: &NetNs) -> impl Fn(&str) + Send + '_ {
    move |name| {
        let mut rtnl = tapwire::route::Rtnl::open().unwrap();
        let index = rtnl.link(name.parse().unwrap()).unwrap().unwrap().index();
        rtnl.apply(|changes| {
            changes.set_link(&tapwire::route::LinkChange::new(index).netns(netns));
        })
        .unwrap();
    }
}
