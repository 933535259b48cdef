//! Each rule that a value can break has an error of its own, by which it is
//! known, and what breaks it changes nothing.

use std::collections::HashSet;

use libtest_mimic::Trial;
use tapwire::error::Invalid;
use tapwire::{
    Balance, Egress, Error, Exposure, Guest, GuestName, Host, IfIndex, IfName, Mac, Networks,
    Owner, Ports, Protocol, Rate, Service, Settings, Target, Wanted,
};

use crate::agent::add_uplink;
use crate::snapshot::Snapshot;
use crate::support::{run, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["nft", "ip"]:
        each_rule_of_an_exposure_has_an_error_of_its_own,
        each_rule_of_a_guest_and_a_host_has_an_error_of_its_own,
        each_rule_of_a_plan_has_an_error_of_its_own,
    ]
}

/// A node on which the guests `hello-world` and `other` are attached and a
/// port of the first is exposed.
struct Node {
    host: Host,
    state: Snapshot,
    said: HashSet<String>,
}

impl Node {
    fn new() -> Self {
        add_uplink();
        let networks = networks("198.18.0.0/29", "fd00::/125").unwrap();
        let settings = Settings::new(Owner::new("riklet").unwrap()).networks(networks);
        let mut host = Host::with(settings).unwrap();
        for name in ["hello-world", "other"] {
            host.attach(&Guest::new(name).unwrap()).unwrap();
        }
        host.expose(&"tcp/8080->hello-world:80".parse().unwrap())
            .unwrap();
        host.expose(&"udp/2000-3999->hello-world:2000-3999".parse().unwrap())
            .unwrap();
        Self {
            host,
            state: Snapshot::take(),
            said: HashSet::new(),
        }
    }

    /// What is attempted fails with these words, which nothing else says.
    #[track_caller]
    fn refuses(&mut self, result: Result<(), Error>, words: &str) {
        let error = result.expect_err(words);
        assert_eq!(error.to_string(), words);
        self.state.assert_same(&Snapshot::take(), words);
        assert!(self.said.insert(words.to_owned()), "{words} twice");
    }
}

fn networks(ipv4: &str, ipv6: &str) -> Result<Networks, Error> {
    Ok(Networks::new(ipv4.parse().unwrap(), ipv6.parse().unwrap())?)
}

