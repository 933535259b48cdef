//! What Nabla's runnc, KubeVirt and others get wrong in the same place, each
//! as a fact that holds here.

use ipnet::IpNet;
use libtest_mimic::Trial;
use tapwire::bridged::{BridgePlan, PodInterface, restore};
use tapwire::guest::GuestRoute;
use tapwire::route::{LinkChange, NewLink, Rtnl};
use tapwire::{IfIndex, IfName};

use super::pod::{
    MTU, OUTSIDE, POD, PORT, PodGuest, Pods, Wiring, asked, dump, eth0, inside, ip, obey, servers,
    set, settled,
};
use crate::support::{run, trials};
use crate::world::{FAMILIES, at};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["ip"]:
        neighbours_find_the_guest_under_the_pods_mac,
        guest_asks_for_its_gateway_and_for_nobody_else,
        interface_without_addresses_or_default_route_is_taken_over,
        names_fit_whatever_the_interface_is_called,
        two_interfaces_keep_their_macs_and_share_no_name,
        interface_that_cannot_be_a_port_is_left_as_it_was,
        guest_is_told_every_address_and_route_and_the_mtu,
        pod_on_a_macvlan_is_taken_over_too,
    ]
}

/// N1: it is documented there, and does not happen.
fn neighbours_find_the_guest_under_the_pods_mac() {
    let pods = Pods::new(Wiring::Subnet);
    let _outside = servers(&pods.outside, "outside");
    let mac = pods.read().mac();
    let bridged = pods.take_over();
    assert_eq!(bridged.config().mac(), mac);
    let mut guest = PodGuest::boot(&pods, &bridged);
    guest.configure(bridged.config());
    for address in POD {
        let answer = asked(&pods.node, at(address, PORT));
        assert_eq!(answer.map(|(name, _)| name).as_deref(), Some("guest"));
        let entry = inside(&pods.node, || run("ip", &["neigh", "show", address]));
        assert!(entry.contains(&mac.to_string()), "{entry}");
    }
}

/// N2: with a prefix of one bit half of the world is taken for neighbours.
fn guest_asks_for_its_gateway_and_for_nobody_else() {
    let pods = Pods::new(Wiring::ProxyArp);
    let _outside = servers(&pods.outside, "outside");
    let bridged = pods.take_over();
    let mut guest = PodGuest::boot(&pods, &bridged);
    guest.configure(bridged.config());
    let answer = asked(&guest.netns, at(OUTSIDE[0], PORT));
    assert_eq!(answer.map(|(_, seen)| seen), Some(POD[0].parse().unwrap()));
    let asked_for = inside(&guest.netns, || run("ip", &["-4", "neigh"]));
    let asked_for: Vec<_> = asked_for
        .lines()
        .map(|line| line.split(' ').next())
        .collect();
    assert_eq!(asked_for, [Some("169.254.1.1")]);
}

/// N3: there the first address and the first route's gateway are taken for
/// granted.
fn interface_without_addresses_or_default_route_is_taken_over() {
    for addresses in [&[][..], &["10.1.0.5/24"], &["2001:db8:1::5/64"]] {
        let pod = lone_pod("eth0", addresses);
        let before = dump();
        let bridged = BridgePlan::new(pod).take_over().unwrap();
        let told: Vec<IpNet> = addresses.iter().map(|net| net.parse().unwrap()).collect();
        assert_eq!(bridged.config().addresses(), told);
        assert_eq!(bridged.config().routes(), []);
        bridged.undo().unwrap();
        assert_eq!(dump(), before);
        ip("link delete eth0");
    }
}

