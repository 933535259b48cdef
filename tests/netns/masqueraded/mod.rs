//! A guest behind a pod, under a private address.

mod ambient;
mod conflicts;
mod killed;

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::thread;

use libtest_mimic::Trial;
use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use tapwire::masqueraded::{Masquerade, Masqueraded, Mesh, RESERVED_PORTS, remove};
use tapwire::sys::NetNs;
use tapwire::{Conflict, Error, Guest, Host, Owner, Ports, Protocol};

use crate::bridged::pod::{
    OTHER, OUTSIDE, POD, PORT, PodGuest, Pods, Wiring, asked, assert_same, inside, ip, servers,
    set, settled,
};
use crate::stand_ins::server::Server;
use crate::support::{feed, run, trials};
use crate::world::{FAMILIES, NEVER, SOON, ask, at, each_kind};

pub(crate) use killed::be_agent;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = trials![needs ["ip", "nft"]:
        guest_has_the_pods_ports_but_those_that_are_excluded,
        guest_has_the_chosen_ports_only,
        guest_behind_a_pod_without_ipv6_has_its_ports,
        guest_behind_a_sidecar_is_reached_by_way_of_it,
        impossible_masquerade_is_refused_and_changes_nothing,
    ];
    trials.extend(ambient::trials());
    trials.extend(conflicts::trials());
    trials.extend(killed::trials());
    trials
}

/// A port that stays with a process of the pod.
const KEPT: u16 = 9090;

fn guest_has_the_pods_ports_but_those_that_are_excluded() {
    for wiring in [Wiring::Subnet, Wiring::ProxyArp] {
        let pods = Pods::new(wiring);
        let before = state(&pods.pod);
        let wanted = masquerade()
            .exclude(Protocol::Tcp, ports(KEPT, KEPT))
            .exclude(Protocol::Udp, ports(KEPT, KEPT + 9))
            .loopback();
        let plan = inside(&pods.pod, || {
            wanted.conflicts().unwrap();
            wanted.plan().unwrap()
        });
        assert_same(&state(&pods.pod), &before, "looked");
        assert!(
            !plan.is_empty() && plan.to_string().contains("web-0"),
            "{plan}"
        );
        let masqueraded = apply(&pods, &wanted);
        assert_eq!(apply(&pods, &wanted), masqueraded, "again");
        let plan = inside(&pods.pod, || wanted.plan().unwrap());
        assert!(plan.is_empty(), "{plan}");
        {
            let _servers = serve(&pods);
            let guest = boot(&pods, &masqueraded);
            for (protocol, family) in each_kind() {
                let to = at(POD[family], PORT);
                let (name, seen) = ask(&pods.outside, protocol, to, SOON).expect("the guest");
                assert!(protocol == Protocol::Udp || name == "guest", "{name}");
                let source: IpAddr = OUTSIDE[family].parse().unwrap();
                assert_eq!(seen.to_canonical(), source, "{wiring:?} {protocol}");
                // The pod's own.
                let to = at(POD[family], KEPT);
                let (name, _) = ask(&pods.outside, protocol, to, SOON).expect("the pod");
                assert!(protocol == Protocol::Udp || name == "pod", "{name}");
            }
            for family in FAMILIES {
                let private = at(["10.0.2.2", "fd10:0:2::2"][family], PORT);
                assert_eq!(ask(&pods.other, Protocol::Tcp, private, NEVER), None);
                for to in [OUTSIDE, OTHER] {
                    let (_, seen) = asked(&guest.netns, at(to[family], PORT)).expect("a way out");
                    assert_eq!(seen, POD[family].parse::<IpAddr>().unwrap());
                }
                // A process of the pod, at the pod's address.
                let (name, _) = asked(&pods.pod, at(POD[family], PORT)).unwrap();
                assert_eq!(name, "guest");
            }
            let loopback = asked(&pods.pod, at("127.0.0.1", PORT)).unwrap();
            assert_eq!(loopback, ("guest".to_owned(), "10.0.2.1".parse().unwrap()));
        }
        undo(&pods);
        assert_same(&state(&pods.pod), &before, "removed");
        undo(&pods);
    }
}

