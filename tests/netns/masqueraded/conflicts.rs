//! Rules and ports of a mesh that clash with a guest's, told before anything
//! is changed.

use std::net::{SocketAddr, TcpListener};

use libtest_mimic::Trial;
use tapwire::bridged::BridgePlan;
use tapwire::error::Passing;
use tapwire::masqueraded::{Masquerade, Mesh};
use tapwire::redirected::RedirectPlan;
use tapwire::{Conflict, Protocol};

use super::{SIDECAR, masquerade, ports, server};
use crate::bridged::pod::{POD, Pods, Wiring, inside, ip};
use crate::support::{feed, run, trials};
use crate::world::at;

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = trials![needs ["ip", "nft"]:
        mesh_is_told_where_the_guest_goes_past_it,
        ambient_mesh_is_told_as_well,
        port_by_port_redirection_is_no_mesh,
        ports_of_the_mesh_itself_are_told,
        process_on_a_port_that_comes_by_the_mesh_is_told,
        process_that_loses_its_addresses_to_the_guest_is_told,
    ];
    trials.extend(trials![needs ["ip", "iptables-legacy", "ip6tables-legacy"]:
        mesh_of_legacy_iptables_is_told,
    ]);
    trials.extend(trials![needs ["ip", "iptables-nft", "ip6tables-nft"]:
        mesh_that_hands_over_is_told_as_well,
        mesh_of_iptables_is_told,
    ]);
    trials
}

fn mesh_is_told_where_the_guest_goes_past_it() {
    let pods = Pods::new(Wiring::Subnet);
    for by in [Passing::Exposures, Passing::Bridge, Passing::Filters] {
        assert_eq!(past(&pods, by), [""; 0], "without a mesh");
    }
    inside(&pods.pod, || feed("nft", &["-f", "-"], SIDECAR));
    for by in [Passing::Exposures, Passing::Bridge, Passing::Filters] {
        let told = past(&pods, by);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].contains("redirect to :15006") && told[0].contains("inet sidecar"),
            "{told:?}"
        );
    }
    let told = conflicts(&pods, Passing::Bridge).remove(0);
    assert!(told.remedy().contains("masqueraded"), "{told}");
    // Told of the mesh, the guest does not go past it.
    let meshed = masquerade().mesh(Mesh::sidecar());
    assert_eq!(of_masquerade(&pods, &meshed), []);
    assert_eq!(
        inside(&pods.pod, || meshed
            .apply()
            .unwrap()
            .attachment()
            .ipv4()
            .octets()),
        [10, 0, 2, 2]
    );
    assert_eq!(of_masquerade(&pods, &meshed), [], "nor in force");
}

fn ambient_mesh_is_told_as_well() {
    let pods = Pods::new(Wiring::ProxyArp);
    inside(&pods.pod, || {
        feed("nft", &["-f", "-"], super::ambient::RULES)
    });
    for by in [Passing::Exposures, Passing::Bridge, Passing::Filters] {
        let told = past(&pods, by);
        let chains: Vec<bool> = told.iter().map(|it| it.contains("chain ISTIO_")).collect();
        assert_eq!(chains, [true; 4], "{told:?}");
    }
    // One's own rules for a mesh are none of others.
    let meshed = masquerade().mesh(Mesh::ambient());
    inside(&pods.pod, || meshed.apply().unwrap());
    assert_eq!(past(&pods, Passing::Exposures).len(), 4);
    assert_eq!(of_masquerade(&pods, &meshed), []);
}

