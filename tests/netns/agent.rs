//! The example `riklet` as a program of its own: an agent that can be killed.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use tapwire::route::{Address, LinkChange, Rtnl};
use tapwire::sys::TapOptions;

use crate::world::{SOON, within};

/// Where `cargo test` puts examples: beside the folder of this program.
pub(crate) fn program() -> PathBuf {
    let program = env::current_exe().unwrap();
    let file = program.ancestors().nth(2).unwrap().join("examples/riklet");
    assert!(
        file.is_file(),
        "no {}: cargo build --examples",
        file.display()
    );
    file
}

/// Runs it in the calling thread's network namespace.
pub(crate) fn riklet(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).output().unwrap()
}

/// [`riklet`]; what it prints. Panics with its own words if it fails.
#[track_caller]
pub(crate) fn riklet_prints(arguments: &[&str]) -> String {
    let output = riklet(arguments);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "riklet {arguments:?}: {words}");
    String::from_utf8(output.stdout).unwrap()
}

/// [`riklet`], which must fail in order; what it says then.
#[track_caller]
pub(crate) fn riklet_refuses(arguments: &[&str]) -> String {
    let output = riklet(arguments);
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {words}");
    assert!(output.stdout.is_empty(), "{arguments:?} printed something");
    words.trim_end().to_owned()
}

/// Gives the calling thread's network namespace an uplink, without a cable so
/// that nothing happens on it.
pub(crate) fn add_uplink() {
    let tap = TapOptions::new("eth0".parse().unwrap())
        .mac("02:00:00:00:00:01".parse().unwrap())
        .no_carrier()
        .persistent();
    let index = tap.create().unwrap().index().unwrap();
    let change = |rtnl: &mut Rtnl| {
        rtnl.apply(|changes| {
            changes.set_link(&LinkChange::new(index).up());
            for net in ["203.0.113.1/24", "2001:db8::1/64"] {
                changes.add_address(&Address::new(index, net.parse().unwrap()).without_dad());
            }
        })
    };
    let mut rtnl = Rtnl::open().unwrap();
    change(&mut rtnl).unwrap();
    // The kernel finishes IPv6 addresses in its own time.
    let own = "2001:db8::1".parse().unwrap();
    let is_there = |rtnl: &mut Rtnl| {
        let route = rtnl.route_to(own).unwrap();
        route.filter(|route| route.destination().prefix_len() == 128)
    };
    within(SOON, |_| is_there(&mut rtnl)).expect("an address of its own");
}

/// A file that is gone when it is dropped.
pub(crate) struct File(PathBuf);

impl File {
    /// Holds `text`; its name ends with `name`.
    pub(crate) fn new(name: &str, text: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tapwire-{}-{count}-{name}", std::process::id());
        let path = env::temp_dir().join(name);
        fs::write(&path, text).unwrap();
        Self(path)
    }

    /// The definition of a function that answers on its port 80, exposed
    /// on these ports of the node, over TCP and UDP.
    pub(crate) fn workload(name: &str, ports: &[u16]) -> Self {
        let exposures: Vec<_> = ports
            .iter()
            .flat_map(|port| ["TCP", "UDP"].map(|protocol| (port, protocol)))
            .map(|(port, protocol)| {
                format!(
                    r#"{{"port":{port},"targetPort":80,"type":"NodePort","protocol":"{protocol}"}}"#
                )
            })
            .collect();
        let exposures = exposures.join(",");
        Self::new(
            &format!("{name}.json"),
            &format!(
                r#"{{"apiVersion":"v0","kind":"Function","name":"{name}","spec":{{"function":{{
                    "execution":{{"rootfs":"https://rootfs.example/{name}.ext4"}},"exposure":[{exposures}]}}}}}}"#
            ),
        )
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}
