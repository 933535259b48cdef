//! Ports of the host that lead to pods, whose links are a CNI plugin's.

use std::net::IpAddr;
use std::path::Path;

use libtest_mimic::Trial;
use tapwire::route::{Ipv4Setting, Rtnl};
use tapwire::{Connection, Elsewhere, Error, Exposure, Guest, Host, Owner, Protocol, Wanted};

use crate::bridged::pod::{OTHER, OUTSIDE, POD, PORT, Pods, Wiring, inside, ip, servers, set};
use crate::stand_ins::server::Server;
use crate::support::{run, trials};
use crate::world::{FAMILIES, NEVER, NODE, SOON, ask, at, each_kind};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["ip", "nft"]:
        port_leads_to_a_pod_on_a_bridge_from_everywhere,
        port_leads_to_a_pod_on_a_bridge_without_rules_from_everywhere,
        port_leads_to_a_pod_of_its_own_link_from_everywhere,
        guest_elsewhere_comes_back_on_reading_and_goes_without_a_trace,
        loopback_is_opened_on_the_link_and_closed_again,
        impossible_guest_elsewhere_is_refused_and_changes_nothing,
    ]
}

/// The port of the host that leads to the pod's.
const HOST_PORT: u16 = 8080;

fn port_leads_to_a_pod_on_a_bridge_from_everywhere() {
    play(&Pods::new(Wiring::Subnet));
}

/// Where bridge netfilter is off, or the kernel has none.
fn port_leads_to_a_pod_on_a_bridge_without_rules_from_everywhere() {
    let pods = Pods::new(Wiring::Subnet);
    inside(&pods.node, || {
        for key in ["iptables", "ip6tables"] {
            let key = format!("net/bridge/bridge-nf-call-{key}");
            if Path::new("/proc/sys").join(&key).exists() {
                set(&key, "0");
            }
        }
    });
    play(&pods);
}

fn port_leads_to_a_pod_of_its_own_link_from_everywhere() {
    play(&Pods::new(Wiring::ProxyArp));
}

fn play(pods: &Pods) {
    let wiring = pods.wiring;
    let _servers = serve(pods);
    if wiring == Wiring::Subnet {
        // With bridge netfilter a bridge leads back itself what is translated
        // to one of its ports, by this one only if it may: `hairpinMode`.
        inside(&pods.node, || {
            run("bridge", &["link", "set", "dev", "pod5", "hairpin", "on"])
        });
    }
    let mut host = open(pods);
    host.attach(&guest(wiring)).unwrap();
    host.expose_all(&exposures()).unwrap();
    let mut from = vec![
        ("outside", &pods.outside, Some(OUTSIDE)),
        ("the node", &pods.node, None),
        ("the pod itself", &pods.pod, None),
    ];
    // On a bridge it would be answered without coming by the node.
    from.push(match wiring {
        Wiring::Subnet => ("another pod", &pods.other, None),
        Wiring::ProxyArp => ("another pod", &pods.other, Some(OTHER)),
    });
    for (who, netns, source) in from {
        for (protocol, family) in each_kind() {
            let answer = ask(netns, protocol, at(NODE[family], HOST_PORT), SOON);
            let (name, seen) =
                answer.unwrap_or_else(|| panic!("{wiring:?} {who}: {protocol} {family}"));
            if protocol == Protocol::Tcp {
                assert_eq!(name, "pod", "{wiring:?} {who}");
            }
            if let Some(source) = source {
                let source: IpAddr = source[family].parse().unwrap();
                assert_eq!(seen.to_canonical(), source, "{wiring:?} {who}");
            }
        }
    }
    let loopback = at("127.0.0.1", HOST_PORT);
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let answer = ask(&pods.node, protocol, loopback, SOON);
        assert!(answer.is_some(), "{wiring:?} {protocol}");
    }
    // What asks the pod itself is left alone.
    for family in FAMILIES {
        let (_, seen) = ask(&pods.other, Protocol::Tcp, at(POD[family], PORT), SOON).unwrap();
        assert_eq!(
            seen.to_canonical(),
            OTHER[family].parse::<IpAddr>().unwrap()
        );
    }
    host.detach("web-0").unwrap();
    for (protocol, family) in each_kind() {
        let to = at(NODE[family], HOST_PORT);
        assert_eq!(ask(&pods.outside, protocol, to, NEVER), None);
    }
    host.remove().unwrap();
}

