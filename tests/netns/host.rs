//! The verbs of a host: what they leave in the kernel.

use libtest_mimic::Trial;
use tapwire::sys::NetNs;
use tapwire::{Attachment, Exposure, Flows, Guest, Host, Networks, Owner, Settings};

use crate::support::{feed, run, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["nft", "ip"]:
        ruleset_is_readable_and_loads_again_unchanged,
        forwarding_stays_on_until_the_last_owner_goes,
        guest_whose_table_was_flushed_keeps_tap_addresses_and_mac,
        guests_of_overlapping_networks_never_share_addresses,
        nothing_is_made_where_nothing_is_found,
        link_of_another_kind_under_our_name_stays_untouched,
        full_map_says_so_and_changes_nothing,
        handles_that_attach_the_same_guests_at_once_agree,
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
    run(
        "ip",
        &[
            "link", "add", "eth0", "type", "veth", "peer", "name", "eth1",
        ],
    );
    run("ip", &["address", "add", "203.0.113.1/24", "dev", "eth0"]);
    run(
        "ip",
        &["address", "add", "2001:db8::1/64", "dev", "eth0", "nodad"],
    );
    let read = |path: &str| std::fs::read_to_string(path).unwrap().trim().to_owned();
    let forwarding = || {
        let ipv4 = read("/proc/sys/net/ipv4/conf/eth0/forwarding");
        (ipv4, read("/proc/sys/net/ipv6/conf/eth0/force_forwarding"))
    };
    let is = |value: &str| (value.to_owned(), value.to_owned());
    assert_eq!(forwarding(), is("0"));
    let first = Host::open(owner()).unwrap();
    let second = Host::open(Owner::new("rik").unwrap()).unwrap();
    first.remove().unwrap();
    assert_eq!(forwarding(), is("1"));
    second.remove().unwrap();
    assert_eq!(forwarding(), is("0"));
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

fn full_map_says_so_and_changes_nothing() {
    let mut host = Host::with(Settings::new(owner()).exposures(2)).unwrap();
    let guest = host.attach(&Guest::new("hello-world").unwrap()).unwrap();
    let exposure = |port: u16| {
        format!("tcp/{port}->{}:80", guest.ipv4())
            .parse::<Exposure>()
            .unwrap()
    };
    host.expose(&exposure(1)).unwrap();
    host.expose(&exposure(2)).unwrap();
    let error = host.expose(&exposure(3)).unwrap_err();
    assert_eq!(error.to_string(), "the exposures are used up (room for 2)");
    assert_eq!(host.exposures().unwrap().len(), 2);
    host.withdraw(&exposure(1), Flows::Cut).unwrap();
    host.expose(&exposure(3)).unwrap();
    host.remove().unwrap();
}