/// N4: an id of nine bytes ends the program there.
fn names_fit_whatever_the_interface_is_called() {
    let longest = "a234567890b2345";
    let mut rtnl = Rtnl::open().unwrap();
    let index = IfIndex::new(2_147_483_647).unwrap();
    rtnl.apply(|changes| {
        let veth = NewLink::veth(longest.parse().unwrap(), "far".parse().unwrap());
        changes.add_link(&veth.index(index));
        changes.set_link(&LinkChange::new(index).up());
    })
    .unwrap();
    let pod = PodInterface::read(longest.parse().unwrap()).unwrap();
    let bridged = BridgePlan::new(pod).take_over().unwrap();
    assert_eq!(bridged.bridge().as_str(), "twbr2147483647");
    assert_eq!(bridged.tap().as_str(), "twtap2147483647");
    bridged.undo().unwrap();
}

/// N5 and N7: all get one MAC address, and one bridge name.
fn two_interfaces_keep_their_macs_and_share_no_name() {
    ip("link add br0 type bridge");
    let names = ["eth0", "net1"];
    let pods = names.map(|name| lone_pod(name, &["10.1.0.5/24"]));
    let before = dump();
    let taken = pods
        .clone()
        .map(|pod| BridgePlan::new(pod).take_over().unwrap());
    let mut macs = Vec::new();
    for (pod, bridged) in pods.iter().zip(&taken) {
        let mut rtnl = Rtnl::open().unwrap();
        let mut mac = |name: IfName| rtnl.link(name).unwrap().unwrap().mac().unwrap();
        assert_eq!(mac(pod.name()), pod.mac(), "as it was");
        macs.extend([pod.name(), bridged.bridge(), bridged.tap()].map(&mut mac));
    }
    macs.sort();
    macs.dedup();
    assert_eq!(macs.len(), 6, "all are different");
    for bridged in &taken {
        bridged.undo().unwrap();
    }
    assert_eq!(dump(), before);
}

/// N6: a step that fails leaves the pod without its address there.
fn interface_that_cannot_be_a_port_is_left_as_it_was() {
    let pod = lone_pod("eth0", &["10.1.0.5/24", "2001:db8:1::5/64"]);
    ip("link add link eth0 name above type macvlan mode bridge");
    let before = dump();
    let error = BridgePlan::new(pod.clone()).take_over().unwrap_err();
    assert!(error.is_busy(), "{error:?}");
    assert_eq!(dump(), before);
    ip("link delete above");
    let bridged = BridgePlan::new(pod).take_over().unwrap();
    bridged.undo().unwrap();
}

/// N7: further addresses and routes, IPv6 and the MTU are lost there.
fn guest_is_told_every_address_and_route_and_the_mtu() {
    lone_pod(
        "eth0",
        &[
            "10.1.0.5/24",
            "10.2.0.5/16",
            "2001:db8:1::5/64",
            "2001:db8:2::5/128",
        ],
    );
    ip("link set eth0 mtu 1380");
    ip("route add 10.9.0.0/16 via 10.1.0.9 metric 7 src 10.2.0.5");
    ip("route add default via 10.1.0.1");
    ip("route add 198.51.100.1 dev eth0");
    ip("route add 192.0.2.0/24 via 198.51.100.9 dev eth0 onlink");
    ip("-6 route add default via fe80::1 dev eth0 metric 50");
    ip("route add 203.0.113.0/24 dev eth0 table 77");
    ip("route add 10.8.0.0/16 via 10.1.0.8 mtu 1300");
    ip("neigh add 10.1.0.77 lladdr 02:00:00:00:00:77 dev eth0 nud permanent");
    let plan = BridgePlan::new(PodInterface::read(eth0()).unwrap());
    let config = plan.config();
    let route = |destination: &str| GuestRoute::new(destination.parse().unwrap());
    let via = |destination: &str, gateway: &str| route(destination).via(gateway.parse().unwrap());
    let expected = vec![
        route("198.51.100.1/32"),
        via("10.8.0.0/16", "10.1.0.8"),
        via("10.9.0.0/16", "10.1.0.9")
            .metric(7)
            .source("10.2.0.5".parse().unwrap()),
        via("192.0.2.0/24", "198.51.100.9").onlink(),
        via("0.0.0.0/0", "10.1.0.1"),
        via("::/0", "fe80::1").metric(50),
    ];
    assert_eq!(config.routes(), expected, "{config}");
    let told = [
        "10.1.0.5/24",
        "10.2.0.5/16",
        "2001:db8:1::5/64",
        "2001:db8:2::5/128",
    ];
    assert_eq!(config.addresses(), told.map(|net| net.parse().unwrap()));
    let neighbour = (
        "10.1.0.77".parse().unwrap(),
        "02:00:00:00:00:77".parse().unwrap(),
    );
    assert_eq!(config.neighbours(), [neighbour]);
    let left_out: Vec<String> = plan.left_out().iter().map(ToString::to_string).collect();
    assert_eq!(left_out.len(), 2, "{left_out:?}");
    assert!(left_out.iter().any(|it| it.contains("203.0.113.0/24")));
    assert!(
        left_out
            .iter()
            .any(|it| it.contains("further properties") && it.contains("10.8.0.0"))
    );

    // A guest takes it as it is told, and the TAP has the MTU.
    let bridged = plan.take_over().unwrap();
    let tap = run("ip", &["link", "show", bridged.tap().as_str()]);
    assert!(tap.contains("mtu 1380"), "{tap}");
    let guest = tapwire::sys::NetNs::new().unwrap();
    inside(&guest, || {
        ip("link add eth0 type veth peer name far");
        ip("link set far up");
        obey(&config);
        let again = BridgePlan::new(PodInterface::read(eth0()).unwrap()).config();
        assert_eq!(again.to_string(), config.to_string());
    });
    restore(eth0()).unwrap();
}

