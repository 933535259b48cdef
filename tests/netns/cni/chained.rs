//! The plugin behind Debian's `bridge` and `ptp` with `host-local`.

use std::fs;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tapwire::bridged::Bridged;
use tapwire::sys::NetNs;

use super::network::{Network, Place, bridge, ptp};
use super::scene::{Scene, Vm, addresses, answers};
use crate::bridged::pod::{assert_same, eth0, inside, ip, settled};
use crate::support::{run, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["ip", "nft", "/usr/lib/cni/bridge", "/usr/lib/cni/ptp", "/usr/lib/cni/host-local"]:
        guest_is_in_the_place_of_a_pod_of_plugin_bridge,
        guest_is_in_the_place_of_a_pod_of_plugin_ptp,
        mac_of_the_runtime_is_the_guests,
        check_finds_what_is_not_as_add_made_it,
        del_works_without_the_namespace_and_twice,
        gc_takes_away_what_no_attachment_has,
        bandwidth_is_limited_and_can_be_read,
        failed_add_leaves_the_pod_as_it_was,
    ]
}

fn guest_is_in_the_place_of_a_pod_of_plugin_bridge() {
    play(bridge());
}

fn guest_is_in_the_place_of_a_pod_of_plugin_ptp() {
    play(ptp());
}

fn play(before: Value) {
    let scene = Scene::new();
    let network = Network::new(
        &[before],
        &json!({"tap": {"owner": 107, "vnetHeader": true}}),
    );
    let (place, pod) = (&scene.place, &scene.pod);
    let of_others = scene.node(|| network.add_before(place));
    let state = inside(pod, settled);
    let added = network.ours("ADD", place, Some(&of_others));
    assert!(added.success, "{}", added.value);
    let result = added.value;
    // What others have said is passed on; ours is behind it.
    for key in ["ips", "routes", "dns", "cniVersion"] {
        assert_eq!(result[key], of_others[key], "{key}");
    }
    let interfaces = result["interfaces"].as_array().unwrap();
    let theirs = of_others["interfaces"].as_array().unwrap();
    assert_eq!(interfaces[..theirs.len()], theirs[..]);
    let told = &result["guest"];
    let [tap, own] = &interfaces[theirs.len()..] else {
        panic!("{interfaces:?}");
    };
    assert_eq!(tap["name"], told["tap"]);
    assert_eq!(tap["sandbox"], json!(place.netns));
    assert_eq!(
        (&own["sandbox"], &own["mac"]),
        (&json!("web-0"), &told["mac"])
    );
    let pods = theirs.iter().find(|one| one["name"] == "eth0").unwrap();
    assert_eq!(told["mac"], pods["mac"]);
    assert_eq!(told["mtu"], 1450);
    let state_dir = network.folder.join("state");
    let files: Vec<_> = fs::read_dir(&state_dir).unwrap().collect();
    assert_eq!(files.len(), 1);
    let file = fs::read(files[0].as_ref().unwrap().path()).unwrap();
    assert_eq!(&serde_json::from_slice::<Value>(&file).unwrap(), told);
    let words = inside(pod, || {
        run("ip", &["-d", "link", "show", told["tap"].as_str().unwrap()])
    });
    assert!(
        words.contains("user 107") && words.contains("vnet_hdr on"),
        "{words}"
    );
    {
        let _vm = Vm::boot(pod, told);
        let addresses = addresses(&result);
        for (family, address) in addresses.iter().enumerate() {
            let seen = answers(&scene.world.node, address, 80);
            let gateway = gateway(&result, family);
            assert_eq!(
                seen.map(|seen| seen.to_string()),
                Some(gateway),
                "{address}"
            );
        }
    }
    scene.node(|| network.check(place, &result)).unwrap();
    // The same again changes nothing.
    let again = scene.node(|| network.ours("ADD", place, Some(&of_others)));
    assert_eq!(again.value, result);
    let deleted = scene.node(|| network.ours("DEL", place, Some(&result)));
    assert!(deleted.success, "{}", deleted.value);
    assert_same(&inside(pod, settled), &state, "the pod again");
    assert_eq!(fs::read_dir(&state_dir).unwrap().count(), 0);
    scene.node(|| network.delete(place, Some(&result)));
}

fn gateway(result: &Value, family: usize) -> String {
    let ips = result["ips"].as_array().unwrap();
    let of = |ip: &&Value| ip["address"].as_str().unwrap().contains(':') == (family == 1);
    let ip = ips.iter().find(of).unwrap();
    ip["gateway"].as_str().unwrap().to_owned()
}

