//! The verbs of a host: what they leave in the kernel.

use std::net::UdpSocket;
use std::time::Duration;

use libtest_mimic::Trial;
use tapwire::conn::Connection;
use tapwire::conntrack::{FlowFilter, TupleFilter, flows};
use tapwire::sys::NetNs;
use tapwire::{Attachment, Exposure, Flows, Guest, Host, Networks, Owner, Settings};

use crate::snapshot::Snapshot;
use crate::support::{feed, run, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["nft", "ip"]:
        ruleset_is_readable_and_loads_again_unchanged,
        forwarding_stays_on_until_the_last_owner_goes,
        forwarding_without_an_uplink_is_off_again_in_the_end,
        interfaces_go_on_taking_advertised_routes,
        guest_whose_table_was_flushed_keeps_tap_addresses_and_mac,
        guests_of_overlapping_networks_never_share_addresses,
        nothing_is_made_where_nothing_is_found,
        link_of_another_kind_under_our_name_stays_untouched,
        full_map_is_doubled,
        exposure_that_failed_ends_no_flows_later,
        handles_that_attach_the_same_guests_at_once_agree,
        guest_that_is_attached_again_hides_no_other_handles_change,
    ]
}

fn owner() -> Owner {
    Owner::new("riklet").unwrap()
}

fn ruleset_is_readable_and_loads_again_unchanged() {
    let mut host = Host::open(owner()).unwrap();
    let guest = host.attach(&Guest::new("hello-world").unwrap()).unwrap();
    let web: Exposure = format!("tcp/8080->{}:80", guest.ipv4()).parse().unwrap();
    host.expose(&web).unwrap();
    let listing = run("nft", &["list", "ruleset"]);
    run("nft", &["flush", "ruleset"]);
    feed("nft", &["-f", "-"], &listing);
    assert_eq!(run("nft", &["list", "ruleset"]), listing);
    assert_eq!(host.exposures().unwrap()[0].exposure(), &web);
    host.withdraw(&web, Flows::Cut).unwrap();
    host.remove().unwrap();
    assert_eq!(run("nft", &["list", "ruleset"]), "");
    assert_eq!(run("ip", &["-br", "link"]).lines().count(), 1);
}

fn forwarding_stays_on_until_the_last_owner_goes() {
    add_uplinks();
    let forwarding = || {
        let ipv4 = setting("ipv4", "eth0", "forwarding").unwrap();
        // Before Linux 6.17 there is one switch for all interfaces.
        let ipv6 = setting("ipv6", "eth0", "force_forwarding");
        (
            ipv4,
            ipv6.or_else(|| setting("ipv6", "all", "forwarding"))
                .unwrap(),
        )
    };
    let before = Snapshot::take();
    assert_eq!(forwarding(), (0, 0));
    let first = Host::open(owner()).unwrap();
    let second = Host::open(Owner::new("rik").unwrap()).unwrap();
    first.remove().unwrap();
    assert_eq!(forwarding(), (1, 1));
    second.remove().unwrap();
    assert_eq!(forwarding(), (0, 0));
    before.assert_same(&Snapshot::take(), "both owners have gone");
}

fn forwarding_without_an_uplink_is_off_again_in_the_end() {
    let before = Snapshot::take();
    let mut host = Host::open(owner()).unwrap();
    host.attach(&Guest::new("hello-world").unwrap()).unwrap();
    host.remove().unwrap();
    before.assert_same(&Snapshot::take(), "removed");
}

/// An interface with `accept_ra` 1 takes none while it forwards.
fn interfaces_go_on_taking_advertised_routes() {
    add_uplinks();
    std::fs::write("/proc/sys/net/ipv6/conf/eth1/accept_ra", "0").unwrap();
    let before = Snapshot::take();
    let takes = |name: &str| {
        let accept_ra = setting("ipv6", name, "accept_ra").unwrap();
        let forwarding = setting("ipv6", name, "forwarding").unwrap();
        accept_ra == 2 || (accept_ra == 1 && forwarding == 0)
    };
    let check = || {
        assert!(takes("eth0") && takes("eth2") && takes("eth3"));
        assert!(!takes("eth1"), "it did not before");
    };
    check();
    let mut host = Host::open(owner()).unwrap();
    check();
    host.attach(&Guest::new("hello-world").unwrap()).unwrap();
    let again = Host::open(Owner::new("rik").unwrap()).unwrap();
    check();
    host.remove().unwrap();
    check();
    again.remove().unwrap();
    before.assert_same(&Snapshot::take(), "removed");
}

