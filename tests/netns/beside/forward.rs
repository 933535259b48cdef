//! Chains of others that drop what is forwarded.

use libtest_mimic::Trial;
use tapwire::nft::{Batch, Chain, ChainType, Family, Hook, Name, Nft, Policy, Table, TableFlags};
use tapwire::{Conflict, Guest, Wanted};

use super::{Node, forward_drops};
use crate::support::{feed, trials};
use crate::world::{FAMILIES, NEVER, SOON};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = trials![needs ["nft", "iptables-nft"]:
        docker_drops_guests_until_the_shim_stands_in_docker_user,
        final_reject_is_named_and_passed_by_the_shim,
        iptables_restore_and_flush_leave_exposures_alone,
        shim_is_put_once_and_goes_with_the_host,
        shim_is_planned_only_where_it_is_wanted,
        shim_is_no_hole,
        shim_goes_to_the_head_where_docker_user_comes_too_late,
    ];
    trials.extend(
        trials![needs ["nft", "iptables-legacy", "ip6tables-legacy"]:
            legacy_policy_and_rules_are_read,
            legacy_tables_are_not_made_by_looking,
        ],
    );
    trials.extend(trials![needs ["nft", "ufw", "iptables-nft", "unshare"]:
        ufw_drops_guests_until_the_shim_stands,
    ]);
    trials.extend(trials![needs ["nft", "firewalld", "dbus-daemon"]:
        firewalld_lets_exposures_through_and_stops_what_guests_open,
    ]);
    trials.extend(trials![needs ["nft"]:
        chain_that_accepts_guests_is_no_conflict,
        table_that_a_program_owns_is_told_and_left_alone,
    ]);
    trials
}

/// What dockerd 20 to 28 puts into `FORWARD`, on a host with one network, as
/// `iptables -S` prints it.
pub(super) const DOCKER: &str = "
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -j RETURN
COMMIT
";

pub(super) fn restore(node: &Node, program: &str, rules: &str) {
    let work = || feed(program, &[], rules);
    node.world.node.run(work).unwrap();
}

fn docker_drops_guests_until_the_shim_stands_in_docker_user() {
    let mut node = Node::new();
    assert!(node.exposed(0) && node.exposed(1));
    assert_eq!(node.conflicts(), []);
    restore(&node, "iptables-nft-restore", DOCKER);
    restore(
        &node,
        "ip6tables-nft-restore",
        "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n",
    );
    let before = node.ruleset();
    assert!(node.silent(0) && node.silent(1));
    let conflicts = node.conflicts();
    assert_eq!(
        forward_drops(&conflicts),
        [
            ("chain ip filter FORWARD".to_owned(), true, true),
            ("chain ip6 filter FORWARD".to_owned(), true, true)
        ]
    );
    assert_eq!(
        conflicts[0].to_string(),
        "policy drop of chain ip filter FORWARD drops connections to exposed ports and those that guests open"
    );
    assert_eq!(conflicts.len(), 2, "{conflicts:#?}");
    assert_eq!(node.host.add_shim().unwrap(), []);
    assert_eq!(node.conflicts(), []);
    for family in FAMILIES {
        assert!(node.exposed(family), "exposure {family}");
        assert!(node.egress(family, SOON), "egress {family}");
    }
    let listed = node.run("iptables-nft", &["-S"]);
    for rule in [
        "-A DOCKER-USER -i riklet-+ -m comment --comment \"shim of riklet\" -j ACCEPT",
        "-A DOCKER-USER -o riklet-+ -m comment --comment \"shim of riklet\" -j ACCEPT",
    ] {
        assert!(listed.contains(rule), "{listed}");
    }
    assert!(
        node.run("ip6tables-nft", &["-S"])
            .contains("-A FORWARD -i riklet-+")
    );
    node.host.remove_shim().unwrap();
    assert_eq!(node.ruleset(), before);
    assert!(node.silent(0) && node.silent(1));
}

/// As on RHEL with `iptables-services`.
fn final_reject_is_named_and_passed_by_the_shim() {
    let mut node = Node::new();
    node.sh("iptables-nft -A FORWARD -j REJECT --reject-with icmp-host-prohibited");
    assert!(node.silent(0) && node.exposed(1));
    let conflicts = node.conflicts();
    let [
        conflict @ Conflict::ForwardDrop {
            rule: Some(rule), ..
        },
    ] = conflicts.as_slice()
    else {
        panic!("{conflicts:#?}");
    };
    assert_eq!((rule.chain(), rule.number()), ("FORWARD", 1));
    let listed = node.run("nft", &["-a", "list", "chain", "ip", "filter", "FORWARD"]);
    let handle = format!("# handle {}", rule.handle().unwrap());
    assert!(listed.contains(&handle), "{conflict}\n{listed}");
    assert_eq!(node.host.add_shim().unwrap(), []);
    assert!(node.exposed(0));
}