fn mac_of_the_runtime_is_the_guests() {
    let scene = Scene::new();
    let mac = "02:00:00:00:00:77";
    let runtime = json!({"mac": mac});
    let network = Network::new(&[bridge()], &json!({})).runtime(runtime.clone());
    let result = scene.node(|| network.add(&scene.place));
    assert_eq!(result["guest"]["mac"], mac);
    scene.node(|| network.check(&scene.place, &result)).unwrap();
    scene.node(|| network.delete(&scene.place, Some(&result)));
    // `ptp` does not apply it, so the guest would have another.
    let network = Network::new(&[ptp()], &json!({})).runtime(runtime);
    let before = scene.node(|| network.add_before(&scene.place));
    let refused = scene.node(|| network.ours("ADD", &scene.place, Some(&before)));
    assert!(!refused.success);
    assert_eq!(refused.value["code"], 7, "{}", refused.value);
    assert!(
        inside(&scene.pod, || Bridged::find(eth0()))
            .unwrap()
            .is_none()
    );
    scene.node(|| network.delete(&scene.place, Some(&before)));
}

fn check_finds_what_is_not_as_add_made_it() {
    let scene = Scene::new();
    let runtime = json!({
        "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
        "bandwidth": {"ingressRate": 8_000_000, "ingressBurst": 800_000},
    });
    let network = Network::new(&[bridge()], &json!({})).runtime(runtime);
    let place = &scene.place;
    let result = scene.node(|| network.add(place));
    let check = || scene.node(|| network.check(place, &result));
    check().unwrap();
    let fails = |words: &str| {
        let failure = check().unwrap_err();
        assert_eq!(failure["code"], 102, "{failure}");
        assert!(failure.to_string().contains(words), "{words} in {failure}");
        let again = scene.node(|| network.ours("ADD", place, Some(&result)));
        assert!(again.success, "{}", again.value);
        check().unwrap();
    };
    scene.node(|| run("nft", &["flush", "map", "inet", "tapwire", "dnat4_any"]));
    fails("tcp/8080");
    inside(&scene.pod, || {
        run("nft", &["delete", "table", "netdev", "tapwire-eth0"])
    });
    fails("bandwidth");
    inside(&scene.pod, || ip("link set eth0 nomaster"));
    fails("is not taken over");
    scene.node(|| network.delete(place, Some(&result)));
}

fn del_works_without_the_namespace_and_twice() {
    let runtime = json!({"portMappings": [{"hostPort": 8080, "containerPort": 80}]});
    let network = Network::new(&[bridge()], &json!({})).runtime(runtime);
    let scene = Scene::new();
    let place = Place::of(&scene.pod);
    let result = scene.node(|| network.add(&place));
    let ruleset = || scene.node(|| run("nft", &["-s", "list", "ruleset"]));
    assert!(ruleset().contains("web-0"));
    // The namespace is gone, and its number is another file's.
    let Scene { world, pod, .. } = scene;
    drop(pod);
    let gone = |netns: &str| Place {
        container: "web-0",
        interface: "eth0",
        netns: netns.to_owned(),
    };
    for netns in [
        place.netns.as_str(),
        "",
        "/var/run/netns/never",
        "/etc/passwd",
    ] {
        let place = gone(netns);
        for _ in 0..2 {
            let answer = inside(&world.node, || network.ours("DEL", &place, None));
            assert!(answer.success, "{netns}: {}", answer.value);
        }
    }
    let ruleset = inside(&world.node, || run("nft", &["-s", "list", "ruleset"]));
    assert!(!ruleset.contains("web-0"), "{ruleset}");
    inside(&world.node, || network.delete(&gone(""), Some(&result)));
}

