//! What a distribution's kernel has and a small one may lack: VLANs of bridge
//! ports, and `matchall`. `tests/other-kernel` runs these.

use libtest_mimic::Trial;
use tapwire::route::tc::{Action, Classifier, Filter, Hook, Qdisc};
use tapwire::route::{PortVlan, Rtnl};
use tapwire::segment::{Port, Segment, TapPort};

use super::guests::{Guest, port};
use crate::bridged::pod::{inside, ip};
use crate::support::{run, trials};
use crate::world::{NEVER, SOON};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["ip", "bridge", "tc"]:
        access_and_trunk_ports_carry_their_vlans,
        guests_join_as_access_and_trunk_ports,
        filters_by_matchall_are_listed_as_added,
    ]
}

fn access_and_trunk_ports_carry_their_vlans() {
    let [ten, also_ten, twenty] = [
        ("ten", "10.8.0.1"),
        ("also", "10.8.0.2"),
        ("twenty", "10.8.0.3"),
    ]
    .map(|(name, address)| Guest::boot(name, address));
    let router = Guest::boot("router", "10.7.0.1");
    inside(&router.netns, || {
        for (id, address) in [(10, "10.8.0.10"), (20, "10.8.0.20")] {
            ip(&format!("link add link eth0 name v{id} type vlan id {id}"));
            ip(&format!("address add {address}/32 dev v{id}"));
            ip(&format!("link set v{id} up"));
        }
        ip("route add 10.8.0.1 dev v10");
        ip("route add 10.8.0.3 dev v20");
    });
    let segment = |trunk: [u16; 2]| {
        Segment::new("blue".parse().unwrap())
            .vlans()
            .port(port("ten").access(10))
            .port(port("also").access(10))
            .port(port("twenty").access(20))
            .port(port("router").trunk(trunk[0], trunk[1]))
    };
    segment([10, 20]).apply().unwrap();
    assert!(ten.reaches(&also_ten.address, SOON));
    assert!(!ten.reaches(&twenty.address, NEVER));
    let answers = |guest: &Guest, address: &str, limit| {
        let ping = crate::world::ask(
            &guest.netns,
            tapwire::Protocol::Tcp,
            crate::world::at(address, 80),
            limit,
        );
        ping.is_some()
    };
    assert!(answers(&ten, "10.8.0.10", SOON) && answers(&twenty, "10.8.0.20", SOON));
    let mut rtnl = Rtnl::open().unwrap();
    let index =
        |rtnl: &mut Rtnl, name: &str| rtnl.link(name.parse().unwrap()).unwrap().unwrap().index();
    let vlans = |rtnl: &mut Rtnl, name: &str| {
        let index = index(rtnl, name);
        let all = rtnl.port_vlans().unwrap();
        all.into_iter()
            .find(|(it, _)| *it == index)
            .map(|(_, vlans)| vlans)
    };
    assert_eq!(vlans(&mut rtnl, "ten"), Some(vec![PortVlan::untagged(10)]));
    assert_eq!(
        vlans(&mut rtnl, "router"),
        Some(vec![PortVlan::tagged(10, 20)])
    );
    // Changed in place: the trunk loses VLAN 20, and only that.
    segment([10, 19]).apply().unwrap();
    assert_eq!(
        vlans(&mut rtnl, "router"),
        Some(vec![PortVlan::tagged(10, 19)])
    );
    assert!(answers(&ten, "10.8.0.10", SOON) && !answers(&twenty, "10.8.0.20", NEVER));
    let shown = run("bridge", &["vlan", "show"]);
    segment([10, 19]).apply().unwrap();
    assert_eq!(run("bridge", &["vlan", "show"]), shown, "applied again");
    segment([10, 19]).remove().unwrap();
    assert!(!run("ip", &["link"]).contains("blue"));
}

/// Who made the segment knows of none of its guests.
fn guests_join_as_access_and_trunk_ports() {
    let segment = Segment::new("blue".parse().unwrap()).vlans();
    segment.apply().unwrap();
    let port_of = |port: Port, number: u8| {
        let mac = tapwire::Mac::new([2, 0, 0, 0, 0, number]).unwrap();
        TapPort::new("blue".parse().unwrap(), port, mac)
    };
    let vlans = |name: &str| {
        let mut rtnl = Rtnl::open().unwrap();
        let index = rtnl.link(name.parse().unwrap()).unwrap().unwrap().index();
        let all = rtnl.port_vlans().unwrap();
        let of = all.into_iter().find(|(it, _)| *it == index);
        of.map(|(_, vlans)| vlans).unwrap_or_default()
    };
    let access = port_of(port("guest0").access(10), 5);
    let trunk = port_of(port("guest1").native(1).trunk(10, 12).trunk(13, 19), 6);
    for wanted in [&access, &trunk] {
        wanted.join().unwrap();
        assert!(wanted.find().unwrap().is_some());
    }
    assert_eq!(vlans("guest0"), [PortVlan::untagged(10)]);
    let carried = vlans("guest1");
    assert!(carried.contains(&PortVlan::untagged(1)), "{carried:?}");
    assert!(carried.iter().any(|it| it.first() == 10), "{carried:?}");
    segment.apply().unwrap();
    assert!(access.find().unwrap().is_some() && trunk.find().unwrap().is_some());
    // The same port, elsewhere.
    let moved = port_of(port("guest0").access(20), 5);
    assert_eq!(moved.find().unwrap(), None);
    moved.join().unwrap();
    assert_eq!(vlans("guest0"), [PortVlan::untagged(20)]);
    assert_eq!(access.find().unwrap(), None);
    let none = port_of(port("guest2"), 7).join().unwrap_err();
    assert!(none.to_string().contains("is in no VLAN"), "{none}");
    for wanted in [&moved, &trunk] {
        wanted.leave().unwrap();
    }
    segment.remove().unwrap();
    assert!(!run("ip", &["link"]).contains("guest"));
}

fn filters_by_matchall_are_listed_as_added() {
    ip("link add left type veth peer name right");
    let mut rtnl = Rtnl::open().unwrap();
    let [left, right] =
        ["left", "right"].map(|name| rtnl.link(name.parse().unwrap()).unwrap().unwrap().index());
    let redirect = Filter::new(left, Hook::Ingress, Action::Redirect(right));
    let mirror = Filter::new(left, Hook::Egress, Action::Mirror(right)).priority(7);
    rtnl.apply(|changes| {
        changes.add_qdisc(&Qdisc::clsact(left));
        changes.add_filter(&redirect.clone().matchall().cookie(b"ours"));
        changes.add_filter(&mirror.clone().matchall());
    })
    .unwrap();
    for (hook, action) in [
        (Hook::Ingress, Action::Redirect(right)),
        (Hook::Egress, Action::Mirror(right)),
    ] {
        let listed = rtnl.filters(left, hook).unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(*listed[0].classifier(), Classifier::Matchall);
        assert!(listed[0].does(action), "{}", listed[0]);
        rtnl.apply(|changes| changes.delete_filter(&listed[0]))
            .unwrap();
        assert_eq!(rtnl.filters(left, hook).unwrap(), []);
    }
}
