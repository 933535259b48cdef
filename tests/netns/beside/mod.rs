//! Life beside other firewalls: what they break is told, and mended by the
//! shim, with real packets.

mod forward;
mod reload;
mod settings;
mod translation;

use libtest_mimic::Trial;
use tapwire::{Conflict, Host, Protocol};

use crate::stand_ins::guest::Guest as Vm;
use crate::support::run;
use crate::world::{FAMILIES, NEVER, NODE, SOON, World, ask, ask_from, at, exposure};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = forward::trials();
    trials.extend(reload::trials());
    trials.extend(settings::trials());
    trials.extend(translation::trials());
    trials
}

const PORT: u16 = 8080;

/// A node with a booted guest whose web server is exposed over both families.
struct Node {
    world: World,
    host: Host,
    vm: Vm,
}

impl Node {
    fn new() -> Self {
        let world = World::new();
        let mut host = world.host();
        let (guest, vm) = world.boot(&mut host, "hello-world");
        for family in FAMILIES {
            let web = exposure(Protocol::Tcp, PORT, &guest, family);
            host.expose(&web).unwrap();
        }
        Self { world, host, vm }
    }

    /// Runs a program on the node.
    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let work = || run(program, arguments);
        self.world.node.run(work).unwrap()
    }

    /// Runs a line of the shell on the node.
    fn sh(&self, line: &str) -> String {
        self.run("sh", &["-ec", line])
    }

    fn ruleset(&self) -> String {
        let listing = self.run("nft", &["list", "ruleset"]);
        let mut words = listing.split(' ').collect::<Vec<_>>();
        for place in 1..words.len() {
            if ["packets", "bytes"].contains(&words[place - 1]) {
                words[place] = "N";
            }
        }
        words.join(" ")
    }

    fn conflicts(&mut self) -> Vec<Conflict> {
        let wanted = self.host.exposures().unwrap();
        let wanted: Vec<_> = wanted.iter().map(|it| it.exposure().clone()).collect();
        self.host.conflicts(&wanted).unwrap()
    }

    /// Whether the exposed port answers the outside.
    fn exposed(&self, family: usize) -> bool {
        let patience = SOON;
        self.answers(family, patience)
    }

    /// Whether it stays silent.
    fn silent(&self, family: usize) -> bool {
        !self.answers(family, NEVER)
    }

    fn answers(&self, family: usize, patience: std::time::Duration) -> bool {
        let to = at(NODE[family], PORT);
        let answer = ask(&self.world.outside, Protocol::Tcp, to, patience);
        answer.is_some_and(|(name, _)| name == "hello-world")
    }

    /// Whether the guest gets an answer from a server outside.
    fn egress(&self, family: usize, patience: std::time::Duration) -> bool {
        let _server = World::server(&self.world.outside, family, 7000);
        let to = at(crate::world::OUTSIDE[family], 7000);
        ask_from(&self.vm, Protocol::Tcp, to, patience).is_some()
    }
}

/// The conflicts with chains at hook `forward`, each as the chain and whether
/// exposures and what guests open are concerned.
fn forward_drops(conflicts: &[Conflict]) -> Vec<(String, bool, bool)> {
    let drop = |conflict: &Conflict| match conflict {
        Conflict::ForwardDrop {
            chain,
            exposures,
            egress,
            ..
        } => Some((chain.to_string(), *exposures, *egress)),
        _ => None,
    };
    conflicts.iter().filter_map(drop).collect()
}