fn iptables_restore_and_flush_leave_exposures_alone() {
    let mut node = Node::new();
    restore(&node, "iptables-nft-restore", DOCKER);
    node.host.add_shim().unwrap();
    assert!(node.exposed(0));
    // Docker starts again: the shim goes with the chain, and is missed.
    restore(&node, "iptables-nft-restore", DOCKER);
    assert_eq!(forward_drops(&node.conflicts()).len(), 1);
    assert_eq!(node.host.add_shim().unwrap(), []);
    assert!(node.exposed(0));
    for table in node.run("nft", &["list", "tables"]).lines() {
        if !table.ends_with(" riklet") {
            node.sh(&format!("nft flush {table}; nft delete {table}"));
        }
    }
    assert_eq!(node.conflicts(), []);
    assert!(node.exposed(0) && node.exposed(1));
    assert_eq!(node.host.exposures().unwrap().len(), 2);
}

fn shim_is_put_once_and_goes_with_the_host() {
    let mut node = Node::new();
    restore(&node, "iptables-nft-restore", DOCKER);
    let before = node.run("iptables-nft", &["-S"]);
    node.host.add_shim().unwrap();
    let once = node.run("iptables-nft", &["-S"]);
    node.host.add_shim().unwrap();
    assert_eq!(node.run("iptables-nft", &["-S"]), once);
    assert_eq!(once.lines().count(), before.lines().count() + 2);
    // One that came to stand behind a drop is put in front of it.
    node.sh("iptables-nft -I DOCKER-USER -j DROP");
    assert_eq!(forward_drops(&node.conflicts()).len(), 1);
    assert_eq!(node.host.add_shim().unwrap(), []);
    assert!(node.exposed(0));
    node.sh("iptables-nft -D DOCKER-USER -j DROP");
    let Node { world, host, vm } = node;
    drop(vm);
    host.remove().unwrap();
    let after = world
        .node
        .run(|| crate::support::run("iptables-nft", &["-S"]));
    assert_eq!(after.unwrap(), before);
}

/// A plan that says nothing of the shim leaves it as it is, there or not.
fn shim_is_planned_only_where_it_is_wanted() {
    let mut node = Node::new();
    let mut wanted = Wanted::new().guest(Guest::new("hello-world").unwrap());
    let exposed = node.host.exposures().unwrap();
    wanted.extend(exposed.iter().map(|one| one.exposure().clone()));
    restore(&node, "iptables-nft-restore", DOCKER);
    let bare = node.ruleset();
    node.host.apply(&wanted).unwrap();
    assert_eq!(node.ruleset(), bare);
    let plan = node.host.plan(&wanted.clone().shim()).unwrap();
    assert_eq!(
        plan.to_string(),
        "+ shim in ip filter DOCKER-USER (drops what is forwarded)\n"
    );
    assert!(node.silent(0));
    node.host.commit(&plan).unwrap();
    assert!(node.exposed(0) && node.egress(0, SOON));
    let with_shim = node.ruleset();
    for wanted in [wanted.clone().shim(), wanted, Wanted::new()] {
        node.host.apply(&wanted).unwrap();
        assert!(node.host.plan(&wanted).unwrap().is_empty());
    }
    assert_eq!(
        node.ruleset().matches("shim of riklet").count(),
        2,
        "{with_shim}"
    );
    node.host.remove_shim().unwrap();
    assert!(!node.ruleset().contains("shim of riklet"));
}

/// What the shim accepts in their chain, ours still drops.
fn shim_is_no_hole() {
    let mut node = Node::new();
    restore(&node, "iptables-nft-restore", DOCKER);
    node.host.add_shim().unwrap();
    let other = node.host.attach(&Guest::new("other").unwrap()).unwrap();
    let _other = node.world.start(&other);
    let direct = crate::world::at(&other.ipv4().to_string(), crate::world::GUEST_PORT);
    node.world
        .outside
        .run(|| {
            let via = [
                "route",
                "add",
                "198.18.0.0/15",
                "via",
                crate::world::NODE[0],
            ];
            crate::support::run("ip", &via)
        })
        .unwrap();
    let protocol = tapwire::Protocol::Tcp;
    let ask = |patience| crate::world::ask(&node.world.outside, protocol, direct, patience);
    assert_eq!(ask(NEVER), None, "routed to the guest");
    let from_guest = crate::world::ask_from(&node.vm, protocol, direct, NEVER);
    assert_eq!(from_guest, None, "from a guest to another");
    // The way is there: without our own chain the packets would arrive.
    node.sh("nft flush chain inet riklet forward");
    assert!(ask(SOON).is_some());
}