/// A bridge in front of a macvlan whose MAC address was changed gets nothing:
/// the macvlan lets only its own through.
fn pod_on_a_macvlan_is_taken_over_too() {
    let pods = Pods::new(Wiring::Subnet);
    let _outside = servers(&pods.outside, "outside");
    let [ipv4, ipv6] = ["203.0.113.50", "2001:db8::50"];
    let pod = tapwire::sys::NetNs::new().unwrap();
    inside(&pods.node, || {
        ip("link add link eth0 name mv0 type macvlan mode bridge");
        let mut rtnl = Rtnl::open().unwrap();
        let index = rtnl.link("mv0".parse().unwrap()).unwrap().unwrap().index();
        rtnl.apply(|changes| changes.set_link(&LinkChange::new(index).netns(&pod)))
            .unwrap();
    });
    let pods = Pods { pod, ..pods };
    inside(&pods.pod, || {
        ip("link set mv0 name eth0");
        ip("link set eth0 up");
        ip(&format!("address add {ipv4}/24 dev eth0"));
        ip(&format!("address add {ipv6}/64 dev eth0 nodad"));
    });
    let before = pods.dump();
    let bridged = pods.take_over();
    let mut guest = PodGuest::boot(&pods, &bridged);
    guest.configure(bridged.config());
    for family in FAMILIES {
        let address = [ipv4, ipv6][family];
        let answer = asked(&pods.outside, at(address, PORT));
        let seen = OUTSIDE[family].parse().unwrap();
        assert_eq!(answer, Some(("guest".to_owned(), seen)));
        let answer = asked(&guest.netns, at(OUTSIDE[family], PORT));
        assert_eq!(answer.map(|(_, seen)| seen), Some(address.parse().unwrap()));
    }
    drop(guest);
    pods.undo(&bridged);
    assert_eq!(pods.dump(), before);
}

/// A pod's interface with nothing behind it.
fn lone_pod(name: &str, addresses: &[&str]) -> PodInterface {
    ip(&format!(
        "link add {name} mtu {MTU} type veth peer name {name}-far"
    ));
    ip(&format!("link set {name}-far up"));
    set(&format!("net/ipv6/conf/{name}/accept_dad"), "0");
    ip(&format!("link set {name} up"));
    for address in addresses {
        ip(&format!("address add {address} dev {name}"));
    }
    settled();
    PodInterface::read(name.parse().unwrap()).unwrap()
}