fn guest_elsewhere_comes_back_on_reading_and_goes_without_a_trace() {
    let pods = Pods::new(Wiring::Subnet);
    let before = pods.node.run(state).unwrap();
    let mut host = open(&pods);
    let wanted = exposures()
        .into_iter()
        .fold(Wanted::new().guest(guest(Wiring::Subnet)), Wanted::exposure);
    host.apply(&wanted).unwrap();
    let links = || inside(&pods.node, || run("ip", &["-o", "link"]));
    let with_it = links();
    let mut again = open(&pods);
    let [found] = &*again.guests().unwrap() else {
        panic!("one guest");
    };
    assert_eq!(
        found.connection(),
        guest(Wiring::Subnet).wanted_connection()
    );
    assert_eq!(
        [IpAddr::from(found.ipv4()), found.ipv6().into()],
        POD.map(|address| address.parse::<IpAddr>().unwrap())
    );
    let plan = again.plan(&wanted).unwrap();
    assert!(plan.is_empty(), "{plan}");
    let same = again.attach(&guest(Wiring::Subnet)).unwrap();
    assert_eq!(&same, found);
    let tree = again.topology().unwrap().tree().to_string();
    for words in [
        "cni0  somebody else's",
        "web-0  10.244.3.5  fd00:244:3::5\n",
        "8080",
    ] {
        assert!(tree.contains(words), "{words} in\n{tree}");
    }
    assert_eq!(links(), with_it, "no link was made");
    // Among others, one of which is the owner's own.
    let own = Guest::new("vm").unwrap();
    let both = wanted.clone().guest(own);
    again.apply(&both).unwrap();
    assert!(again.plan(&both).unwrap().is_empty());
    assert_eq!(again.guests().unwrap().len(), 2);
    let plan = again.plan(&Wanted::new()).unwrap();
    assert!(plan.to_string().contains("web-0"), "{plan}");
    again.commit(&plan).unwrap();
    assert_eq!(again.guests().unwrap(), []);
    again.remove().unwrap();
    assert_eq!(pods.node.run(state).unwrap(), before);
}

fn loopback_is_opened_on_the_link_and_closed_again() {
    let pods = Pods::new(Wiring::Subnet);
    let mut host = open(&pods);
    let localnet = || {
        let link = inside(&pods.node, || {
            Rtnl::open().unwrap().link("cni0".parse().unwrap()).unwrap()
        });
        link.unwrap().ipv4_setting(Ipv4Setting::RouteLocalnet)
    };
    let second = |address: &str| {
        let place = Elsewhere::new("cni0".parse().unwrap(), [address.parse().unwrap()]).unwrap();
        let guest = Guest::new("web-1").unwrap();
        guest.connection(Connection::Elsewhere(place))
    };
    host.attach(&guest(Wiring::Subnet)).unwrap();
    host.attach(&second(OTHER[0])).unwrap();
    assert_eq!(localnet(), Some(0));
    for (port, guest) in [(HOST_PORT, POD[0]), (HOST_PORT + 1, OTHER[0])] {
        let exposure = Exposure::new(Protocol::Tcp, port, at(guest, PORT)).unwrap();
        let exposure = exposure.on("127.0.0.1".parse().unwrap()).unwrap();
        host.expose(&exposure).unwrap();
    }
    assert_eq!(localnet(), Some(1));
    // A neighbour gains nothing by that.
    let _servers = servers(&pods.node, "node");
    inside(&pods.other, || {
        ip("address delete 127.0.0.1/8 dev lo");
        ip("route add 127.0.0.1/32 via 10.244.3.1 src 10.244.3.6 table 10");
        ip("rule add pref 0 table 10");
        ip("rule delete pref 0 table local");
    });
    assert_eq!(
        ask(&pods.other, Protocol::Tcp, at("127.0.0.1", PORT), NEVER),
        None
    );
    host.detach("web-0").unwrap();
    assert_eq!(localnet(), Some(1), "another needs it");
    // Another handle, which has seen nothing of this.
    let mut host = open(&pods);
    host.detach("web-1").unwrap();
    assert_eq!(localnet(), Some(0));
    // Where others had it on, it stays.
    let on = || set("net/ipv4/conf/cni0/route_localnet", "1");
    inside(&pods.node, on);
    host.attach(&second(OTHER[0])).unwrap();
    let exposure = Exposure::new(Protocol::Tcp, HOST_PORT, at(OTHER[0], PORT)).unwrap();
    let exposure = exposure.on("127.0.0.1".parse().unwrap()).unwrap();
    host.expose(&exposure).unwrap();
    host.remove().unwrap();
    assert_eq!(localnet(), Some(1));
}