/// Two pairs of interfaces, one of which, `eth0`, has addresses that the
/// outside can reach.
fn add_uplinks() {
    for pair in [["eth0", "eth1"], ["eth2", "eth3"]] {
        let [one, other] = pair;
        let add = ["link", "add", one, "type", "veth", "peer", "name", other];
        run("ip", &add);
    }
    run("ip", &["address", "add", "203.0.113.1/24", "dev", "eth0"]);
    let ipv6 = ["address", "add", "2001:db8::1/64", "dev", "eth0", "nodad"];
    run("ip", &ipv6);
}

/// An IP setting of an interface, if the kernel knows it.
fn setting(family: &str, interface: &str, name: &str) -> Option<i32> {
    let path = format!("/proc/sys/net/{family}/conf/{interface}/{name}");
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().parse().unwrap())
}

/// Eight handles, each on a thread, attach the same guests in other orders.
fn handles_that_attach_the_same_guests_at_once_agree() {
    let here = NetNs::current().unwrap();
    Host::open(owner()).unwrap();
    let names = ["a", "b", "c", "d", "e", "f"];
    let attached: Vec<Vec<Attachment>> = std::thread::scope(|scope| {
        let attach = |first: usize| {
            let here = &here;
            scope.spawn(move || {
                here.run(|| {
                    let mut host = Host::open(owner()).unwrap();
                    let order = names.iter().cycle().skip(first).take(names.len());
                    let mut guests: Vec<_> = order
                        .map(|name| host.attach(&Guest::new(name).unwrap()).unwrap())
                        .collect();
                    guests.sort_by_key(|guest| guest.name().to_owned());
                    guests
                })
                .unwrap()
            })
        };
        let threads: Vec<_> = (0..8).map(attach).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let first = &attached[0];
    assert!(attached.iter().all(|guests| guests == first));
    let mut host = Host::open(owner()).unwrap();
    assert_eq!(host.guests().unwrap().len(), names.len());
    host.remove().unwrap();
}

fn guest_that_is_attached_again_hides_no_other_handles_change() {
    let [one, other] = ["one", "other"].map(|name| Guest::new(name).unwrap());
    let mut first = Host::open(owner()).unwrap();
    let mut second = Host::open(owner()).unwrap();
    first.attach(&one).unwrap();
    // Nothing is to be done, so the kernel does not count on.
    first.attach(&one).unwrap();
    let attached = second.attach(&other).unwrap();
    assert_eq!(first.attach(&other).unwrap(), attached);
    assert_eq!(first.guests().unwrap().len(), 2);
}

fn guest_whose_table_was_flushed_keeps_tap_addresses_and_mac() {
    let mac = "02:00:00:00:00:07".parse().unwrap();
    let (first, second) = (
        Guest::new("first").unwrap(),
        Guest::new("second").unwrap().mac(mac),
    );
    let mut host = Host::open(owner()).unwrap();
    host.attach(&first).unwrap();
    let before = host.attach(&second).unwrap();
    run("nft", &["flush", "ruleset"]);
    let mut host = Host::open(owner()).unwrap();
    assert_eq!(host.guests().unwrap()[1], before);
    assert_eq!(host.attach(&second).unwrap(), before);
    assert!(run("nft", &["list", "set", "inet", "riklet", "guard4"]).contains("02:00:00:00:00:07"));
    host.remove().unwrap();
}

fn guests_of_overlapping_networks_never_share_addresses() {
    let settings = |ipv4: &str| {
        let networks = Networks::new(ipv4.parse().unwrap(), "fd00::/64".parse().unwrap()).unwrap();
        Settings::new(owner()).networks(networks)
    };
    let mut host = Host::with(settings("10.0.0.4/30")).unwrap();
    let first = host.attach(&Guest::new("first").unwrap()).unwrap();
    assert_eq!(first.ipv4().to_string(), "10.0.0.6");
    let mut host = Host::with(settings("10.0.0.0/29")).unwrap();
    let error = host.attach(&Guest::new("second").unwrap()).unwrap_err();
    // The only other network of the pool is the first guest's.
    assert!(error.is_exists(), "{error}");
    host.remove().unwrap();
}

fn nothing_is_made_where_nothing_is_found() {
    assert!(Host::find(Settings::new(owner())).unwrap().is_none());
    assert_eq!(run("nft", &["list", "ruleset"]), "");
}

fn link_of_another_kind_under_our_name_stays_untouched() {
    run("ip", &["link", "add", "riklet-0", "type", "bridge"]);
    let mut host = Host::open(owner()).unwrap();
    let error = host
        .attach(&Guest::new("hello-world").unwrap())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "TAP riklet-0 clashes with a link of kind bridge"
    );
    assert_eq!(host.guests().unwrap(), []);
    host.remove().unwrap();
    assert!(run("ip", &["-d", "link", "show", "riklet-0"]).contains("bridge"));
}

fn full_map_is_doubled() {
    let mut host = Host::with(Settings::new(owner()).exposures(2)).unwrap();
    let guest = host.attach(&Guest::new("hello-world").unwrap()).unwrap();
    let exposure = |port: u16| {
        format!("tcp/{port}->{}:80", guest.ipv4())
            .parse::<Exposure>()
            .unwrap()
    };
    host.expose(&exposure(1)).unwrap();
    host.expose(&exposure(2)).unwrap();
    let size = || run("nft", &["list", "map", "inet", "riklet", "dnat4_any"]);
    assert!(size().contains("size 2\n"));
    host.expose(&exposure(3)).unwrap();
    assert!(size().contains("size 4\n"));
    assert_eq!(host.exposures().unwrap().len(), 3);
    host.withdraw(&exposure(1), Flows::Cut).unwrap();
    host.expose(&exposure(4)).unwrap();
    assert!(size().contains("size 4\n"));
    host.remove().unwrap();
}

/// A service of the host keeps its flows when an exposure of its port was
/// refused and others are made afterwards.
fn exposure_that_failed_ends_no_flows_later() {
    run("ip", &["link", "set", "lo", "up"]);
    run("ip", &["address", "add", "203.0.113.1/32", "dev", "lo"]);
    let mut host = Host::open(owner()).unwrap();
    let guest = host.attach(&Guest::new("hello-world").unwrap()).unwrap();
    let exposure = |port: u16| {
        format!("udp/{port}->{}:80", guest.ipv4())
            .parse::<Exposure>()
            .unwrap()
    };
    // Another handle was faster with the last of these.
    let mut other = Host::open(owner()).unwrap();
    let second = other.attach(&Guest::new("second").unwrap()).unwrap();
    let taken = format!("udp/55->{}:80", second.ipv4());
    other.expose(&taken.parse().unwrap()).unwrap();
    let clashing = [exposure(53), exposure(54), exposure(55)];
    assert!(host.expose_all(&clashing).is_err());

    let service = UdpSocket::bind("203.0.113.1:53").unwrap();
    service
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let asker = UdpSocket::bind("203.0.113.1:0").unwrap();
    asker.send_to(b"x", service.local_addr().unwrap()).unwrap();
    service.recv(&mut [0]).unwrap();
    let mut connection = Connection::netfilter().unwrap();
    let to_service =
        FlowFilter::ipv4().original(TupleFilter::new().protocol(17).destination_port(53));
    assert_eq!(flows(&mut connection, &to_service).unwrap().len(), 1);
    host.expose_all(&[exposure(60), exposure(61)]).unwrap();
    assert_eq!(flows(&mut connection, &to_service).unwrap().len(), 1);
    host.remove().unwrap();
}