fn guest_has_the_chosen_ports_only() {
    let pods = Pods::new(Wiring::Subnet);
    let wanted = masquerade().carry(Protocol::Tcp, ports(PORT, PORT));
    let masqueraded = apply(&pods, &wanted);
    let _servers = serve(&pods);
    let _guest = boot(&pods, &masqueraded);
    let tcp = |port| asked(&pods.outside, at(POD[0], port)).map(|(name, _)| name);
    assert_eq!(tcp(PORT).as_deref(), Some("guest"));
    assert_eq!(tcp(KEPT).as_deref(), Some("pod"));
    // Moved to the other port, in one plan.
    let other = masquerade().carry(Protocol::Tcp, ports(KEPT, KEPT));
    let plan = inside(&pods.pod, || other.plan().unwrap());
    assert_eq!(plan.plan().changes().len(), 2, "{plan}");
    // A process of the pod has that port: that is told.
    let conflicts = inside(&pods.pod, || other.conflicts().unwrap());
    let listener = |it: &Conflict| matches!(it, Conflict::Listening { .. });
    assert!(conflicts.iter().any(listener), "{conflicts:?}");
    apply(&pods, &other);
    assert_eq!(tcp(KEPT), None, "the guest has nothing there");
    undo(&pods);
}

fn guest_behind_a_pod_without_ipv6_has_its_ports() {
    let pods = Pods::new(Wiring::Subnet);
    inside(&pods.pod, || {
        for which in ["all", "default"] {
            set(&format!("net/ipv6/conf/{which}/disable_ipv6"), "1");
        }
    });
    let before = state(&pods.pod);
    for wanted in [
        masquerade(),
        masquerade().mesh(Mesh::ambient().open(ports(PORT, PORT))),
    ] {
        assert!(inside(&pods.pod, || wanted.conflicts().unwrap()).is_empty());
        let masqueraded = apply(&pods, &wanted);
        let plan = inside(&pods.pod, || wanted.plan().unwrap());
        assert!(plan.is_empty(), "{plan}");
        let _servers = serve(&pods);
        let guest = boot(&pods, &masqueraded);
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let (_, seen) = ask(&pods.outside, protocol, at(POD[0], PORT), SOON).expect("guest");
            assert_eq!(seen.to_canonical(), OUTSIDE[0].parse::<IpAddr>().unwrap());
        }
        let to = at(OUTSIDE[0], PORT);
        let (_, seen) = ask(&guest.netns, Protocol::Udp, to, SOON).expect("a way out");
        assert_eq!(seen.to_canonical(), POD[0].parse::<IpAddr>().unwrap());
    }
    undo(&pods);
    assert_same(&state(&pods.pod), &before, "removed");
}

