//! Names and addresses of guests.

use ipnet::{Ipv4Net, Ipv6Net};
use libtest_mimic::Trial;
use tapwire::{Error, Guest, Host, Networks, Owner, Settings};

use crate::agent::add_uplink;
use crate::snapshot::Snapshot;
use crate::support::{run, trials};

pub(super) fn trials() -> Vec<Trial> {
    let mut trials = trials![
        addresses_of_a_detached_guest_are_free_again,
        guests_beyond_the_room_are_refused,
        default_networks_are_nobodys,
        guest_of_the_same_name_is_the_same_guest,
    ];
    trials.extend(trials![needs ["nft", "ip"]:
        network_that_is_routed_already_is_refused_and_the_route_named,
        odd_names_are_refused_without_panic_or_trace,
    ]);
    trials
}

/// Room for four guests.
fn small() -> Settings {
    let networks = Networks::new("10.9.8.0/28".parse().unwrap(), "fd09::/64".parse().unwrap());
    Settings::new(Owner::new("riklet").unwrap()).networks(networks.unwrap())
}

/// There, freeing a network looked for another key than taking it had made.
fn addresses_of_a_detached_guest_are_free_again() {
    let mut host = Host::with(small()).unwrap();
    for name in ["a", "b", "c"] {
        host.attach(&guest(name)).unwrap();
    }
    for life in 0..12 {
        let attachment = host.attach(&guest(&format!("life-{life}"))).unwrap();
        assert_eq!(attachment.ipv4().to_string(), "10.9.8.14");
        host.detach(attachment.name()).unwrap();
    }
    host.detach("b").unwrap();
    let next = host.attach(&guest("d")).unwrap();
    assert_eq!(next.ipv4().to_string(), "10.9.8.6");
    assert_eq!(next.ipv6().to_string(), "fd09::6");
}

fn guests_beyond_the_room_are_refused() {
    let mut host = Host::with(small()).unwrap();
    for name in ["a", "b", "c", "d"] {
        host.attach(&guest(name)).unwrap();
    }
    let error = host.attach(&guest("e")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the guests' networks are used up (room for 4)"
    );
    assert_eq!(host.guests().unwrap().len(), 4);
    host.detach("c").unwrap();
    assert!(host.attach(&guest("e")).is_ok());
}

/// There, the first guest got 192.168.1.1.
fn default_networks_are_nobodys() {
    let ours = Networks::default();
    for theirs in [
        "10.0.0.0/8",     // companies, clusters, e2b
        "100.64.0.0/10",  // carriers, Tailscale
        "127.0.0.0/8",    // the host itself
        "169.254.0.0/16", // link-local, metadata services, Calico
        "172.16.0.0/12",  // Docker, vHive
        "192.168.0.0/16", // homes
        "192.0.2.0/24",   // documentation
    ] {
        let theirs: Ipv4Net = theirs.parse().unwrap();
        let apart = !theirs.contains(&ours.ipv4()) && !ours.ipv4().contains(&theirs);
        assert!(apart, "{theirs}");
    }
    let local: Ipv6Net = "fd00::/8".parse().unwrap();
    assert!(local.contains(&ours.ipv6()));
    for theirs in ["fd00::/64", "fd00::/48", "fd10:0:2::/120"] {
        let theirs: Ipv6Net = theirs.parse().unwrap();
        let apart = !theirs.contains(&ours.ipv6()) && !ours.ipv6().contains(&theirs);
        assert!(apart, "{theirs}");
    }
}

fn network_that_is_routed_already_is_refused_and_the_route_named() {
    add_uplink();
    let mut host = Host::open(Owner::new("riklet").unwrap()).unwrap();
    for (route, network) in [
        ("198.18.0.0/16", "198.18.0.0/30"),
        ("fd2c:6b8f:4a10::/48", "fd2c:6b8f:4a10::/126"),
    ] {
        run("ip", &["route", "add", route, "dev", "eth0"]);
        let state = Snapshot::take();
        let error = host.attach(&guest("hello-world")).unwrap_err();
        assert!(matches!(error, Error::Conflict(_)), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!("guest network {network} clashes with the route {route} dev eth0")
        );
        state.assert_same(&Snapshot::take(), "refused");
        run("ip", &["route", "del", route, "dev", "eth0"]);
    }
    // A way to everywhere is in nobody's way.
    run("ip", &["route", "add", "default", "dev", "eth0"]);
    host.attach(&guest("hello-world")).unwrap();
}

/// There, the first nine bytes were cut off, also inside a character.
fn odd_names_are_refused_without_panic_or_trace() {
    let mut host = Host::open(Owner::new("riklet").unwrap()).unwrap();
    let state = Snapshot::take();
    for name in [
        "",
        "-",
        "12345678é",
        "größenwahn",
        "日本語日本語",
        "a b",
        "a\0b",
        "../up",
    ] {
        let error = Guest::new(name).unwrap_err();
        assert_eq!((error.what(), error.value()), ("guest name", name));
        let error = host.detach(name).unwrap_err();
        assert_eq!(error.to_string(), format!("no guest named {name}"));
    }
    state.assert_same(&Snapshot::take(), "odd names");
    for name in ["1", "a.b_c-d", &"x".repeat(63)] {
        assert_eq!(host.attach(&guest(name)).unwrap().name(), name);
    }
    let mut names: Vec<_> = host.guests().unwrap();
    names.sort_by_key(|guest| guest.name().len());
    assert_eq!(names[2].name().len(), 63);
}

fn guest_of_the_same_name_is_the_same_guest() {
    let mut host = Host::with(small()).unwrap();
    let mut other_handle = Host::with(small()).unwrap();
    let first = host.attach(&guest("hello-world")).unwrap();
    assert_eq!(host.attach(&guest("hello-world")).unwrap(), first);
    assert_eq!(other_handle.attach(&guest("hello-world")).unwrap(), first);
    assert_eq!(host.guests().unwrap(), [first]);
}

fn guest(name: &str) -> Guest {
    Guest::new(name).unwrap()
}
