//! Flows of many exposures end together: what it costs does not depend on how
//! many there are.

use std::fs;
use std::process::Command;

use libtest_mimic::Trial;
use tapwire::{Guest, Protocol, Service};

use crate::agent::File;
use crate::planner;
use crate::stand_ins::client::Connection;
use crate::support::trials;
use crate::world::{NEVER, NODE, PROTOCOLS, SOON, World, ask, ask_from, at, gateway_of};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = trials![needs ["strace"]:
        flows_of_many_exposures_are_looked_for_as_often_as_of_one,
    ];
    trials.extend(trials![flows_of_many_services_end_when_they_are_revoked,]);
    trials
}

/// Asks in conversations with conntrack that the agent has while it commits.
fn questions(world: &World, arguments: &[&str]) -> usize {
    let log = File::new("strace", "");
    let trace = || {
        let output = Command::new("strace")
            .args(["-f", "-e", "signal=none", "-e", "trace=sendto,sendmsg"])
            .args(["-o", log.path()])
            .arg(planner::program())
            .args(arguments)
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words}");
    };
    world.node.run(trace).unwrap();
    let log = fs::read_to_string(log.path()).unwrap();
    let lines = log
        .lines()
        .filter(|line| line.contains("IPCTNL_MSG_CT_GET"));
    lines.count()
}

/// Some are moved and some are withdrawn, and the connections of both end.
fn flows_of_many_exposures_are_looked_for_as_often_as_of_one() {
    let counts = [2, 200].map(|count: u16| {
        let world = World::new();
        let ports = 8000..8000 + count;
        let words = |target: fn(u16) -> Option<&'static str>| {
            let mut words = vec!["apply".to_owned(), "one".into(), "other".into()];
            for port in ports.clone() {
                for protocol in ["tcp", "udp"] {
                    let target = target(port);
                    words.extend(target.map(|guest| format!("{protocol}/{port}->{guest}:80")));
                }
            }
            words
        };
        let run = |words: &[String]| {
            let mut arguments = planner::arguments([]);
            arguments.extend(words.iter().map(String::as_str));
            questions(&world, &arguments)
        };
        run(&words(|_| Some("one")));
        let mut host = world.host();
        let guests = host.guests().unwrap();
        let _vms: Vec<_> = guests.iter().map(|guest| world.start(guest)).collect();
        let connect = |port| {
            let open = || Connection::open(at(NODE[0], port), SOON).unwrap();
            let mut connection = world.outside.run(open).unwrap();
            connection.get("/").unwrap();
            connection
        };
        let ends = [8000, 8001].map(|port| (connect(port), port));
        let asked = run(&words(|port| (port % 2 == 0).then_some("other")));
        for (mut connection, port) in ends {
            assert!(connection.get("/").is_err(), "the connection to {port}");
            for protocol in PROTOCOLS {
                let to = at(NODE[0], port);
                let answer = ask(
                    &world.outside,
                    protocol,
                    to,
                    [SOON, NEVER][usize::from(port % 2)],
                );
                let leads = answer.map(|(name, _)| name);
                match (protocol, port) {
                    (Protocol::Tcp, 8000) => assert_eq!(leads.as_deref(), Some("other")),
                    (_, 8000) => assert!(leads.is_some()),
                    _ => assert_eq!(leads, None),
                }
            }
        }
        host.remove().unwrap();
        asked
    });
    assert_eq!(
        counts[0], counts[1],
        "for 2 ports of each protocol and for 200"
    );
    assert!(counts[0] <= 6, "{counts:?}");
}

/// Each port would be two questions to the kernel if it were asked for by
/// itself, and each question is a walk through all flows of the machine.
fn flows_of_many_services_end_when_they_are_revoked() {
    let world = World::new();
    let mut host = world.host();
    let guest = || Guest::new("web").unwrap();
    let granted = (8000..9000).fold(guest(), |guest, port| {
        guest.service(Service::new(Protocol::Udp, port).unwrap())
    });
    let (attached, vm) = world.boot_as(&mut host, &granted);
    let _server = World::server(&world.node, 0, 8080);
    let to = (gateway_of(&attached, 0), 8080).into();
    assert!(ask_from(&vm, Protocol::Udp, to, SOON).is_some());
    host.attach(&guest()).unwrap();
    assert_eq!(ask_from(&vm, Protocol::Udp, to, NEVER), None);
    host.remove().unwrap();
}