/// Istio's sidecar in short: all TCP from outside goes to a proxy, which goes
/// on to the pod's own address from an address of its own.
fn guest_behind_a_sidecar_is_reached_by_way_of_it() {
    let pods = Pods::new(Wiring::Subnet);
    let before = state(&pods.pod);
    inside(&pods.pod, || {
        ip("address add ::6/128 dev lo");
        feed("nft", &["-f", "-"], SIDECAR);
    });
    let wanted = masquerade().mesh(Mesh::sidecar());
    let plan = inside(&pods.pod, || wanted.plan().unwrap());
    assert!(plan.to_string().contains("127.0.0.6"), "{plan}");
    let masqueraded = apply(&pods, &wanted);
    let plan = inside(&pods.pod, || wanted.plan().unwrap());
    assert!(plan.is_empty(), "{plan}");
    {
        let guest = boot(&pods, &masqueraded);
        let _servers = serve(&pods);
        let _reserved = server(&pods.pod, "pod", 15_020);
        let _proxies = FAMILIES.map(|family| proxy(&pods.pod, family));
        for family in FAMILIES {
            let (name, seen) = asked(&pods.outside, at(POD[family], PORT)).expect("the guest");
            let gateway: IpAddr = ["10.0.2.1", "fd10:0:2::1"][family].parse().unwrap();
            assert_eq!((name.as_str(), seen), ("guest", gateway));
            let (name, _) = asked(&pods.outside, at(POD[family], 15_020)).expect("the mesh");
            assert_eq!(name, "pod");
            // UDP is none of the mesh's business.
            let to = at(POD[family], PORT);
            let (_, seen) = ask(&pods.outside, Protocol::Udp, to, SOON).expect("the guest");
            assert_eq!(
                seen.to_canonical(),
                OUTSIDE[family].parse::<IpAddr>().unwrap()
            );
        }
        // What the guest begins goes to the proxy.
        let _outbound = server(&pods.pod, "proxy", 15_001);
        for family in FAMILIES {
            let (name, seen) = asked(&guest.netns, at(OUTSIDE[family], PORT)).expect("the proxy");
            let private: IpAddr = ["10.0.2.2", "fd10:0:2::2"][family].parse().unwrap();
            assert_eq!((name.as_str(), seen), ("proxy", private));
        }
        // A port that is open goes past the mesh.
        let open = masquerade().mesh(Mesh::sidecar().open(ports(PORT, PORT)));
        let plan = inside(&pods.pod, || open.plan().unwrap());
        assert!(plan.to_string().contains("open 80"), "{plan}");
        apply(&pods, &open);
        let (name, seen) = asked(&pods.outside, at(POD[0], PORT)).unwrap();
        assert_eq!(
            (name.as_str(), seen),
            ("guest", OUTSIDE[0].parse().unwrap())
        );
    }
    undo(&pods);
    inside(&pods.pod, || {
        run("nft", &["delete", "table", "inet", "sidecar"]);
        ip("address delete ::6/128 dev lo");
    });
    assert_same(&state(&pods.pod), &before, "removed");
    assert_eq!(RESERVED_PORTS.len(), 7);
}

fn impossible_masquerade_is_refused_and_changes_nothing() {
    let pods = Pods::new(Wiring::Subnet);
    let before = state(&pods.pod);
    for (ipv4, ipv6) in [
        ("10.0.2.1/24", "fd10:0:2::2/120"),
        ("10.0.2.2/24", "fd10:0:2::1/120"),
        ("10.0.2.2/31", "fd10:0:2::2/120"),
        ("127.0.0.2/24", "fd10:0:2::2/120"),
    ] {
        let refused = masquerade().addresses(ipv4.parse().unwrap(), ipv6.parse().unwrap());
        assert!(refused.is_err(), "{ipv4} {ipv6}");
    }
    let all = [Protocol::Tcp, Protocol::Udp];
    let without_ports = all.into_iter().fold(masquerade(), |it, protocol| {
        it.exclude(protocol, ports(1, u16::MAX))
    });
    let words = |wanted: &Masquerade| {
        let error = inside(&pods.pod, || wanted.apply().unwrap_err());
        error.to_string()
    };
    assert!(words(&without_ports).contains("has no port of the pod left"));
    assert_same(&state(&pods.pod), &before, "refused");
    // The pod's own network would be hidden.
    let hidden = masquerade()
        .addresses(
            "10.244.3.6/24".parse().unwrap(),
            "fd10:0:2::2/120".parse().unwrap(),
        )
        .unwrap();
    let error = inside(&pods.pod, || hidden.apply().unwrap_err());
    assert!(matches!(error, Error::Conflict(_)), "{error}");
    assert_same(&state(&pods.pod), &before, "refused and undone");
    // The owner's other guests are not this one's to take away.
    let mut host = inside(&pods.pod, || Host::open(owner()).unwrap());
    host.attach(&Guest::new("other").unwrap()).unwrap();
    assert!(words(&masquerade()).contains("guest other"));
    let error = inside(&pods.pod, || masquerade().plan().unwrap_err());
    assert!(error.to_string().contains("guest other"), "{error}");
    assert_eq!(host.guests().unwrap().len(), 1);
}

