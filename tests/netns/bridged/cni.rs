//! What CNI's plugins verify of a pod whose place a guest has taken; they are
//! run by the public contract, environment and standard input.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tapwire::bridged::{BridgePlan, PodInterface};
use tapwire::sys::NetNs;

use super::pod::{eth0, inside, ip};
use crate::support::trials;

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["ip", "/usr/lib/cni/bridge", "/usr/lib/cni/ptp", "/usr/lib/cni/host-local"]:
        check_of_plugin_bridge_finds_what_add_made,
        check_of_plugin_ptp_finds_what_add_made,
    ]
}

/// N8.
fn check_of_plugin_bridge_finds_what_add_made() {
    play("bridge", &json!({"bridge": "cni0", "isGateway": true}));
}

/// N8.
fn check_of_plugin_ptp_finds_what_add_made() {
    play("ptp", &json!({}));
}

fn play(plugin: &'static str, more: &Value) {
    let pod = NetNs::new().unwrap();
    let network = Network::new(plugin, more, &pod);
    let added = network.call("ADD", None);
    assert!(added.status.success(), "{}", words(&added));
    let result: Value = serde_json::from_slice(&added.stdout).unwrap();
    let check = || network.call("CHECK", Some(&result));
    let passes = |when: &str| {
        let output = check();
        assert!(output.status.success(), "{when}: {}", words(&output));
    };
    passes("the pod");
    let bridged = inside(&pod, || {
        let pod = PodInterface::read(eth0()).unwrap();
        BridgePlan::new(pod).take_over().unwrap()
    });
    let address = result["ips"][0]["address"].as_str().unwrap();
    let told = bridged.config().addresses()[0];
    let own = address.split('/').next().unwrap();
    assert_eq!(told.addr().to_string(), own);
    // `ptp` has others of the subnet reached by way of the node.
    let alone = told.prefix_len() == 32;
    assert_eq!(alone, plugin == "ptp", "{told}");
    passes("the guest in its place");
    inside(&pod, || bridged.undo().unwrap());
    passes("the pod again");
    // And it does look.
    inside(&pod, || ip(&format!("address delete {address} dev eth0")));
    assert!(!check().status.success(), "{plugin} does not look");
    let deleted = network.call("DEL", Some(&result));
    assert!(deleted.status.success(), "{}", words(&deleted));
}

/// A network's definition, and a pod in it.
struct Network {
    plugin: &'static str,
    definition: Value,
    netns: String,
    data: PathBuf,
}

impl Network {
    fn new(plugin: &'static str, more: &Value, pod: &NetNs) -> Self {
        let fd = pod.as_fd().as_raw_fd();
        let process = std::process::id();
        let data = std::env::temp_dir().join(format!("tapwire-{process}-cni-{plugin}"));
        let mut definition = json!({
            "cniVersion": "1.0.0",
            "name": "pods",
            "type": plugin,
            "mtu": 1450,
            "ipam": {
                "type": "host-local",
                "dataDir": data,
                "ranges": [[{"subnet": "10.244.3.0/24"}], [{"subnet": "fd00:244:3::/64"}]],
                "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
            },
        });
        let more = more.as_object().unwrap();
        definition.as_object_mut().unwrap().extend(more.clone());
        Self {
            plugin,
            definition,
            netns: format!("/proc/{process}/fd/{fd}"),
            data,
        }
    }

    fn call(&self, command: &str, previous: Option<&Value>) -> Output {
        let mut definition = self.definition.clone();
        if let Some(previous) = previous {
            definition["prevResult"] = previous.clone();
        }
        let mut child = Command::new(format!("/usr/lib/cni/{}", self.plugin))
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", "web-0")
            .env("CNI_NETNS", &self.netns)
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", "/usr/lib/cni")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        serde_json::to_writer(child.stdin.take().unwrap(), &definition).unwrap();
        child.wait_with_output().unwrap()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.data));
    }
}

/// Plugins explain themselves on standard output.
fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
