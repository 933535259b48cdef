//! Guests that join a segment which someone else has made.

use libtest_mimic::Trial;
use tapwire::Error;
use tapwire::route::{LinkChange, Rtnl};
use tapwire::segment::{Segment, TapPort};

use super::guests::port;
use crate::bridged::pod::{assert_same, ip, set, without_cables};
use crate::support::{run, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["ip"]:
        port_is_joined_once_changed_and_left,
        port_that_cannot_be_is_refused_and_changes_nothing,
        port_is_left_though_its_segment_is_gone,
    ]
}

fn port_is_joined_once_changed_and_left() {
    start();
    segment().apply().unwrap();
    let bridge = Rtnl::open().unwrap().link("blue".parse().unwrap());
    let bridge = bridge.unwrap().unwrap().index();
    let mut rtnl = Rtnl::open().unwrap();
    rtnl.apply(|changes| changes.set_link(&LinkChange::new(bridge).mtu(1400)))
        .unwrap();
    let before = without_cables();
    let wanted = guest("guest0", 5).tap_owner(54_321).vnet_header();
    assert_eq!(wanted.find().unwrap(), None);
    let joined = wanted.join().unwrap();
    assert_eq!((joined.name(), joined.mtu()), ("guest0", 1400));
    assert_ne!(joined.mac(), Some(wanted.mac()));
    let details = run("ip", &["-d", "link", "show", "guest0"]);
    for words in ["master blue", "vnet_hdr on", "user 54321", "isolated off"] {
        assert!(details.contains(words), "{words} in {details}");
    }
    let whole = without_cables();
    assert_eq!(wanted.join().unwrap().index(), joined.index());
    assert_same(&without_cables(), &whole, "joined again");
    // Who made the segment knows nothing of it.
    segment().apply().unwrap();
    assert!(wanted.find().unwrap().is_some());
    assert_same(&without_cables(), &whole, "applied again");
    let isolated = TapPort::new("blue".parse().unwrap(), port("guest0").isolated(), mac(5));
    assert_eq!(isolated.find().unwrap(), None);
    isolated.mtu(1300).join().unwrap();
    let details = run("ip", &["-d", "link", "show", "guest0"]);
    assert!(details.contains("isolated on") && details.contains("mtu 1300"));
    assert_eq!(wanted.find().unwrap(), None);
    wanted.leave().unwrap();
    wanted.leave().unwrap();
    assert_same(&without_cables(), &before, "left");
}

fn port_that_cannot_be_is_refused_and_changes_nothing() {
    start();
    segment().apply().unwrap();
    Segment::new("red".parse().unwrap()).apply().unwrap();
    guest("guest0", 5).join().unwrap();
    ip("link add taken type bridge");
    let before = without_cables();
    let red = TapPort::new("red".parse().unwrap(), port("guest0"), mac(5));
    for (wanted, words) in [
        (guest("taken", 6), "another interface of that name"),
        (guest("guest0", 6), "another interface of that name"),
        (guest("guest1", 5), "the guest on guest0"),
        (red, "blue, which it is a port of"),
    ] {
        let error = wanted.join().unwrap_err();
        assert!(matches!(error, Error::Conflict(_)), "{error}");
        assert!(error.to_string().contains(words), "{words} in {error}");
        assert_same(&without_cables(), &before, words);
    }
    let trunk = port("guest1").trunk(10, 20);
    let trunk = TapPort::new("blue".parse().unwrap(), trunk, mac(6));
    assert!(matches!(trunk.join(), Err(Error::Invalid(_))));
    let absent = TapPort::new("green".parse().unwrap(), port("guest1"), mac(6));
    assert!(absent.join().unwrap_err().is_not_found());
    assert_eq!(absent.find().unwrap(), None);
    assert!(matches!(guest("taken", 6).leave(), Err(Error::Conflict(_))));
    assert_same(&without_cables(), &before, "refused");
}

fn port_is_left_though_its_segment_is_gone() {
    start();
    segment().apply().unwrap();
    segment().remove().unwrap();
    let before = without_cables();
    segment().apply().unwrap();
    let wanted = guest("guest0", 5);
    wanted.join().unwrap();
    segment().remove().unwrap();
    assert_eq!(wanted.find().unwrap(), None);
    assert!(wanted.join().unwrap_err().is_not_found());
    segment().apply().unwrap();
    wanted.join().unwrap();
    segment().remove().unwrap();
    wanted.leave().unwrap();
    assert_same(&without_cables(), &before, "left");
}

/// Links that come up then get no addresses by themselves, and a bridge keeps
/// its MAC address, which is that of a port.
fn start() {
    set("net/ipv6/conf/default/disable_ipv6", "1");
    ip("link add one address 02:00:00:00:00:01 type veth peer name far address 02:00:00:00:00:02");
    ip("link set far up");
    ip("link set one up");
}

fn segment() -> Segment {
    Segment::new("blue".parse().unwrap()).port(port("one"))
}

fn guest(name: &str, number: u8) -> TapPort {
    TapPort::new("blue".parse().unwrap(), port(name), mac(number))
}

fn mac(number: u8) -> tapwire::Mac {
    tapwire::Mac::new([2, 0, 0, 0, 0, number]).unwrap()
}
