//! `portMappings`, beside what the plugin `portmap` makes reachable.

use std::net::UdpSocket;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tapwire::Protocol;
use tapwire::sys::NetNs;

use super::network::{Network, Place, bridge, ptp};
use super::scene::{Scene, Vm, addresses};
use crate::bridged::pod::{inside, servers};
use crate::stand_ins::server::Server;
use crate::support::trials;
use crate::world::{NEVER, NODE, NODE_TOO, SOON, ask, at, each_kind};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["ip", "iptables", "/usr/lib/cni/bridge", "/usr/lib/cni/ptp", "/usr/lib/cni/host-local", "/usr/lib/cni/portmap"]:
        ports_are_reachable_from_wherever_those_of_portmap_are_behind_bridge,
        ports_are_reachable_from_wherever_those_of_portmap_are_behind_ptp,
    ]
}

fn ports_are_reachable_from_wherever_those_of_portmap_are_behind_bridge() {
    play(&bridge());
}

fn ports_are_reachable_from_wherever_those_of_portmap_are_behind_ptp() {
    play(&ptp());
}

fn play(before: &Value) {
    let mut mappings = Vec::new();
    for protocol in ["tcp", "udp"] {
        mappings.push(json!({"hostPort": 8080, "containerPort": 80, "protocol": protocol}));
        mappings.push(json!({
            "hostPort": 8081, "containerPort": 80, "protocol": protocol, "hostIP": NODE[0],
        }));
    }
    let runtime = json!({"portMappings": mappings});
    let portmap = json!({
        "type": "portmap", "snat": true, "capabilities": {"portMappings": true},
    });
    let before = std::slice::from_ref(before);
    let theirs = reached(
        &Network::new(before, &json!({}))
            .last(portmap)
            .runtime(runtime.clone()),
        Who::Pod,
    );
    let ours = reached(
        &Network::new(before, &json!({})).runtime(runtime),
        Who::Guest,
    );
    let reaches = |lines: &[(String, bool)]| lines.iter().filter(|line| line.1).count();
    assert!(reaches(&theirs) >= 12, "{theirs:#?}");
    for ((from, theirs), (same, ours)) in theirs.iter().zip(&ours) {
        assert_eq!(from, same);
        assert!(
            *ours || !theirs,
            "{from}: portmap's is reached, ours is not"
        );
        // Where nobody asked for it, nothing is reached.
        if from.contains("another address") {
            assert!(!ours && !theirs, "{from}");
        }
    }
    let all = |who: &str| {
        let lines: Vec<_> = ours.iter().filter(|line| line.0.starts_with(who)).collect();
        assert!(
            !lines.is_empty() && lines.iter().all(|line| line.1),
            "{lines:?}"
        );
    };
    for who in [
        "outside: 8080",
        "node: 8080",
        "another pod: 8080",
        "itself: 8080",
    ] {
        all(who);
    }
}

/// Who answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Pod,
    Guest,
}

/// From where a pod's ports are reached.
fn reached(network: &Network, who: Who) -> Vec<(String, bool)> {
    let scene = Scene::new();
    let result = scene.node(|| network.add(&scene.place));
    let second = NetNs::new().unwrap();
    let place = Place {
        container: "web-1",
        ..Place::of(&second)
    };
    let neighbour = scene.node(|| network.add_before(&place));
    let (vm, _servers): (Option<Vm>, Vec<Server>) = match who {
        Who::Pod => (None, servers(&scene.pod, "pod")),
        Who::Guest => (Some(Vm::boot(&scene.pod, &result["guest"])), Vec::new()),
    };
    let itself = vm.as_ref().map_or(&scene.pod, |vm| &vm.netns);
    assert_eq!(addresses(&neighbour).len(), 2);
    let mut lines = Vec::new();
    for (from, netns) in [
        ("outside", &scene.world.outside),
        ("node", &scene.world.node),
        ("another pod", &second),
        ("itself", itself),
    ] {
        for (protocol, family) in each_kind() {
            let to = at(NODE[family], 8080);
            let answer = ask(netns, protocol, to, patience(who));
            lines.push((format!("{from}: 8080 {protocol} {to}"), answer.is_some()));
        }
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let to = at(NODE[0], 8081);
            let answer = ask(netns, protocol, to, patience(who));
            lines.push((format!("{from}: 8081 {protocol}"), answer.is_some()));
            let to = at(NODE_TOO[0], 8081);
            let answer = ask(netns, protocol, to, NEVER);
            lines.push((
                format!("{from}: 8081 {protocol} another address"),
                answer.is_some(),
            ));
        }
    }
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let answer = ask(
            &scene.world.node,
            protocol,
            at("127.0.0.1", 8080),
            patience(who),
        );
        lines.push((format!("node: 127.0.0.1 {protocol}"), answer.is_some()));
    }
    scene.node(|| network.delete(&scene.place, Some(&result)));
    let to = at(NODE[0], 8080);
    let answer = ask(&scene.world.outside, Protocol::Tcp, to, NEVER);
    lines.push((
        "outside, deleted: another address".to_owned(),
        answer.is_some(),
    ));
    lines
}

/// Of portmap's it is only of interest what is reached.
fn patience(who: Who) -> Duration {
    match who {
        Who::Pod => Duration::from_secs(1),
        Who::Guest => SOON,
    }
}

/// How many of so many datagrams of so many bytes that are sent at once to a
/// port of an address arrive.
pub(crate) fn arrived(
    from: &NetNs,
    at_netns: &NetNs,
    to: &str,
    count: usize,
    size: usize,
) -> usize {
    let any = if to.contains(':') { "::" } else { "0.0.0.0" };
    let receiver = inside(at_netns, || UdpSocket::bind(at(any, 9999)).unwrap());
    rustix::net::sockopt::set_socket_recv_buffer_size(&receiver, 8 << 20).unwrap();
    receiver
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let sender = inside(from, || UdpSocket::bind(at(any, 0)).unwrap());
    let payload = vec![7; size];
    // The first asks who has the address, which may take a moment.
    let mut buffer = vec![0; size];
    loop {
        drop(sender.send_to(b"first", at(to, 9999)));
        if receiver.recv(&mut buffer).is_ok() {
            break;
        }
    }
    let mut arrived = 0;
    for _ in 0..count {
        drop(sender.send_to(&payload, at(to, 9999)));
    }
    while let Ok(length) = receiver.recv(&mut buffer) {
        arrived += usize::from(length == size);
    }
    arrived
}
