//! The plugin without others: a network of the guest's own in its pod.

use libtest_mimic::Trial;
use serde_json::json;
use tapwire::Protocol;

use super::network::{Network, Place, bridge};
use super::scene::{Scene, Vm, answers};
use crate::bridged::pod::{inside, servers};
use crate::support::{run, trials};
use crate::world::{NEVER, OUTSIDE, SOON, ask, at};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = trials![needs ["ip", "nft", "/usr/lib/cni/bridge", "/usr/lib/cni/host-local"]:
        guest_has_a_network_of_its_own_and_goes_without_a_trace,
    ];
    trials.extend(trials![needs ["ip", "nft"]:
        addresses_of_the_runtime_are_the_guests,
        several_networks_of_one_pod_are_apart,
    ]);
    trials
}

fn second(scene: &Scene, interface: &'static str) -> Place {
    Place {
        interface,
        ..Place::of(&scene.pod)
    }
}

fn guest_has_a_network_of_its_own_and_goes_without_a_trace() {
    let scene = Scene::new();
    // The pod is on the outside's link by another network's interface.
    let first = Network::new(&[bridge()], &json!({}));
    let pod = scene.node(|| first.add_before(&scene.place));
    let pod4 = pod["ips"][0]["address"]
        .as_str()
        .unwrap()
        .split('/')
        .next()
        .unwrap()
        .to_owned();
    inside(&scene.world.outside, || {
        run(
            "ip",
            &["route", "add", "10.244.3.0/24", "via", "203.0.113.1"],
        )
    });
    let before = inside(&scene.pod, || {
        run("nft", &["list", "ruleset"]) + &run("ip", &["-o", "link"])
    });
    let runtime = json!({
        "portMappings": [{"hostPort": 8080, "containerPort": 80}],
        "mac": "02:00:00:00:00:77",
        "bandwidth": {"ingressRate": 800_000_000},
    });
    let network = Network::new(&[], &json!({"dns": {"nameservers": ["10.96.0.10"]}}))
        .named("own")
        .runtime(runtime);
    let place = second(&scene, "net1");
    let result = scene.node(|| network.add(&place));
    let told = &result["guest"];
    assert_eq!(
        (told["tap"].as_str(), told["mac"].as_str()),
        (Some("net1-0"), Some("02:00:00:00:00:77"))
    );
    assert_eq!(told["nameservers"], json!(["10.96.0.10"]));
    assert_eq!(result["ips"][0]["address"], "198.18.0.2/30");
    let tap = &result["interfaces"][0];
    assert_eq!(
        (tap["name"].as_str(), &tap["sandbox"]),
        (Some("net1-0"), &json!(place.netns))
    );
    scene.node(|| network.check(&place, &result)).unwrap();
    let again = scene.node(|| network.add(&place));
    assert_eq!(again, result);
    {
        let vm = Vm::boot(&scene.pod, told);
        let _outside = servers(&scene.world.outside, "outside");
        // Behind the pod's address.
        let (name, seen) = ask(&vm.netns, Protocol::Tcp, at(OUTSIDE[0], 80), SOON).unwrap();
        assert_eq!(
            (name.as_str(), seen.to_canonical().to_string()),
            ("outside", pod4.clone())
        );
        assert!(answers(&scene.world.outside, &pod4, 8080).is_some());
        assert!(answers(&scene.world.node, &pod4, 8080).is_some());
        let asked = ask(
            &scene.world.node,
            Protocol::Tcp,
            at("198.18.0.2", 80),
            NEVER,
        );
        assert_eq!(asked, None);
    }
    inside(&scene.pod, || run("ip", &["link", "set", "net1-0", "down"]));
    let failure = scene.node(|| network.check(&place, &result)).unwrap_err();
    assert_eq!(failure["code"], 102, "{failure}");
    for _ in 0..2 {
        scene.node(|| network.delete(&place, Some(&result)));
    }
    let after = inside(&scene.pod, || {
        run("nft", &["list", "ruleset"]) + &run("ip", &["-o", "link"])
    });
    assert_eq!(after, before);
    scene.node(|| first.delete(&scene.place, Some(&pod)));
}

fn addresses_of_the_runtime_are_the_guests() {
    let scene = Scene::new();
    let network = |ips: &[&str]| Network::new(&[], &json!({})).runtime(json!({"ips": ips}));
    let place = second(&scene, "net1");
    let both = network(&["10.77.0.6/30", "fd77::a/126"]);
    let result = scene.node(|| both.add(&place));
    assert_eq!(result["ips"][0]["address"], "10.77.0.6/30");
    assert_eq!(result["ips"][1]["address"], "fd77::a/126");
    assert_eq!(result["ips"][0]["gateway"], "10.77.0.5");
    let again = scene.node(|| both.add(&place));
    assert_eq!(again, result);
    // Another address than it has would be another guest's.
    let other = network(&["10.77.0.10"]);
    let refused = scene.node(|| other.ours("CHECK", &place, Some(&result)));
    assert!(!refused.success, "{}", refused.value);
    scene.node(|| both.delete(&place, Some(&result)));
    let single = network(&["10.77.0.10"]);
    let result = scene.node(|| single.add(&place));
    assert_eq!(result["ips"][0]["address"], "10.77.0.10/30");
    scene.node(|| single.delete(&place, Some(&result)));
}

fn several_networks_of_one_pod_are_apart() {
    let scene = Scene::new();
    let network = Network::new(&[], &json!({}));
    let places = ["net1", "net2"].map(|name| second(&scene, name));
    let results = places
        .each_ref()
        .map(|place| scene.node(|| network.add(place)));
    assert_eq!(results[0]["ips"][0]["address"], "198.18.0.2/30");
    assert_eq!(results[1]["ips"][0]["address"], "198.18.0.6/30");
    for (place, result) in places.iter().zip(&results) {
        scene.node(|| network.check(place, result)).unwrap();
    }
    scene.node(|| network.delete(&places[0], Some(&results[0])));
    scene
        .node(|| network.check(&places[1], &results[1]))
        .unwrap();
    scene.node(|| network.delete(&places[1], None));
    let links = inside(&scene.pod, || run("ip", &["-o", "link"]));
    assert_eq!(links.lines().count(), 1, "{links}");
}
