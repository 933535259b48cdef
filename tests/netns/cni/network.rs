//! Networks of CNI: plugins run by the public contract, environment and
//! standard input.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use tapwire::sys::NetNs;

/// Where `cargo test` puts the example: beside the folder of this program.
pub(crate) fn plugin() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let file = program.ancestors().nth(2).unwrap().join("examples/cni");
    assert!(
        file.exists(),
        "no {}: cargo build --examples",
        file.display()
    );
    file
}

/// A list of plugins, called one after the other as a runtime does it.
pub(crate) struct Network {
    name: String,
    plugins: Vec<Value>,
    runtime: Value,
    pub(crate) folder: PathBuf,
}

/// One attachment's place.
pub(crate) struct Place {
    pub(crate) container: &'static str,
    pub(crate) interface: &'static str,
    /// Its namespace's path.
    pub(crate) netns: String,
}

/// What a plugin answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) success: bool,
    pub(crate) value: Value,
}

impl Place {
    pub(crate) fn of(netns: &NetNs) -> Self {
        let fd = netns.as_fd().as_raw_fd();
        Self {
            container: "web-0",
            interface: "eth0",
            netns: format!("/proc/{}/fd/{fd}", std::process::id()),
        }
    }
}

impl Network {
    /// The plugins before ours, and ours with `more`; in a folder of its own.
    pub(crate) fn new(before: &[Value], more: &Value) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let folder = std::env::temp_dir().join(format!("tapwire-{process}-cni-{number}"));
        fs::create_dir_all(&folder).unwrap();
        let mut ours = json!({"type": "tapwire", "stateDir": folder.join("state")});
        merge(&mut ours, more);
        let mut plugins = before.to_vec();
        for plugin in &mut plugins {
            if plugin.get("ipam").is_some() {
                plugin["ipam"]["dataDir"] = json!(folder.join("ipam"));
            }
        }
        plugins.push(ours);
        Self {
            name: "pods".to_owned(),
            plugins,
            runtime: json!({}),
            folder,
        }
    }

    /// With another plugin in the place of ours, which is the last.
    pub(crate) fn last(mut self, plugin: Value) -> Self {
        self.plugins.pop();
        self.plugins.push(plugin);
        self
    }

    /// Under another name.
    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// With what the runtime says.
    pub(crate) fn runtime(mut self, runtime: Value) -> Self {
        self.runtime = runtime;
        self
    }

    /// ADD: every plugin with the result of the one before.
    pub(crate) fn add(&self, place: &Place) -> Value {
        let mut result = None;
        for plugin in &self.plugins {
            let answer = self.call(plugin, "ADD", place, result.as_ref());
            assert!(answer.success, "{plugin}: {}", answer.value);
            result = Some(answer.value);
        }
        result.unwrap()
    }

    /// ADD of all but the last.
    pub(crate) fn add_before(&self, place: &Place) -> Value {
        let (_, before) = self.plugins.split_last().unwrap();
        let mut result = None;
        for plugin in before {
            let answer = self.call(plugin, "ADD", place, result.as_ref());
            assert!(answer.success, "{plugin}: {}", answer.value);
            result = Some(answer.value);
        }
        result.unwrap()
    }

    /// CHECK of all; the first failure.
    pub(crate) fn check(&self, place: &Place, result: &Value) -> Result<(), Value> {
        for plugin in &self.plugins {
            let answer = self.call(plugin, "CHECK", place, Some(result));
            if !answer.success {
                return Err(answer.value);
            }
        }
        Ok(())
    }

    /// DEL, the last first.
    pub(crate) fn delete(&self, place: &Place, result: Option<&Value>) {
        for plugin in self.plugins.iter().rev() {
            let answer = self.call(plugin, "DEL", place, result);
            assert!(answer.success, "{plugin}: {}", answer.value);
        }
    }

    /// Calls the last plugin.
    pub(crate) fn ours(&self, command: &str, place: &Place, result: Option<&Value>) -> Answer {
        self.call(self.plugins.last().unwrap(), command, place, result)
    }

    /// What our plugin is told on its standard input.
    pub(crate) fn input(&self, result: Option<&Value>) -> String {
        self.definition(self.plugins.last().unwrap(), result)
            .to_string()
    }

    fn definition(&self, plugin: &Value, previous: Option<&Value>) -> Value {
        let mut definition = plugin.clone();
        merge(
            &mut definition,
            &json!({"cniVersion": "1.0.0", "name": self.name}),
        );
        if self.runtime != json!({}) {
            definition["runtimeConfig"] = self.runtime.clone();
        }
        if let Some(previous) = previous {
            definition["prevResult"] = previous.clone();
        }
        definition
    }

    fn call(
        &self,
        plugin: &Value,
        command: &str,
        place: &Place,
        previous: Option<&Value>,
    ) -> Answer {
        let program = match plugin["type"].as_str().unwrap() {
            "tapwire" => self::plugin(),
            other => PathBuf::from("/usr/lib/cni").join(other),
        };
        let definition = self.definition(plugin, previous).to_string();
        call_program(program, command, Some(place), &definition)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Calls our plugin with any input.
pub(crate) fn call(command: &str, place: Option<&Place>, input: &str) -> Answer {
    call_program(plugin(), command, place, input)
}

fn call_program(program: PathBuf, command: &str, place: Option<&Place>, input: &str) -> Answer {
    let mut program = Command::new(program);
    program.env("CNI_COMMAND", command);
    if let Some(place) = place {
        environment(&mut program, place);
    }
    let mut child = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, input.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let value = if output.stdout.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&output.stdout).unwrap()
    };
    Answer {
        success: output.status.success(),
        value,
    }
}

fn environment(program: &mut Command, place: &Place) {
    program
        .env("CNI_CONTAINERID", place.container)
        .env("CNI_NETNS", &place.netns)
        .env("CNI_IFNAME", place.interface)
        .env("CNI_PATH", "/usr/lib/cni");
}

/// The plugin `bridge` with `host-local`, in both families.
pub(crate) fn bridge() -> Value {
    json!({
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": true,
        "hairpinMode": true,
        "mtu": 1450,
        "capabilities": {"mac": true},
        "ipam": ipam(),
    })
}

/// The plugin `ptp`, likewise.
pub(crate) fn ptp() -> Value {
    json!({"type": "ptp", "mtu": 1450, "ipam": ipam()})
}

fn ipam() -> Value {
    json!({
        "type": "host-local",
        "ranges": [[{"subnet": "10.244.3.0/24"}], [{"subnet": "fd00:244:3::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
    })
}

fn merge(into: &mut Value, more: &Value) {
    let more = more.as_object().unwrap().clone();
    into.as_object_mut().unwrap().extend(more);
}