fn owner() -> Owner {
    Owner::new("vm").unwrap()
}

fn masquerade() -> Masquerade {
    Masquerade::new(owner(), Guest::new("web-0").unwrap())
}

fn ports(first: u16, last: u16) -> Ports {
    Ports::new(first, last).unwrap()
}

fn apply(pods: &Pods, wanted: &Masquerade) -> Masqueraded {
    inside(&pods.pod, || wanted.apply().unwrap())
}

fn undo(pods: &Pods) {
    inside(&pods.pod, || remove(owner()).unwrap());
}

fn boot(pods: &Pods, masqueraded: &Masqueraded) -> PodGuest {
    let tap = masqueraded.attachment().tap();
    let mut guest = PodGuest::on(&pods.pod, tap, masqueraded.config());
    guest.configure(masqueraded.config());
    guest
}

/// The outside, another pod, and a process of the pod on the port it keeps.
fn serve(pods: &Pods) -> Vec<Server> {
    let mut all = servers(&pods.outside, "outside");
    all.extend(servers(&pods.other, "other"));
    all.push(server(&pods.pod, "pod", KEPT));
    all
}

fn server(netns: &NetNs, name: &str, port: u16) -> Server {
    inside(netns, || {
        let tcp = TcpListener::bind(at("::", port)).unwrap();
        let udp = UdpSocket::bind(at("::", port)).unwrap();
        Server::start(name, tcp, udp).unwrap()
    })
}

/// The pod, in words: links, addresses, routes, rules, settings.
fn state(pod: &NetNs) -> String {
    inside(pod, || {
        let forward = std::fs::read_to_string("/proc/sys/net/ipv4/conf/eth0/forwarding");
        settled() + &run("nft", &["-s", "list", "ruleset"]) + &forward.unwrap()
    })
}

/// What leads to the proxy, as Istio's rules do: all TCP from outside, but the
/// ports of the mesh itself.
const SIDECAR: &str = "table inet sidecar {
    chain prerouting {
        type nat hook prerouting priority dstnat; policy accept;
        meta l4proto tcp tcp dport != { 15000, 15001, 15008, 15020, 15021, 15090 } redirect to :15006
    }
}
";

/// The proxy, in short: goes on to port 80 of the pod's own address.
fn proxy(pod: &NetNs, family: usize) -> thread::JoinHandle<()> {
    let any = ["0.0.0.0", "::"][family];
    let listener = inside(pod, || {
        let kind = [AddressFamily::INET, AddressFamily::INET6][family];
        let fd = socket(kind, SocketType::STREAM, None).unwrap();
        if family == 1 {
            rustix::net::sockopt::set_ipv6_v6only(&fd, true).unwrap();
        }
        rustix::net::sockopt::set_socket_reuseaddr(&fd, true).unwrap();
        bind(&fd, &at(any, 15_006)).unwrap();
        rustix::net::listen(&fd, 16).unwrap();
        TcpListener::from(fd)
    });
    let source = at(["127.0.0.6", "::6"][family], 0);
    let to = at(POD[family], PORT);
    // A thread begins where the one is that starts it.
    inside(pod, || {
        thread::spawn(move || {
            for client in listener.incoming() {
                match (client, connected(source, to)) {
                    (Ok(client), Ok(upstream)) => carry(client, upstream),
                    _ => return,
                }
            }
        })
    })
}

fn connected(source: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let kind = if to.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let fd: OwnedFd = socket(kind, SocketType::STREAM, None)?;
    bind(&fd, &source)?;
    connect(&fd, &to)?;
    Ok(TcpStream::from(fd))
}

fn carry(mut client: TcpStream, mut upstream: TcpStream) {
    let mut request = [0; 4096];
    let length = client.read(&mut request).unwrap_or(0);
    drop(upstream.write_all(&request[..length]));
    drop(io::copy(&mut upstream, &mut client));
    drop(client.shutdown(Shutdown::Both));
}