fn impossible_guest_elsewhere_is_refused_and_changes_nothing() {
    let pods = Pods::new(Wiring::Subnet);
    let mut host = open(&pods);
    let before = pods.node.run(state).unwrap();
    let at_cni0 = |name: &str, link: &str, addresses: &[&str]| {
        let addresses = addresses.iter().map(|address| address.parse().unwrap());
        let place = Elsewhere::new(link.parse().unwrap(), addresses).unwrap();
        let guest = Guest::new(name).unwrap();
        guest.connection(Connection::Elsewhere(place))
    };
    let bad = [
        (at_cni0("a", "cni7", &[POD[0]]), "no interface named cni7"),
        (
            at_cni0("a", "cni0", &[POD[0]]).tap_owner(7),
            "has no TAP here",
        ),
        (
            at_cni0("a", "cni0", &[POD[0]]).mac("02:00:00:00:00:05".parse().unwrap()),
            "its MAC address is not given here",
        ),
        (
            at_cni0("a", "cni0", &[POD[0]]).service("udp/53".parse().unwrap()),
            "what it may do is not decided here",
        ),
    ];
    for (guest, words) in bad {
        let error = host.attach(&guest).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        let error = host.plan(&Wanted::new().guest(guest)).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    assert_eq!(pods.node.run(state).unwrap(), before);
    host.attach(&at_cni0("a", "cni0", &[POD[0]])).unwrap();
    for guest in [
        at_cni0("b", "cni0", &[POD[0], POD[1]]),
        at_cni0("a", "cni0", &[POD[0], POD[1]]),
    ] {
        let error = host.attach(&guest).unwrap_err();
        assert!(matches!(error, Error::Conflict(_)), "{error}");
    }
    // By name it would be both families.
    let by_name: Exposure = "tcp/8080->a:80".parse().unwrap();
    let error = host.expose(&by_name).unwrap_err().to_string();
    assert_eq!(error, "no IPv6 address of a guest named a");
    host.detach("a").unwrap();
    assert_eq!(pods.node.run(state).unwrap(), before);
}

/// The pod, as this owner sees it.
fn guest(wiring: Wiring) -> Guest {
    let link = match wiring {
        Wiring::Subnet => "cni0",
        Wiring::ProxyArp => "pod5",
    };
    let addresses = POD.map(|address| address.parse().unwrap());
    let place = Elsewhere::new(link.parse().unwrap(), addresses).unwrap();
    let guest = Guest::new("web-0").unwrap();
    guest.connection(Connection::Elsewhere(place))
}

/// Everywhere, and on the host's loopback address.
fn exposures() -> Vec<Exposure> {
    let mut exposures = Vec::new();
    for (protocol, family) in each_kind() {
        let exposure = || Exposure::new(protocol, HOST_PORT, at(POD[family], PORT)).unwrap();
        exposures.push(exposure());
        if family == 0 {
            exposures.push(exposure().on("127.0.0.1".parse().unwrap()).unwrap());
        }
    }
    exposures
}

fn serve(pods: &Pods) -> Vec<Server> {
    let mut all = servers(&pods.pod, "pod");
    all.extend(servers(&pods.other, "other"));
    all
}

fn open(pods: &Pods) -> Host {
    inside(&pods.node, || {
        Host::open(Owner::new("riklet").unwrap()).unwrap()
    })
}

/// What the node has: links with their settings, rules without counters.
fn state() -> String {
    let localnet = std::fs::read_to_string("/proc/sys/net/ipv4/conf/cni0/route_localnet");
    // The carrier of a pod's link comes in its own time.
    let links = run("ip", &["-o", "link"]).replace("NO-CARRIER,", "");
    let links = links.replace("state LOWERLAYERDOWN", "state UP");
    links + &run("nft", &["-s", "list", "ruleset"]) + &localnet.unwrap()
}
