//! Who reaches whom.

use libtest_mimic::Trial;
use tapwire::route::{BridgePort, FdbEntry, LinkChange, PortOptions, Rtnl};
use tapwire::segment::{Overlay, Segment};
use tapwire::sys::NetNs;

use super::guests::{Guest, port};
use crate::bridged::pod::{inside, ip};
use crate::support::{run, trials};
use crate::world::{NEVER, SOON};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["ip", "bridge"]:
        isolated_ports_reach_only_those_that_are_not,
        guests_on_two_hosts_reach_each_other_by_the_tunnel,
        address_behind_a_peer_is_led_there_without_learning,
        options_of_a_port_are_read_back,
    ]
}

fn isolated_ports_reach_only_those_that_are_not() {
    let [one, other, router] = [
        ("one", "10.8.0.1"),
        ("other", "10.8.0.2"),
        ("router", "10.8.0.3"),
    ]
    .map(|(name, address)| Guest::boot(name, address));
    let segment = |isolated: bool| {
        let [one, other] = ["one", "other"].map(port);
        let [one, other] = if isolated {
            [one.isolated(), other.isolated()]
        } else {
            [one, other]
        };
        let segment = Segment::new("blue".parse().unwrap());
        segment.port(one).port(other).port(port("router"))
    };
    segment(true).apply().unwrap();
    assert!(one.reaches(&router.address, SOON) && router.reaches(&other.address, SOON));
    assert!(!one.reaches(&other.address, NEVER));
    segment(false).apply().unwrap();
    assert!(one.reaches(&other.address, SOON));
    segment(true).apply().unwrap();
    assert!(!other.reaches(&one.address, NEVER));
}

fn guests_on_two_hosts_reach_each_other_by_the_tunnel() {
    let hosts = Hosts::new();
    let [one, other] = [0, 1].map(|number| hosts.guest(number));
    hosts.apply(0, &[]);
    hosts.apply(1, &[]);
    assert!(!one.reaches(&other.address, NEVER), "no peers yet");
    hosts.apply(0, &[1]);
    hosts.apply(1, &[0]);
    assert!(one.reaches(&other.address, SOON) && other.reaches(&one.address, SOON));
    let fdb = inside(&hosts.list[0], || {
        run("bridge", &["fdb", "show", "dev", "vx"])
    });
    assert!(
        fdb.contains("00:00:00:00:00:00 dst 192.0.2.2 self permanent"),
        "{fdb}"
    );
    // Another network is another segment.
    inside(&hosts.list[1], || {
        hosts.segment(1, &[0], 43).apply().unwrap();
        let details = run("ip", &["-d", "link", "show", "vx"]);
        assert!(details.contains("vxlan id 43"), "{details}");
    });
    assert!(!other.reaches(&one.address, NEVER));
    hosts.apply(1, &[0]);
    assert!(other.reaches(&one.address, SOON));
    // Without the peer nothing that is for many is sent.
    hosts.apply(0, &[]);
    inside(&one.netns, || ip("neigh flush dev eth0"));
    inside(&hosts.list[0], || {
        ip("link set vx type bridge_slave learning off");
    });
    let fdb = inside(&hosts.list[0], || {
        run("bridge", &["fdb", "show", "dev", "vx"])
    });
    assert!(!fdb.contains("00:00:00:00:00:00"), "{fdb}");
}