fn legacy_policy_and_rules_are_read() {
    let mut node = Node::new();
    node.sh("iptables-legacy -P FORWARD DROP");
    assert!(node.silent(0));
    let by_policy = node.conflicts();
    assert_eq!(
        forward_drops(&by_policy),
        [(
            "chain FORWARD of table filter of iptables-legacy".to_owned(),
            true,
            true
        )]
    );
    // No shim can be put there, and the remedy says what can.
    assert_eq!(node.host.add_shim().unwrap(), by_policy);
    for command in by_policy[0].remedy().replace("OWNER", "riklet").split("; ") {
        node.sh(command);
    }
    assert_eq!(node.conflicts(), []);
    assert!(node.exposed(0) && node.egress(0, SOON));
    // Behind a goto the policy comes next, not the rule that accepts.
    node.sh(
        "iptables-legacy -N others; iptables-legacy -I FORWARD -i eth0 -g others
         iptables-legacy -A others -p udp -j ACCEPT
         iptables-legacy -A others -m conntrack --ctstate ESTABLISHED -j ACCEPT",
    );
    assert!(node.silent(0));
    let conflicts = node.conflicts();
    assert!(
        matches!(
            conflicts.as_slice(),
            [Conflict::ForwardDrop {
                rule: None,
                exposures: true,
                egress: false,
                ..
            }]
        ),
        "{conflicts:#?}"
    );
    node.sh("iptables-legacy -A others ! -i docker+ -j REJECT");
    let conflicts = node.conflicts();
    let [
        Conflict::ForwardDrop {
            rule: Some(rule),
            exposures: true,
            egress: false,
            ..
        },
    ] = conflicts.as_slice()
    else {
        panic!("{conflicts:#?}");
    };
    assert_eq!((rule.chain(), rule.number()), ("others", 3));
    assert_eq!(rule.text(), "! -i docker+ -j REJECT");
    node.sh("iptables-legacy -F; ip6tables-legacy -A FORWARD -o riklet-+ -p tcp --syn -j DROP");
    node.sh("iptables-legacy -P FORWARD ACCEPT");
    assert!(node.exposed(0) && node.silent(1));
    let conflicts = node.conflicts();
    assert_eq!(
        conflicts[0].to_string(),
        "rule `-o riklet-+ -p 6 -m tcp -j DROP` (number 1 of FORWARD) of chain FORWARD of table filter of ip6tables-legacy drops connections to exposed ports"
    );
}

fn legacy_tables_are_not_made_by_looking() {
    let mut node = Node::new();
    node.conflicts();
    let names = "cat /proc/thread-self/net/ip_tables_names /proc/thread-self/net/ip6_tables_names";
    assert_eq!(node.sh(names), "");
}

/// The rules of Debian's package, switched on as `ufw enable` does.
fn ufw_drops_guests_until_the_shim_stands() {
    let mut node = Node::new();
    node.sh(UFW);
    assert!(node.silent(0) && node.silent(1));
    let conflicts = node.conflicts();
    assert_eq!(
        forward_drops(&conflicts),
        [
            ("chain ip filter FORWARD".to_owned(), true, true),
            ("chain ip6 filter FORWARD".to_owned(), true, true)
        ]
    );
    assert_eq!(conflicts.len(), 2, "{conflicts:#?}");
    let before = node.ruleset();
    assert_eq!(node.host.add_shim().unwrap(), []);
    for family in FAMILIES {
        assert!(
            node.exposed(family) && node.egress(family, SOON),
            "{family}"
        );
    }
    assert!(
        node.run("iptables-nft", &["-S", "FORWARD"])
            .contains("-i riklet-+")
    );
    node.host.remove_shim().unwrap();
    assert_eq!(node.ruleset(), before);
    assert!(node.silent(0));
}

/// The settings say that it is enabled, in a mount namespace of their own.
pub(super) const UFW: &str = "exec unshare -m --propagation private sh -ec '
    mount -t tmpfs tmpfs /mnt
    cp -r /etc/ufw /mnt/ufw
    sed -i s/ENABLED=no/ENABLED=yes/ /mnt/ufw/ufw.conf
    mount --bind /mnt/ufw /etc/ufw
    /lib/ufw/ufw-init force-reload
'";

