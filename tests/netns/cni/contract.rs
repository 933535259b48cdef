//! What a runtime may rely on whatever is asked: versions, errors, STATUS.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::network::{Answer, Place, call};
use super::scene::Scene;
use crate::support::{run, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["ip", "nft"]:
        version_and_status_answer_without_a_container,
        bad_input_is_told_by_its_number_and_changes_nothing,
    ]
}

fn version_and_status_answer_without_a_container() {
    let answer = call("VERSION", None, r#"{"cniVersion": "1.1.0"}"#);
    assert!(answer.success);
    assert_eq!(answer.value["cniVersion"], "1.1.0");
    let supported = answer.value["supportedVersions"].as_array().unwrap();
    for version in ["0.4.0", "1.0.0", "1.1.0"] {
        assert!(supported.contains(&json!(version)), "{supported:?}");
    }
    let definition = json!({"cniVersion": "1.1.0", "name": "pods", "type": "tapwire"});
    let status = call("STATUS", None, &definition.to_string());
    assert!(status.success, "{}", status.value);
    assert_eq!(status.value, Value::Null);
    // Under an owner whose tables are somebody else's it could not be served.
    run("nft", &["add", "table", "inet", "tapwire"]);
    let status = call("STATUS", None, &definition.to_string());
    assert!(!status.success);
    assert_eq!(status.value["code"], 50, "{}", status.value);
}

fn bad_input_is_told_by_its_number_and_changes_nothing() {
    let scene = Scene::new();
    let state = || scene.node(|| run("ip", &["-o", "link"]) + &run("nft", &["list", "ruleset"]));
    let before = state();
    let good = json!({"cniVersion": "1.1.0", "name": "pods", "type": "tapwire"});
    let with = |more: Value| {
        let mut definition = good.clone();
        let more = more.as_object().unwrap().clone();
        definition.as_object_mut().unwrap().extend(more);
        definition.to_string()
    };
    let place = &scene.place;
    let refused = |code: u32, answer: Answer| {
        assert!(!answer.success, "{}", answer.value);
        assert_eq!(answer.value["code"], code, "{}", answer.value);
        assert!(answer.value["msg"].is_string() && answer.value["cniVersion"].is_string());
        assert_eq!(state(), before, "{}", answer.value);
    };
    let add = |input: &str| scene.node(|| call("ADD", Some(place), input));
    refused(6, add("{"));
    refused(6, add(r#"{"cniVersion": "1.1.0"}"#));
    refused(6, add(&with(json!({"prevResult": "none"}))));
    refused(1, add(&with(json!({"cniVersion": "0.1.0"}))));
    refused(7, add(&with(json!({"name": ""}))));
    refused(7, add(&with(json!({"owner": "Not-One"}))));
    refused(7, add(&with(json!({"ipv4": "10.0.0.0/31"}))));
    refused(7, add(&with(json!({"runtimeConfig": {"mac": "02:00"}}))));
    refused(7, add(&with(json!({"runtimeConfig": {"ips": ["10.0.0"]}}))));
    refused(
        7,
        add(&with(json!({"runtimeConfig": {"ips": ["10.0.0.4/24"]}}))),
    );
    let previous = json!({
        "interfaces": [{"name": "eth0", "sandbox": place.netns}],
        "ips": [{"address": "10.0.0.5/24", "interface": 0}],
    });
    let mapped = |mapping: Value| {
        with(json!({"prevResult": previous, "runtimeConfig": {"portMappings": [mapping]}}))
    };
    refused(7, add(&mapped(json!({"hostPort": 0, "containerPort": 80}))));
    refused(
        7,
        add(&mapped(
            json!({"hostPort": 80, "containerPort": 80, "protocol": "icmp"}),
        )),
    );
    refused(
        7,
        add(&mapped(
            json!({"hostPort": 80, "containerPort": 80, "hostIP": "::1"}),
        )),
    );
    refused(
        7,
        add(&mapped(
            json!({"hostPort": 80, "containerPort": 80, "hostIP": "here"}),
        )),
    );
    // Nobody made the interface that the result speaks of.
    refused(100, add(&with(json!({"prevResult": previous}))));
    let elsewhere = |change: &dyn Fn(&mut Place)| {
        let mut place = Place::of(&scene.pod);
        change(&mut place);
        scene.node(|| call("ADD", Some(&place), &good.to_string()))
    };
    refused(4, elsewhere(&|place| place.container = ""));
    refused(4, elsewhere(&|place| place.container = "a/b"));
    refused(4, elsewhere(&|place| place.interface = ""));
    refused(
        4,
        elsewhere(&|place| place.interface = "an-interface-name-too-long"),
    );
    refused(
        4,
        elsewhere(&|place| "/etc/passwd".clone_into(&mut place.netns)),
    );
    refused(4, elsewhere(&|place| place.netns.clear()));
    refused(4, scene.node(|| call("ADD", None, &good.to_string())));
    refused(
        4,
        scene.node(|| call("EAT", Some(place), &good.to_string())),
    );
    refused(
        7,
        scene.node(|| call("CHECK", Some(place), &good.to_string())),
    );
    refused(7, scene.node(|| call("GC", None, &good.to_string())));
}