fn mesh_that_hands_over_is_told_as_well() {
    let pods = Pods::new(Wiring::Subnet);
    let programs = ["iptables-nft", "ip6tables-nft"];
    add(&pods, &programs, &TRANSPARENT);
    for by in [Passing::Exposures, Passing::Bridge, Passing::Filters] {
        let told = past(&pods, by);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told.iter().all(|it| it.contains("chain ISTIO_TPROXY")),
            "{told:?}"
        );
    }
    // A sidecar's proxy takes what comes from the guest as well.
    let told = of_masquerade(&pods, &masquerade().mesh(Mesh::sidecar()));
    let families: Vec<bool> = told.iter().map(|it| it.holder().contains("ip6")).collect();
    assert_eq!(families, [false, true], "{told:?}");
    // One for another interface does not.
    let by_eth0 = [
        "-t mangle -F PREROUTING",
        "-t mangle -A PREROUTING -i eth0 -p tcp -j ISTIO_INBOUND",
    ];
    add(&pods, &programs, &by_eth0);
    assert_eq!(
        of_masquerade(&pods, &masquerade().mesh(Mesh::sidecar())),
        []
    );
}

fn port_by_port_redirection_is_no_mesh() {
    let pods = Pods::new(Wiring::Subnet);
    let rules = "table ip nat {
        chain pre {
            type nat hook prerouting priority dstnat;
            tcp dport 81 redirect to :82
            tcp dport 1000-2000 redirect
            ip daddr 192.0.2.7 meta l4proto tcp dnat to 192.0.2.8
            iifname \"other0\" meta l4proto tcp redirect to :15006
        }
    }\n";
    inside(&pods.pod, || feed("nft", &["-f", "-"], rules));
    for by in [Passing::Exposures, Passing::Bridge, Passing::Filters] {
        assert_eq!(past(&pods, by), [""; 0]);
    }
}

fn ports_of_the_mesh_itself_are_told() {
    let pods = Pods::new(Wiring::Subnet);
    let carried = masquerade()
        .carry(Protocol::Tcp, ports(15_000, 15_006))
        .carry(Protocol::Udp, ports(15_008, 15_008))
        .carry(Protocol::Tcp, ports(80, 80));
    let reserved = |mesh: Mesh| {
        let conflicts = of_masquerade(&pods, &carried.clone().mesh(mesh));
        conflicts
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let own = |port: u16| format!("tcp/{port} is the mesh's own");
    assert_eq!(reserved(Mesh::sidecar()), [15_000, 15_001, 15_006].map(own));
    assert_eq!(reserved(Mesh::ambient()), [15_001, 15_006].map(own));
    // All ports are all that there are to have.
    assert_eq!(
        of_masquerade(&pods, &masquerade().mesh(Mesh::sidecar())),
        []
    );
}

fn process_on_a_port_that_comes_by_the_mesh_is_told() {
    let pods = Pods::new(Wiring::Subnet);
    let _kept = server(&pods.pod, "pod", 9090);
    let _mesh = server(&pods.pod, "mesh", 15_006);
    let told = of_masquerade(&pods, &masquerade().mesh(Mesh::sidecar()));
    let words: Vec<String> = told.iter().map(|it| it.wanted().into()).collect();
    let tcp: Vec<&String> = words.iter().filter(|it| it.starts_with("tcp")).collect();
    assert!(
        !tcp.is_empty() && tcp.iter().all(|it| *it == "tcp/9090"),
        "{words:?}"
    );
}

fn process_that_loses_its_addresses_to_the_guest_is_told() {
    let pods = Pods::new(Wiring::Subnet);
    let _kept = server(&pods.pod, "pod", 9090);
    let (_address, _loopback, _foreign) = inside(&pods.pod, || {
        ip("address add 192.0.2.9/32 dev lo");
        let listen = |address| TcpListener::bind(at(address, 9091)).unwrap();
        (listen(POD[1]), listen("127.0.0.1"), listen("192.0.2.9"))
    });
    let [bridged, redirected] = inside(&pods.pod, || {
        let (bridge, redirect) = (BridgePlan::new(pods.read()), RedirectPlan::new(pods.read()));
        [bridge.conflicts().unwrap(), redirect.conflicts().unwrap()]
    });
    let address = SocketAddr::new(POD[1].parse().unwrap(), 9091);
    for conflicts in [bridged, redirected] {
        let listening = conflicts
            .iter()
            .filter(|it| matches!(it, Conflict::Listening { .. }));
        let mut told: Vec<String> = listening.map(|it| it.wanted().into()).collect();
        told.sort_unstable();
        let expected = ["tcp/9090", &format!("tcp/{address}"), "udp/9090"];
        assert_eq!(told, expected);
    }
}

fn mesh_of_legacy_iptables_is_told() {
    let pods = Pods::new(Wiring::Subnet);
    add(&pods, &["iptables-legacy", "ip6tables-legacy"], &RULES);
    for by in [Passing::Exposures, Passing::Bridge, Passing::Filters] {
        let told = past(&pods, by);
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(
            told.iter().all(|it| it.contains("tables-legacy")),
            "{told:?}"
        );
    }
}

fn mesh_of_iptables_is_told() {
    let pods = Pods::new(Wiring::Subnet);
    add(&pods, &["iptables-nft"], &RULES);
    for by in [Passing::Exposures, Passing::Bridge, Passing::Filters] {
        let told = past(&pods, by);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("chain ISTIO_IN_REDIRECT"), "{told:?}");
    }
}

