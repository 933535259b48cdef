//! The plugin killed between any two steps, twice in a row.

use std::process::Command;

use libtest_mimic::Trial;
use serde_json::{Value, json};
use tapwire::sys::NetNs;

use super::network::{Network, Place, bridge, plugin};
use super::scene::Scene;
use crate::bridged::pod::{assert_same, inside, settled};
use crate::moments::{Moment, kill_program, moments_of_program};
use crate::support::{run, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["ip", "nft", "strace", "/usr/lib/cni/bridge", "/usr/lib/cni/host-local"]:
        killed_add_is_completed_by_the_next_or_deleted,
        killed_del_is_completed_by_the_next,
    ]
}

fn killed_add_is_completed_by_the_next_or_deleted() {
    let stage = Stage::new();
    let before = stage.state();
    let script = stage.script("ADD");
    let moments = stage.moments(&script);
    stage.delete();
    let calls: Vec<&str> = moments.iter().map(|moment| moment.call.as_str()).collect();
    assert!(calls.len() > 12, "{calls:#?}");
    for moment in &moments {
        // Twice in a row, then deleted; then once, and completed.
        stage.kill(&script, moment);
        stage.kill_if_it_gets_there(&script, moment);
        stage.delete();
        assert_same(&stage.state(), &before, &moment.call);
        stage.kill(&script, moment);
        let result = stage.add();
        stage.check(&result);
        stage.delete();
        assert_same(&stage.state(), &before, &moment.call);
    }
    stage.end();
}

fn killed_del_is_completed_by_the_next() {
    let stage = Stage::new();
    let before = stage.state();
    let script = stage.script("DEL");
    stage.add();
    for moment in &stage.moments(&script) {
        stage.add();
        stage.kill(&script, moment);
        stage.kill_if_it_gets_there(&script, moment);
        stage.delete();
        assert_same(&stage.state(), &before, &moment.call);
    }
    stage.end();
}

/// A pod that other plugins have made.
struct Stage {
    scene: Scene,
    network: Network,
    previous: Value,
}

impl Stage {
    fn new() -> Self {
        let scene = Scene::new();
        let runtime = json!({
            "portMappings": [{"hostPort": 8080, "containerPort": 80}],
            "bandwidth": {"ingressRate": 8_000_000},
        });
        let network = Network::new(&[bridge()], &json!({})).runtime(runtime);
        let previous = scene.node(|| network.add_before(&scene.place));
        let stage = Self {
            scene,
            network,
            previous,
        };
        // The tables stay when the last guest has gone.
        stage.add();
        stage.delete();
        stage
    }

    /// The plugin in its environment, as one program without arguments.
    fn script(&self, command: &str) -> std::path::PathBuf {
        let Place {
            container,
            interface,
            netns,
        } = &self.scene.place;
        let folder = &self.network.folder;
        let input = folder.join(format!("{command}.json"));
        std::fs::write(&input, self.network.input(Some(&self.previous))).unwrap();
        let script = folder.join(format!("{command}.sh"));
        let text = format!(
            "#!/bin/sh\nCNI_COMMAND={command} CNI_CONTAINERID={container} CNI_IFNAME={interface} \
             CNI_NETNS={netns} CNI_PATH=/usr/lib/cni exec {} < {}\n",
            plugin().display(),
            input.display()
        );
        std::fs::write(&script, text).unwrap();
        let chmod = Command::new("chmod")
            .arg("+x")
            .arg(&script)
            .status()
            .unwrap();
        assert!(chmod.success());
        script
    }

    fn moments(&self, script: &std::path::Path) -> Vec<Moment> {
        self.scene.node(|| moments_of_program(script, &[]))
    }

    fn kill(&self, script: &std::path::Path, moment: &Moment) {
        self.scene.node(|| kill_program(script, &[], moment));
    }

    /// What has less to do has fewer moments.
    fn kill_if_it_gets_there(&self, script: &std::path::Path, moment: &Moment) {
        self.scene
            .node(|| crate::moments::kill_or_run(script, &[], moment));
    }

    fn add(&self) -> Value {
        let place = &self.scene.place;
        let previous = Some(&self.previous);
        let answer = self
            .scene
            .node(|| self.network.ours("ADD", place, previous));
        assert!(answer.success, "{}", answer.value);
        answer.value
    }

    fn check(&self, result: &Value) {
        let place = &self.scene.place;
        self.scene
            .node(|| self.network.check(place, result))
            .unwrap();
    }

    fn delete(&self) {
        let place = &self.scene.place;
        let answer = self.scene.node(|| self.network.ours("DEL", place, None));
        assert!(answer.success, "{}", answer.value);
    }

    /// All that there is, but for files.
    fn state(&self) -> String {
        let files = std::fs::read_dir(self.network.folder.join("state"))
            .unwrap()
            .count();
        let pod: &NetNs = &self.scene.pod;
        let pod = inside(pod, || settled() + &run("nft", &["-s", "list", "ruleset"]));
        let node = self.scene.node(|| {
            let localnet = std::fs::read_to_string("/proc/sys/net/ipv4/conf/cni0/route_localnet");
            run("ip", &["-o", "link"])
                + &run("nft", &["-s", "list", "ruleset"])
                + &localnet.unwrap()
        });
        format!("{pod}{node}files: {files}\n")
    }

    fn end(&self) {
        let place = &self.scene.place;
        self.scene
            .node(|| self.network.delete(place, Some(&self.previous)));
    }
}