fn gc_takes_away_what_no_attachment_has() {
    let scene = Scene::new();
    let second = NetNs::new().unwrap();
    let runtime = |port: u16| json!({"portMappings": [{"hostPort": port, "containerPort": 80}]});
    let valid = json!({"cni.dev/valid-attachments": [
        {"containerID": "web-0", "ifname": "eth0"},
    ]});
    let mut network = Network::new(&[bridge()], &valid);
    let stale = Place {
        container: "web-1",
        ..Place::of(&second)
    };
    for (place, port) in [(&scene.place, 8080), (&stale, 8081)] {
        network = network.runtime(runtime(port));
        scene.node(|| network.add(place));
    }
    // Another network's with the same container's name is not this one's.
    let others =
        Network::new(&[], &json!({"stateDir": network.folder.join("state")})).named("others");
    let ruleset = || scene.node(|| run("nft", &["-s", "list", "ruleset"]));
    let answer = scene.node(|| others.ours("GC", &scene.place, None));
    assert_eq!(answer.value["code"], 7, "{}", answer.value);
    assert!(ruleset().contains("web-1"));
    for _ in 0..2 {
        let answer = scene.node(|| network.ours("GC", &scene.place, None));
        assert!(answer.success, "{}", answer.value);
        let rules = ruleset();
        assert!(
            rules.contains("web-0") && !rules.contains("web-1"),
            "{rules}"
        );
        let files = fs::read_dir(network.folder.join("state")).unwrap();
        assert_eq!(files.count(), 1);
    }
    let none = Network::new(
        &[],
        &json!({"cni.dev/valid-attachments": [], "stateDir": network.folder.join("state")}),
    );
    let answer = scene.node(|| none.named("others").ours("GC", &scene.place, None));
    assert!(answer.success && ruleset().contains("web-0"));
    for place in [&scene.place, &stale] {
        scene.node(|| network.delete(place, None));
    }
}

fn bandwidth_is_limited_and_can_be_read() {
    let scene = Scene::new();
    // 200 kB/s each way, and at once what one burst holds.
    let runtime = json!({"bandwidth": {
        "ingressRate": 1_600_000, "ingressBurst": 524_288,
        "egressRate": 1_600_000, "egressBurst": 524_288,
    }});
    let network = Network::new(&[bridge()], &json!({})).runtime(runtime);
    let result = scene.node(|| network.add(&scene.place));
    let rules = inside(&scene.pod, || run("nft", &["list", "ruleset"]));
    for words in [
        "limit rate over 200000 bytes/second burst 64 kbytes",
        "devices = { eth0 }",
        "comment \"bandwidth\"",
    ] {
        let lists = rules.contains(words)
            || words.starts_with("devices") && rules.contains("device \"eth0\"");
        assert!(lists, "{words} in\n{rules}");
    }
    let vm = Vm::boot(&scene.pod, &result["guest"]);
    let guest = addresses(&result)[0].clone();
    // Datagrams that nobody delays: what comes through of 1 MB at once.
    let node = "10.244.3.1";
    for (from, to, to_netns) in [
        (&scene.world.node, guest.as_str(), &vm.netns),
        (&vm.netns, node, &scene.world.node),
    ] {
        let arrived = super::ports::arrived(from, to_netns, to, 1000, 1000);
        assert!((40..400).contains(&arrived), "to {to}: {arrived} of 1000");
    }
    scene.node(|| network.delete(&scene.place, Some(&result)));
    let free = Network::new(&[bridge()], &json!({}));
    let result = scene.node(|| free.add(&scene.place));
    let vm = Vm::boot(&scene.pod, &result["guest"]);
    let guest = addresses(&result)[0].clone();
    let arrived = super::ports::arrived(&scene.world.node, &vm.netns, &guest, 1000, 1000);
    assert!(arrived > 900, "{arrived} of 1000 without a limit");
    scene.node(|| free.delete(&scene.place, Some(&result)));
}

fn failed_add_leaves_the_pod_as_it_was() {
    let scene = Scene::new();
    let mapping = |port: u16| json!({"portMappings": [{"hostPort": port, "containerPort": 80}]});
    let network = Network::new(&[bridge()], &json!({})).runtime(mapping(8080));
    let first = scene.node(|| network.add(&scene.place));
    let second = NetNs::new().unwrap();
    let place = Place {
        container: "web-1",
        ..Place::of(&second)
    };
    let before = scene.node(|| network.add_before(&place));
    let (state, ruleset) = (
        inside(&second, settled),
        scene.node(|| run("nft", &["-s", "list", "ruleset"])),
    );
    let refused = scene.node(|| network.ours("ADD", &place, Some(&before)));
    assert!(!refused.success);
    assert_eq!(refused.value["code"], 101, "{}", refused.value);
    assert!(
        refused.value.to_string().contains("web-0"),
        "{}",
        refused.value
    );
    assert_same(&inside(&second, settled), &state, "refused");
    assert_eq!(
        scene.node(|| run("nft", &["-s", "list", "ruleset"])),
        ruleset
    );
    scene.node(|| network.delete(&place, Some(&before)));
    scene.node(|| network.delete(&scene.place, Some(&first)));
}