/// Adds rules in the pod by each of these programs.
fn add(pods: &Pods, programs: &[&str], rules: &[&str]) {
    inside(&pods.pod, || {
        for program in programs {
            for words in rules {
                run(program, &words.split(' ').collect::<Vec<_>>());
            }
        }
    });
}

/// What is told of meshes, in words.
fn past(pods: &Pods, by: Passing) -> Vec<String> {
    let past = conflicts(pods, by);
    past.iter().map(|it| it.holder().into()).collect()
}

fn conflicts(pods: &Pods, by: Passing) -> Vec<Conflict> {
    let mut all = match by {
        Passing::Bridge => {
            let plan = BridgePlan::new(pods.read());
            inside(&pods.pod, || plan.conflicts().unwrap())
        }
        Passing::Filters => {
            let plan = RedirectPlan::new(pods.read());
            inside(&pods.pod, || plan.conflicts().unwrap())
        }
        _ => of_masquerade(pods, &masquerade()),
    };
    let is_past = |it: &Conflict| matches!(it, Conflict::PastMesh { by: told, .. } if *told == by);
    all.retain(is_past);
    all
}

fn of_masquerade(pods: &Pods, masquerade: &Masquerade) -> Vec<Conflict> {
    inside(&pods.pod, || masquerade.conflicts().unwrap())
}

/// Those of Istio's sidecar in its mode `TPROXY`, shortened.
const TRANSPARENT: [&str; 7] = [
    "-t mangle -N ISTIO_INBOUND",
    "-t mangle -N ISTIO_DIVERT",
    "-t mangle -N ISTIO_TPROXY",
    "-t mangle -A PREROUTING -p tcp -j ISTIO_INBOUND",
    "-t mangle -A ISTIO_INBOUND -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT",
    "-t mangle -A ISTIO_INBOUND -p tcp -j ISTIO_TPROXY",
    "-t mangle -A ISTIO_TPROXY -p tcp -j TPROXY --on-port 15006 --tproxy-mark 0x539/0xffffffff",
];

/// Those of Istio's sidecar, shortened.
const RULES: [&str; 12] = [
    "-t nat -N ISTIO_INBOUND",
    "-t nat -N ISTIO_IN_REDIRECT",
    "-t nat -N ISTIO_OUTPUT",
    "-t nat -N ISTIO_REDIRECT",
    "-t nat -A PREROUTING -p tcp -j ISTIO_INBOUND",
    "-t nat -A OUTPUT -p tcp -j ISTIO_OUTPUT",
    "-t nat -A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN",
    "-t nat -A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT",
    "-t nat -A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006",
    "-t nat -A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN",
    "-t nat -A ISTIO_OUTPUT -j ISTIO_REDIRECT",
    "-t nat -A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001",
];