fn address_behind_a_peer_is_led_there_without_learning() {
    let hosts = Hosts::new();
    let [one, other] = [0, 1].map(|number| hosts.guest(number));
    // Nothing that it says by itself tells where it is.
    inside(&other.netns, || {
        std::fs::write("/proc/sys/net/ipv6/conf/eth0/disable_ipv6", "1").unwrap();
    });
    hosts.apply(0, &[]);
    hosts.apply(1, &[0]);
    let mac_of = |guest: &Guest| {
        inside(&guest.netns, || {
            let mut rtnl = Rtnl::open().unwrap();
            let link = rtnl.link("eth0".parse().unwrap()).unwrap().unwrap();
            link.mac().unwrap()
        })
    };
    let mac = mac_of(&other);
    inside(&one.netns, || {
        ip(&format!(
            "neigh replace {} lladdr {mac} dev eth0 nud permanent",
            other.address
        ));
    });
    assert!(
        !one.reaches(&other.address, NEVER),
        "nobody knows where it is"
    );
    inside(&hosts.list[0], || {
        let mut rtnl = Rtnl::open().unwrap();
        let tunnel = rtnl.link("vx".parse().unwrap()).unwrap().unwrap().index();
        let entry = FdbEntry::behind(tunnel, mac, "192.0.2.2".parse().unwrap());
        rtnl.apply(|changes| changes.replace_fdb(&entry)).unwrap();
        let listed = rtnl.fdb(tunnel).unwrap();
        let is_it = |it: &&FdbEntry| it.mac() == Some(mac) && it.remote() == entry.remote();
        assert!(listed.iter().find(is_it).unwrap().is_static());
    });
    assert!(one.reaches(&other.address, SOON));
}

fn options_of_a_port_are_read_back() {
    ip("link add blue type bridge");
    ip("link add left type veth peer name right");
    ip("link set left master blue");
    let mut rtnl = Rtnl::open().unwrap();
    let left = rtnl.link("left".parse().unwrap()).unwrap().unwrap().index();
    let right = rtnl
        .link("right".parse().unwrap())
        .unwrap()
        .unwrap()
        .index();
    assert_eq!(rtnl.bridge_port(right).unwrap(), None);
    let all = PortOptions::all();
    for option in all.iter() {
        // Guard and root block are for bridges with a spanning tree.
        let options = BridgePort::new().off(all).on(option);
        rtnl.apply(|changes| changes.set_bridge_port(left, &options))
            .unwrap();
        assert_eq!(rtnl.bridge_port(left).unwrap(), Some(options), "{option:?}");
    }
    let details = run("ip", &["-d", "link", "show", "left"]);
    assert!(
        details.contains("isolated on") && details.contains("learning off"),
        "{details}"
    );
    rtnl.apply(|changes| changes.set_link(&LinkChange::new(left).no_master()))
        .unwrap();
    assert_eq!(rtnl.bridge_port(left).unwrap(), None);
}

/// Two hosts on a network.
struct Hosts {
    list: [NetNs; 2],
}

const ADDRESSES: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

impl Hosts {
    fn new() -> Self {
        let list = [(); 2].map(|()| NetNs::new().unwrap());
        inside(&list[0], || {
            ip("link add wire type veth peer name far");
            let mut rtnl = Rtnl::open().unwrap();
            let far = rtnl.link("far".parse().unwrap()).unwrap().unwrap().index();
            rtnl.apply(|changes| changes.set_link(&LinkChange::new(far).netns(&list[1])))
                .unwrap();
        });
        for (number, name) in ["wire", "far"].iter().enumerate() {
            inside(&list[number], || {
                ip("link set lo up");
                ip(&format!("address add {}/24 dev {name}", ADDRESSES[number]));
                ip(&format!("link set {name} up"));
            });
        }
        Self { list }
    }

    fn guest(&self, number: usize) -> Guest {
        let address = format!("10.8.0.{}", number + 1);
        inside(&self.list[number], || Guest::boot("guest", &address))
    }

    fn segment(&self, number: usize, peers: &[usize], vni: u32) -> Segment {
        assert!(number < self.list.len());
        let local = ADDRESSES[number].parse().unwrap();
        let mut overlay = Overlay::new("vx".parse().unwrap(), vni, local);
        for peer in peers {
            overlay = overlay.peer(ADDRESSES[*peer].parse().unwrap());
        }
        let segment = Segment::new("blue".parse().unwrap());
        segment.overlay(overlay).port(port("guest"))
    }

    fn apply(&self, number: usize, peers: &[usize]) {
        inside(&self.list[number], || {
            self.segment(number, peers, 42).apply().unwrap();
        });
    }
}
