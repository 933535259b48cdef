//! Bad input gives an error that names the thing, and changes nothing.

use std::process::{Command, Output};

use libtest_mimic::Trial;
use tapwire::sys::TapOptions;
use tapwire::{Error, Exposure, Flows, Guest, Host, Mac, Owner};

use crate::agent::{File, add_uplink, program, riklet_prints, riklet_refuses};
use crate::snapshot::Snapshot;
use crate::support::trials;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = trials![needs ["nft", "ip"]:
        values_that_cannot_be_used_are_refused_by_name,
        things_that_are_absent_or_taken_are_named,
        definitions_that_cannot_be_used_are_refused_by_file_and_field,
        later_definition_that_cannot_be_used_keeps_the_earlier_from_coming_up,
    ];
    trials.extend(trials![needs ["nft", "ip", "strace"]:
        missing_tun_device_is_named_and_nothing_is_left,
    ]);
    trials.extend(trials![needs ["nft", "ip", "setpriv"]:
        missing_capability_is_named,
    ]);
    trials
}

/// An attempt, and what its error says.
type Attempt = (fn(&mut Host) -> Result<(), Error>, &'static str);

/// Makes attempts on a node on which the guest `hello-world` is up and its
/// port 80 exposed on 8080.
fn all_fail_and_change_nothing(attempts: &[Attempt]) {
    add_uplink();
    let mut host = Host::open(owner()).unwrap();
    host.attach(&Guest::new("hello-world").unwrap()).unwrap();
    let exposure: Exposure = "tcp/8080->198.18.0.2:80".parse().unwrap();
    host.expose(&exposure).unwrap();
    let state = Snapshot::take();
    for (attempt, words) in attempts {
        let error = attempt(&mut host).expect_err(words);
        assert_eq!(error.to_string(), *words);
        state.assert_same(&Snapshot::take(), words);
    }
}

fn values_that_cannot_be_used_are_refused_by_name() {
    all_fail_and_change_nothing(&[
        (
            |_| {
                TapOptions::new("riklet-000000001".parse()?)
                    .create()
                    .map(drop)
            },
            r#"interface name "riklet-000000001" is longer than 15 bytes"#,
        ),
        (
            |host| host.attach(&Guest::new("")?).map(drop),
            r#"guest name "" does not start with a letter or digit"#,
        ),
        (
            |host| host.attach(&Guest::new("größe")?).map(drop),
            r#"guest name "größe" holds something other than letters, digits, dots, dashes and underscores"#,
        ),
        (
            |host| expose(host, "tcp/0->198.18.0.2:80"),
            r#"host port "0" is not between 1 and 65535"#,
        ),
        (
            |host| expose(host, "tcp/8081->198.18.0.2:0"),
            r#"guest port "0" is not between 1 and 65535"#,
        ),
        (
            |host| expose(host, "udp/[2001:db8::1]:53->198.18.0.2:53"),
            r#"host address "2001:db8::1" is not of the guest address's family (a relay can join the two)"#,
        ),
        (
            |host| expose(host, "tcp/8081-8080->hello-world:80"),
            r#"ports "8081-8080" end before they begin"#,
        ),
        (
            |host| expose(host, "tcp/8081->hello-world:80 limit 0"),
            r#"connection limit "0" lets nobody in"#,
        ),
        (
            |host| expose(host, "tcp/8081->hello-world:80 from 10.0.0.0/33"),
            r#"allowed client "10.0.0.0/33" is no network as 192.0.2.0/24"#,
        ),
        (
            |host| expose(host, "tcp/8081->hello-world:80 label a\"b"),
            r#"label "a\"b" holds a quote, a backslash or a control character"#,
        ),
        (
            |_| Host::open(Owner::new("riklet-too")?).map(drop),
            r#"owner "riklet-too" is longer than 9 bytes"#,
        ),
        (
            |host| {
                let broadcast = Mac::new([0xff; 6])?;
                host.attach(&Guest::new("other")?.mac(broadcast)).map(drop)
            },
            r#"MAC address "ff:ff:ff:ff:ff:ff" is a group address"#,
        ),
    ]);
}

fn things_that_are_absent_or_taken_are_named() {
    all_fail_and_change_nothing(&[
        (
            |host| expose(host, "tcp/8081->198.18.0.6:80"),
            "no guest named 198.18.0.6",
        ),
        (
            |host| expose(host, "tcp/8081->203.0.113.1:80"),
            "no guest named 203.0.113.1",
        ),
        (
            |host| expose(host, "tcp/8080->198.18.0.2:81"),
            "tcp/8080->198.18.0.2:81 clashes with tcp/8080->198.18.0.2:80 of guest hello-world",
        ),
        (
            |host| expose(host, "tcp/8081->nobody:80"),
            "no guest named nobody",
        ),
        (
            |host| expose(host, "tcp/8081->hello-world:80,nobody:80"),
            "no guest named nobody",
        ),
        (
            |host| expose(host, "tcp/8080->hello-world:80"),
            "tcp/8080->hello-world:80 clashes with tcp/8080->198.18.0.2:80 of guest hello-world",
        ),
        (
            |host| expose(host, "tcp/8000-8100->hello-world:80-180 label web"),
            "tcp/8000-8100->hello-world:80-180 label web clashes with tcp/8080->198.18.0.2:80 of guest hello-world",
        ),
        (
            |host| expose(host, "tcp/8081->198.18.0.2:80 from fd00::/8"),
            "allowed client \"fd00::/8\" is of a family that the exposure does not serve",
        ),
        (
            |host| {
                let [old, new] = ["tcp/8081->hello-world:80", "tcp/8082->hello-world:80"];
                host.repoint(&old.parse()?, &new.parse()?, Flows::Cut)
            },
            "no exposure named tcp/8081->hello-world:80",
        ),
        (
            |host| {
                let [old, new] = ["tcp/8080->198.18.0.2:80", "tcp/8080->nobody:80"];
                host.repoint(&old.parse()?, &new.parse()?, Flows::Cut)
            },
            "no guest named nobody",
        ),
        (
            |host| host.withdraw(&"tcp/8080->hello-world:80".parse()?, Flows::Drain),
            "no exposure named tcp/8080->hello-world:80",
        ),
        (
            |host| host.withdraw(&"tcp/8081->nobody:80".parse()?, Flows::Cut),
            "no exposure named tcp/8081->nobody:80",
        ),
        (
            |host| host.withdraw(&"tcp/8081->198.18.0.2:80".parse()?, Flows::Cut),
            "no exposure named tcp/8081->198.18.0.2:80",
        ),
        (
            |host| host.withdraw(&"tcp/8080->198.18.0.2:81".parse()?, Flows::Cut),
            "no exposure named tcp/8080->198.18.0.2:81",
        ),
        (|host| host.detach("other"), "no guest named other"),
        (
            |host| {
                let mac = "02:00:00:00:00:07".parse()?;
                host.attach(&Guest::new("hello-world")?.mac(mac)).map(drop)
            },
            "guest hello-world with MAC 02:00:00:00:00:07 clashes with the attached guest with MAC 02:74:77:00:00:00",
        ),
    ]);
}

fn expose(host: &mut Host, exposure: &str) -> Result<(), Error> {
    host.expose(&exposure.parse()?)
}

fn definitions_that_cannot_be_used_are_refused_by_file_and_field() {
    let good = std::fs::read_to_string(File::workload("good", &[8080]).path()).unwrap();
    let cases = [
        ("not json", "not JSON: expected ident at line 1 column 2"),
        ("", "not JSON: EOF while parsing a value at line 1 column 0"),
        ("{}", "apiVersion: is missing"),
        (
            &good.replace("good", "grün"),
            "name: must be 1 to 63 of A-Z a-z 0-9 . _ - and begin with a letter or digit",
        ),
        (
            &good.replace("8080", "0"),
            "spec.function.exposure[0].port: is 0, not a port from 1 to 65535",
        ),
        (
            &good.replace("8080", "65536"),
            "spec.function.exposure[0].port: is 65536, not a port from 1 to 65535",
        ),
        (
            &good.replace("targetPort", "target"),
            "spec.function.exposure[0].targetPort: is missing",
        ),
        (
            &good.replace("TCP", "SCTP"),
            r#"spec.function.exposure[0].protocol: is "SCTP", but can only be TCP or UDP"#,
        ),
        (
            &good.replace("rootfs", "root"),
            "spec.function.execution.rootfs: is missing",
        ),
    ];
    add_uplink();
    let state = Snapshot::take();
    for (text, words) in cases {
        let file = File::new("bad.json", text);
        let said = riklet_refuses(&["up", file.path()]);
        assert_eq!(said, format!("error: {}: {words}", file.path()));
    }
    let missing = riklet_refuses(&["up", "/nonexistent/a.json"]);
    assert_eq!(
        missing,
        "error: /nonexistent/a.json: No such file or directory (os error 2)"
    );
    state.assert_same(&Snapshot::take(), "bad definitions");
}

fn later_definition_that_cannot_be_used_keeps_the_earlier_from_coming_up() {
    add_uplink();
    let state = Snapshot::take();
    let good = File::workload("good", &[8080]);
    let bad = File::new("bad.json", "{}");
    riklet_refuses(&["up", good.path(), bad.path()]);
    let twice = riklet_refuses(&["up", good.path(), good.path()]);
    assert_eq!(twice, "error: two workloads are called good");
    state.assert_same(&Snapshot::take(), "one of two definitions is bad");
}

fn missing_tun_device_is_named_and_nothing_is_left() {
    for (error, words) in [
        (
            "ENOENT",
            "error: open /dev/net/tun (is the tun module loaded? is the node there? mknod /dev/net/tun c 10 200): No such file or directory (os error 2)",
        ),
        (
            "EACCES",
            "error: open /dev/net/tun (needs read and write permission on /dev/net/tun): Permission denied (os error 13)",
        ),
    ] {
        let inject = format!("inject=openat:error={error}");
        let output = attach_with(&["-P", "/dev/net/tun", "-e", &inject]);
        assert_eq!(String::from_utf8_lossy(&output.stderr).trim_end(), words);
    }
}

/// Has a second function come up while `strace` has system calls fail, and
/// sees to it that nothing of it is left.
fn attach_with(strace: &[&str]) -> Output {
    let node = tapwire::sys::NetNs::new().unwrap();
    let work = || {
        add_uplink();
        riklet_prints(&["up", File::workload("first", &[8080]).path()]);
        let state = Snapshot::take();
        let second = File::workload("second", &[8081]);
        let output = Command::new("strace")
            .args(["-f", "-o", "/dev/null", "-e", "signal=none"])
            .args(strace)
            .arg(program())
            .args(["up", second.path()])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{strace:?}: {output:?}");
        state.assert_same(&Snapshot::take(), &format!("{strace:?}"));
        // The slot is free: the next gets what the second would have got.
        let third = riklet_prints(&["up", File::workload("third", &[8082]).path()]);
        assert!(third.contains("198.18.0.6/30"), "{third}");
        output
    };
    node.run(work).unwrap()
}

fn missing_capability_is_named() {
    add_uplink();
    let workload = File::workload("hello-world", &[8080]);
    riklet_prints(&["up", workload.path()]);
    let state = Snapshot::take();
    for arguments in [&["up", workload.path()][..], &["list"], &["down", "--all"]] {
        let output = Command::new("setpriv")
            .args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"])
            .arg(program())
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            "error: this machine's network is not yours to change: be root, or have CAP_NET_ADMIN\n"
        );
        state.assert_same(&Snapshot::take(), &format!("{arguments:?}"));
    }
}

fn owner() -> Owner {
    Owner::new("riklet").unwrap()
}
