//! What the example `riklet` does on a node of its own.

use libtest_mimic::Trial;

use crate::agent::{File, add_uplink, riklet_prints, riklet_refuses};
use crate::snapshot::Snapshot;
use crate::support::trials;

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["nft", "ip"]:
        up_twice_prints_the_same_and_changes_nothing,
        up_with_other_ports_changes_the_ports,
        up_with_a_port_of_another_function_names_it_and_changes_nothing,
        list_shows_functions_and_changes_nothing,
        down_takes_away_one_function,
        down_of_an_unknown_function_names_it,
        down_of_all_leaves_nothing,
    ]
}

fn up_twice_prints_the_same_and_changes_nothing() {
    add_uplink();
    let (one, two) = (workload("one", 8080), workload("two", 8081));
    let up = ["up", one.path(), two.path()];
    let printed = riklet_prints(&up);
    for word in ["riklet-0", "riklet-1", "198.18.0.6", "tcp 8080", "udp 8081"] {
        assert!(printed.contains(word), "no {word} in\n{printed}");
    }
    let state = Snapshot::take();
    assert_eq!(riklet_prints(&up), printed);
    state.assert_same(&Snapshot::take(), "up again");
}

fn up_with_other_ports_changes_the_ports() {
    add_uplink();
    riklet_prints(&["up", File::workload("one", &[8080, 8081]).path()]);
    let changed = File::workload("one", &[8081, 8082]);
    riklet_prints(&["up", changed.path()]);
    let state = Snapshot::take();
    let list = riklet_prints(&["list"]);
    for (port, is_open) in [("8080", false), ("8081", true), ("8082", true)] {
        assert_eq!(list.contains(port), is_open, "{port} in\n{list}");
    }
    riklet_prints(&["down", "--all"]);
    riklet_prints(&["up", changed.path()]);
    Snapshot::take().assert_same(&state, "up with these ports from the start");
}

fn up_with_a_port_of_another_function_names_it_and_changes_nothing() {
    add_uplink();
    riklet_prints(&["up", workload("first", 8080).path()]);
    let state = Snapshot::take();
    let second = File::workload("second", &[8081, 8080]);
    assert_eq!(
        riklet_refuses(&["up", second.path()]),
        "error: tcp/8080->198.18.0.6:80 clashes with tcp/8080->198.18.0.2:80 of guest first"
    );
    state.assert_same(&Snapshot::take(), "the port is taken");
}

fn list_shows_functions_and_changes_nothing() {
    add_uplink();
    let empty = Snapshot::take();
    assert_eq!(riklet_prints(&["list"]), "no function is up\n");
    empty.assert_same(&Snapshot::take(), "list of nothing");
    riklet_prints(&["up", workload("hello-world", 8080).path()]);
    let state = Snapshot::take();
    let list = riklet_prints(&["list"]);
    for word in ["hello-world", "riklet-0", "198.18.0.2", "tcp/8080 → 80"] {
        assert!(list.contains(word), "no {word} in\n{list}");
    }
    state.assert_same(&Snapshot::take(), "list");
}

fn down_takes_away_one_function() {
    add_uplink();
    riklet_prints(&["up", workload("stays", 8080).path()]);
    let state = Snapshot::take();
    riklet_prints(&["up", workload("goes", 8081).path()]);
    assert_eq!(riklet_prints(&["down", "goes"]), "goes is down\n");
    state.assert_same(&Snapshot::take(), "down");
}

fn down_of_an_unknown_function_names_it() {
    add_uplink();
    let unknown = "error: no function named other";
    let empty = Snapshot::take();
    assert_eq!(riklet_refuses(&["down", "other"]), unknown);
    empty.assert_same(&Snapshot::take(), "nothing is up");
    riklet_prints(&["up", workload("hello-world", 8080).path()]);
    let state = Snapshot::take();
    assert_eq!(riklet_refuses(&["down", "other"]), unknown);
    state.assert_same(&Snapshot::take(), "another is up");
}

fn down_of_all_leaves_nothing() {
    add_uplink();
    let empty = Snapshot::take();
    riklet_prints(&["up", workload("a", 1).path(), workload("b", 2).path()]);
    let goodbye = "a is down\nb is down\nnothing of riklet is left\n";
    assert_eq!(riklet_prints(&["down", "--all"]), goodbye);
    empty.assert_same(&Snapshot::take(), "down");
    assert_eq!(
        riklet_prints(&["down", "--all"]),
        "nothing of riklet is left\n"
    );
}

fn workload(name: &str, port: u16) -> File {
    File::workload(name, &[port])
}