/// The real program, over a bus of its own.
fn firewalld_lets_exposures_through_and_stops_what_guests_open() {
    let mut node = Node::new();
    node.sh(FIREWALLD);
    assert!(
        node.run("nft", &["list", "tables"])
            .contains("inet firewalld")
    );
    // It accepts what is translated (`ct status dnat accept`).
    assert!(node.exposed(0) && node.exposed(1));
    assert!(!node.egress(0, NEVER) && !node.egress(1, NEVER));
    let conflicts = node.conflicts();
    let [
        conflict @ Conflict::ForwardDrop {
            chain,
            rule: Some(rule),
            exposures: false,
            egress: true,
            ..
        },
    ] = conflicts.as_slice()
    else {
        panic!("{conflicts:#?}");
    };
    assert_eq!(
        (chain.table(), chain.name()),
        ("firewalld", "filter_FORWARD")
    );
    assert_eq!(
        rule.text(),
        "reject with icmpx admin-prohibited",
        "{conflict}"
    );
    let before = node.ruleset();
    assert_eq!(node.host.add_shim().unwrap(), []);
    for family in FAMILIES {
        assert!(
            node.exposed(family) && node.egress(family, SOON),
            "{family}"
        );
    }
    // A reload takes its table, the shim with it, and nothing of ours.
    node.sh(FIREWALLD);
    assert_eq!(node.ruleset(), before);
    assert!(node.exposed(0));
    assert_eq!(forward_drops(&node.conflicts()).len(), 1);
}

/// Starts it until it has set its rules up, and ends it with them in place.
pub(super) const FIREWALLD: &str = "
    folder=$(mktemp -d)
    export DBUS_SYSTEM_BUS_ADDRESS=unix:path=$folder/bus
    bus=$(dbus-daemon --session --fork --address=$DBUS_SYSTEM_BUS_ADDRESS --print-pid)
    nft delete table inet firewalld 2>/dev/null || true
    firewalld --nofork --nopid >$folder/log 2>&1 &
    for attempt in $(seq 100); do
        firewall-cmd --state >/dev/null 2>&1 && break
        sleep 0.1
    done
    kill -KILL $! $bus
    rm -r $folder
";

fn chain_that_accepts_guests_is_no_conflict() {
    let mut node = Node::new();
    node.run(
        "nft",
        &["table inet site {
            set ours { type ifname; elements = { \"riklet-0\" }; }
            chain forward {
                type filter hook forward priority 10; policy drop;
                meta nfproto ipv6 goto six
                iifname @ours oifname \"eth0\" accept
                ct state vmap { established : accept, related : accept, invalid : drop }
                ct status dnat meta l4proto { tcp, udp } ct state new oifname \"riklet*\" accept
            }
            chain six {
                iifname . meta l4proto vmap { \"riklet-0\" . tcp : accept, \"riklet-0\" . udp : accept }
                oifname vmap { \"riklet-0\" : accept }
            }
        }"],
    );
    assert_eq!(node.conflicts(), []);
    assert!(node.exposed(0) && node.exposed(1) && node.egress(0, SOON) && node.egress(1, SOON));
    // Without one element of a set of theirs, what guests open is dropped.
    node.run("nft", &["delete element inet site ours { riklet-0 }"]);
    assert_eq!(
        forward_drops(&node.conflicts()),
        [("chain inet site forward".to_owned(), false, true)]
    );
    assert!(node.exposed(0) && !node.egress(0, NEVER));
}

fn shim_goes_to_the_head_where_docker_user_comes_too_late() {
    let mut node = Node::new();
    restore(&node, "iptables-nft-restore", DOCKER);
    node.sh("iptables-nft -I FORWARD -i eth0 -j DROP");
    let before = node.ruleset();
    assert!(node.silent(0));
    assert_eq!(node.host.add_shim().unwrap(), []);
    assert!(node.exposed(0));
    node.host.remove_shim().unwrap();
    assert_eq!(node.ruleset(), before);
}

fn table_that_a_program_owns_is_told_and_left_alone() {
    let mut node = Node::new();
    let mut program = node.world.node.run(|| Nft::open().unwrap()).unwrap();
    let table = Table::new(Family::INET, Name::constant("site")).flags(TableFlags::OWNER);
    let (name, hook) = (Name::constant("forward"), Hook::FORWARD);
    let chain = Chain::base(&table, name, ChainType::FILTER, hook, 0).policy(Policy::DROP);
    let mut batch = Batch::new();
    batch.add(&table).add(&chain);
    program.commit(&mut batch).unwrap();
    let left = node.host.add_shim().unwrap();
    let [
        conflict @ Conflict::ForwardDrop {
            chain, rule: None, ..
        },
    ] = left.as_slice()
    else {
        panic!("{left:#?}");
    };
    assert!(chain.is_owned());
    assert!(
        conflict.remedy().contains("have the program"),
        "{conflict:?}"
    );
    assert!(node.silent(0));
    drop(program);
    assert!(node.exposed(0));
    assert_eq!(node.conflicts(), []);
}