/// Exposures, and what is said of them.
const EXPOSURES: &[(&str, &str)] = &[
    (
        "",
        r#"exposure "" is not of the form tcp/8080->198.18.0.2:80"#,
    ),
    (
        "tcp/1",
        r#"exposure "tcp/1" is not of the form tcp/8080->198.18.0.2:80"#,
    ),
    (
        "tcp/lo:1->hello-world:1",
        r#"exposure "tcp/lo:1->hello-world:1" is not of the form tcp/8080->198.18.0.2:80"#,
    ),
    (
        "icmp/1->hello-world:1",
        r#"protocol "icmp" is not tcp, udp or sctp"#,
    ),
    (
        "tcp/one->hello-world:1",
        r#"host port "one" is not between 1 and 65535"#,
    ),
    (
        "tcp/65536->hello-world:1",
        r#"host port "65536" is not between 1 and 65535"#,
    ),
    (
        "tcp/0->hello-world:1",
        r#"host port "0" is not between 1 and 65535"#,
    ),
    (
        "tcp/1->hello-world:0",
        r#"guest port "0" is not between 1 and 65535"#,
    ),
    (
        "tcp/2-1->hello-world:1",
        r#"ports "2-1" end before they begin"#,
    ),
    (
        "tcp/1-2->hello-world:1",
        r#"guest ports "1" are not as many as the host's"#,
    ),
    (
        "tcp/1-2->hello-world:1-2,other:1",
        r#"several ports "1-2" are led to one guest only"#,
    ),
    (
        "tcp/1->hello-world",
        r#"target "hello-world" is not of the form 198.18.0.2:80"#,
    ),
    (
        "tcp/1->[198.18.0.2]:1",
        r#"target "[198.18.0.2]:1" is not of the form 198.18.0.2:80"#,
    ),
    (
        "tcp/1->0.0.0.0:1",
        r#"guest address "0.0.0.0" is no address of a guest"#,
    ),
    (
        "tcp/1->127.0.0.1:1",
        r#"guest address "127.0.0.1" is no address of a guest"#,
    ),
    (
        "tcp/1->[ff02::1]:1",
        r#"guest address "ff02::1" is no address of a guest"#,
    ),
    (
        "tcp/[::1]:1->hello-world:1",
        r#"host address "::1" cannot be translated back by the kernel (a relay can serve it)"#,
    ),
    (
        "tcp/224.0.0.1:1->hello-world:1",
        r#"host address "224.0.0.1" is a multicast or broadcast address"#,
    ),
    (
        "tcp/[2001:db8::1]:1->198.18.0.2:1",
        r#"host address "2001:db8::1" is not of the guest address's family (a relay can join the two)"#,
    ),
    (
        "tcp/1->hello-world:1,198.18.0.6:1",
        r#"further guest "198.18.0.6:1" is not told as the first one is"#,
    ),
    (
        "tcp/1->hello-world:1,hello-world:1",
        r#"further guest "hello-world:1" is one already"#,
    ),
    (
        "tcp/1->hello-world:1 from here",
        r#"allowed client "here" is no network as 192.0.2.0/24"#,
    ),
    (
        "tcp/1->198.18.0.2:1 from fd00::/8",
        r#"allowed client "fd00::/8" is of a family that the exposure does not serve"#,
    ),
    (
        "tcp/1->hello-world:1 limit many",
        r#"connection limit "many" is not between 1 and 4294967295"#,
    ),
    (
        "tcp/1->hello-world:1 limit 0",
        r#"connection limit "0" lets nobody in"#,
    ),
    (
        "tcp/1->hello-world:1 by chance",
        r#"word of an exposure "by" is not `by source`, `from`, `limit` or `label`"#,
    ),
    ("tcp/1->hello-world:1 label ", r#"label "" is empty"#),
    (
        "tcp/1->hello-world:1 label  x",
        r#"label " x" starts or ends with a space"#,
    ),
    (
        "tcp/1->hello-world:1 label a\nb",
        r#"label "a\nb" holds a quote, a backslash or a control character"#,
    ),
    ("tcp/1->198.18.0.14:1", "no guest named 198.18.0.14"),
    ("tcp/1->nobody:1", "no guest named nobody"),
    (
        "tcp/8080->other:80",
        "tcp/8080->other:80 clashes with tcp/8080->hello-world:80 of guest hello-world",
    ),
    (
        "udp/3999-6000->other:3999-6000",
        "udp/3999-6000->other:3999-6000 clashes with udp/2000-3999->hello-world:2000-3999 of guest hello-world",
    ),
];

fn each_rule_of_an_exposure_has_an_error_of_its_own() {
    let mut node = Node::new();
    let long = "x".repeat(41);
    let long_label = format!("tcp/1->hello-world:1 label {long}");
    let of_long = format!(r#"label "{long}" is longer than 40 bytes"#);
    let own = [(long_label.as_str(), of_long.as_str())];
    for &(text, words) in EXPOSURES.iter().chain(&own) {
        let exposed = text.parse::<Exposure>().map_err(Error::from);
        let result = exposed.and_then(|exposure| node.host.expose(&exposure));
        node.refuses(result, words);
    }
    let plain = |host_port| -> Result<Exposure, Error> {
        let target = Target::of("hello-world".parse()?, 65_535);
        Ok(Exposure::new(Protocol::Tcp, host_port, target)?)
    };
    node.refuses(
        plain(1).and_then(|one| Ok(one.through(2).map(drop)?)),
        r#"guest port "65535" has too few ports behind it"#,
    );
    node.refuses(
        Ports::new(9, 8).map(drop).map_err(Error::from),
        r#"ports "9-8" end before they begin"#,
    );
    let crowd = (1..=48).try_fold(plain(1).unwrap(), |exposure, number| {
        exposure.also(Target::of(format!("vm-{number}").parse()?, 1))
    });
    node.refuses(
        crowd.map(drop).map_err(Error::from),
        r#"further guest "vm-48:1" is one too many"#,
    );
    // What changes nothing is no error.
    let balanced = plain(9).unwrap().balance(Balance::Source);
    node.host.expose(&balanced).unwrap();
    node.host.remove().unwrap();
}

/// Values that are checked when they are made.
fn values() -> [(Result<(), Error>, &'static str); VALUES] {
    let checked = |result: Result<(), Invalid>| result.map_err(Error::from);
    [
        (
            checked(Mac::new([1, 0, 0, 0, 0, 1]).map(drop)),
            r#"MAC address "01:00:00:00:00:01" is a group address"#,
        ),
        (
            checked(Mac::new([0; 6]).map(drop)),
            r#"MAC address "00:00:00:00:00:00" is all zeros"#,
        ),
        (
            checked("2:0:0:0:0:1".parse::<Mac>().map(drop)),
            r#"MAC address "2:0:0:0:0:1" is not six pairs of hex digits with colons"#,
        ),
        (
            checked(Service::new(Protocol::Tcp, 0).map(drop)),
            r#"service "tcp/0" has port 0"#,
        ),
        (
            checked("53".parse::<Service>().map(drop)),
            r#"service "53" is not PROTOCOL/PORT"#,
        ),
        (
            checked("arp/53".parse::<Service>().map(drop)),
            r#"protocol "arp" is not tcp, udp or sctp"#,
        ),
        (
            checked(Rate::new(0).map(drop)),
            r#"rate "0" lets nothing pass"#,
        ),
        (
            checked(Rate::new(10_000_000_001).map(drop)),
            r#"rate "10000000001" is above 10000000000 bytes per second"#,
        ),
        (
            checked(IfIndex::new(0).map(drop)),
            r#"interface index "0" is not between 1 and 2147483647"#,
        ),
        (
            checked(IfName::new("..").map(drop)),
            r#"interface name ".." is not a name"#,
        ),
        (
            checked(IfName::new("tap*").map(drop)),
            r#"interface name "tap*" holds a character that the kernel or nft does not take as part of a name"#,
        ),
        (
            checked(IfName::new("riklet-000000001").map(drop)),
            r#"interface name "riklet-000000001" is longer than 15 bytes"#,
        ),
        (
            checked(Owner::new("riklet-too").map(drop)),
            r#"owner "riklet-too" is longer than 9 bytes"#,
        ),
        (
            checked(Owner::new("0").map(drop)),
            r#"owner "0" does not start with a lower-case letter"#,
        ),
        (
            checked(Owner::new("rik_let").map(drop)),
            r#"owner "rik_let" holds something other than lower-case letters and digits"#,
        ),
        (
            checked(Owner::new("drop").map(drop)),
            r#"owner "drop" is a keyword of nft"#,
        ),
    ]
}

const VALUES: usize = 16;

/// Networks of guests, and what is said of them.
const NETWORKS: &[(&str, &str, &str)] = &[
    (
        "198.18.0.0/31",
        "fd00::/64",
        r#"guest network "198.18.0.0/31" has no room for a /30"#,
    ),
    (
        "198.18.0.0/16",
        "fd00::/127",
        r#"guest network "fd00::/127" has no room for a /126"#,
    ),
    (
        "198.18.0.1/16",
        "fd00::/64",
        r#"guest network "198.18.0.1/16" has host bits set"#,
    ),
    (
        "198.18.0.0/16",
        "fd00::1/64",
        r#"guest network "fd00::1/64" has host bits set"#,
    ),
    (
        "224.0.0.0/16",
        "fd00::/64",
        r#"guest network "224.0.0.0/16" is not a network of unicast addresses"#,
    ),
    (
        "198.18.0.0/16",
        "fe80::/64",
        r#"guest network "fe80::/64" is not a network of routable unicast addresses"#,
    ),
];

fn each_rule_of_a_guest_and_a_host_has_an_error_of_its_own() {
    let mut node = Node::new();
    let long = "x".repeat(64);
    for (name, words) in [
        ("", r#"guest name "" does not start with a letter or digit"#),
        (
            "größe",
            r#"guest name "größe" holds something other than letters, digits, dots, dashes and underscores"#,
        ),
        ("192.0.2.1", r#"guest name "192.0.2.1" is an address"#),
        (
            &long,
            &format!(r#"guest name "{long}" is longer than 63 bytes"#),
        ),
    ] {
        let guest = Guest::new(name).map_err(Error::from);
        let result = guest.and_then(|guest| node.host.attach(&guest).map(drop));
        node.refuses(result, words);
    }
    for (result, words) in values() {
        node.refuses(result, words);
    }
    for (address, why) in [
        ("0.0.0.0", "stands for any address"),
        (
            "::1",
            "is a loopback address, to which no other host can answer",
        ),
        ("ff02::1", "is no unicast address"),
        ("255.255.255.255", "is no unicast address"),
        ("fe80::1", "is good for one link only"),
    ] {
        let result = Egress::snat(address.parse().unwrap()).map(drop);
        let words = format!(r#"source address "{address}" {why}"#);
        node.refuses(result.map_err(Error::from), &words);
    }
    for &(ipv4, ipv6, words) in NETWORKS {
        node.refuses(networks(ipv4, ipv6).map(drop), words);
    }
    let guest = |name| Guest::new(name).unwrap();
    let result = node.host.attach(&guest("third")).map(drop);
    node.refuses(result, "the guests' networks are used up (room for 2)");
    let mac = guest("other").mac("02:00:00:00:00:07".parse().unwrap());
    let result = node.host.attach(&mac).map(drop);
    node.refuses(
        result,
        "guest other with MAC 02:00:00:00:00:07 clashes with the attached guest with MAC 02:74:77:00:00:01",
    );
    let elsewhere = Egress::snat("192.0.2.7".parse().unwrap()).unwrap();
    let result = node
        .host
        .attach(&guest("other").egress(elsewhere))
        .map(drop);
    node.refuses(result, "no address of the host named 192.0.2.7");
    let result = node.host.detach("nobody");
    node.refuses(result, "no guest named nobody");
    node.host.remove().unwrap();
    // A table of that name which another made.
    run("nft", &["add", "table", "inet", "riklet"]);
    let state = Snapshot::take();
    let words = "the tables of owner riklet clashes with table inet riklet of another layout";
    let error = Host::open(Owner::new("riklet").unwrap()).expect_err(words);
    assert_eq!(error.to_string(), words);
    state.assert_same(&Snapshot::take(), words);
}

fn each_rule_of_a_plan_has_an_error_of_its_own() {
    let mut node = Node::new();
    let guest = |name| Guest::new(name).unwrap();
    let both = || {
        Wanted::new()
            .guest(guest("hello-world"))
            .guest(guest("other"))
    };
    let exposure = |text: &str| text.parse::<Exposure>().unwrap();
    let elsewhere = Egress::snat("192.0.2.7".parse().unwrap()).unwrap();
    let mac = guest("other").mac("02:00:00:00:00:07".parse().unwrap());
    let unlike: GuestName = "unlike".parse().unwrap();
    for (wanted, words) in [
        (
            both().guest(guest("other")),
            r#"guest "other" is wanted twice"#,
        ),
        (
            both()
                .exposure(exposure("tcp/1->other:1"))
                .exposure(exposure("tcp/1->other:1")),
            r#"exposure "tcp/1->other:1" is wanted twice"#,
        ),
        (
            both()
                .exposure(exposure("tcp/1->other:1"))
                .exposure(exposure("tcp/1->other:2")),
            "tcp/1->other:2 clashes with tcp/1->other:1",
        ),
        (
            both()
                .exposure(exposure("tcp/2000-4000->other:2000-4000"))
                .exposure(exposure("tcp/4000-6000->hello-world:4000-6000")),
            "tcp/4000-6000->hello-world:4000-6000 clashes with tcp/2000-4000->other:2000-4000",
        ),
        (
            both().exposure(exposure(&format!("tcp/1->{unlike}:1"))),
            "no guest named unlike",
        ),
        (
            Wanted::new()
                .guest(guest("other"))
                .exposure(exposure("tcp/8080->hello-world:80")),
            "no guest named hello-world",
        ),
        (
            both().exposure(exposure("tcp/1->198.18.0.2:1 from fd00::/8")),
            r#"allowed client "fd00::/8" is of a family that the exposure does not serve"#,
        ),
        (
            Wanted::new().guest(guest("hello-world")).guest(mac),
            "guest other with MAC 02:00:00:00:00:07 clashes with the attached guest with MAC 02:74:77:00:00:01",
        ),
        (
            Wanted::new()
                .guest(guest("hello-world"))
                .guest(guest("other").egress(elsewhere)),
            "no address of the host named 192.0.2.7",
        ),
        (
            both().guest(guest("third")),
            "the guests' networks are used up (room for 2)",
        ),
    ] {
        let result = node.host.plan(&wanted).map(drop);
        node.refuses(result, words);
        assert!(node.host.apply(&wanted).is_err(), "{words}");
        node.state.assert_same(&Snapshot::take(), words);
    }
    node.host.remove().unwrap();
}
