//! A segment is made, changed and removed, and what is someone else's stays.

use libtest_mimic::Trial;
use tapwire::Error;
use tapwire::segment::{Overlay, Segment};

use super::guests::port;
use crate::bridged::pod::{assert_same, ip, without_cables as dump};
use crate::support::{run, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["ip", "bridge"]:
        segment_is_changed_in_place_and_removed_without_a_trace,
        contradictions_are_refused_before_anything_changes,
        what_is_of_others_is_a_conflict,
        segment_that_the_kernel_refuses_leaves_nothing,
    ]
}

fn segment_is_changed_in_place_and_removed_without_a_trace() {
    ports();
    let before = dump();
    let whole = segment()
        .overlay(overlay(42).peer("192.0.2.2".parse().unwrap()))
        .port(port("one").isolated())
        .port(port("other"));
    whole.apply().unwrap();
    let made = dump();
    assert!(run("bridge", &["-d", "link", "show", "dev", "one"]).contains("isolated on"));
    // The host is no member: neither reached nor advertised to.
    for link in ["blue", "vx"] {
        let setting = format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6");
        assert_eq!(std::fs::read_to_string(setting).unwrap(), "1\n", "{link}");
        assert!(!run("ip", &["address", "show", "dev", link]).contains("inet"));
    }
    whole.apply().unwrap();
    assert_same(&dump(), &made, "applied again");
    // A port and the tunnel leave.
    segment().port(port("one").isolated()).apply().unwrap();
    let less = run("ip", &["link"]);
    assert!(!less.contains("vx:"), "{less}");
    assert_eq!(less.matches("master blue").count(), 1, "{less}");
    whole.apply().unwrap();
    let more = run("ip", &["link"]);
    assert_eq!(more.matches("master blue").count(), 3, "{more}");
    whole.remove().unwrap();
    // Ports stay up, as they were.
    assert_same(&dump(), &before, "removed");
    whole.remove().unwrap();
}

fn contradictions_are_refused_before_anything_changes() {
    ports();
    let before = dump();
    let refused = |segment: Segment, words: &str| {
        let error = segment.apply().unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert_same(&dump(), &before, words);
    };
    let two = "is to be that of two links";
    refused(segment().port(port("one")).port(port("one")), two);
    refused(segment().port(port("blue")), two);
    refused(
        segment().port(port("one").access(1)),
        "of a segment without",
    );
    refused(segment().vlans().port(port("one")), "in no VLAN");
    let twice = port("one").access(1).native(2);
    refused(segment().vlans().port(twice), "has two VLANs");
    let overlap = port("one").trunk(1, 9).access(5);
    refused(segment().vlans().port(overlap), "one VLAN twice");
    let range = port("one").trunk(1, 4095);
    refused(segment().vlans().port(range), "within 1 to 4094");
    let peer = |peer: &str| segment().overlay(overlay(42).peer(peer.parse().unwrap()));
    refused(peer("2001:db8::1"), "another family");
    refused(peer("192.0.2.1"), "is this host");
    refused(peer("239.0.0.1"), "is no host's");
    refused(segment().overlay(overlay(1 << 24)), "VNI");
}

fn what_is_of_others_is_a_conflict() {
    ports();
    ip("link add theirs type bridge");
    ip("link set other master theirs");
    ip("link set theirs up");
    let before = dump();
    let conflict = |segment: Segment| {
        let error = segment.apply().unwrap_err();
        assert!(matches!(error, Error::Conflict(_)), "{error}");
        assert_same(&dump(), &before, "conflict");
    };
    let theirs = Segment::new("theirs".parse().unwrap());
    conflict(theirs.clone());
    assert!(matches!(theirs.remove(), Err(Error::Conflict(_))));
    conflict(Segment::new("one".parse().unwrap()));
    conflict(segment().port(port("other")));
    let taken = Overlay::new("one".parse().unwrap(), 42, "192.0.2.1".parse().unwrap());
    conflict(segment().overlay(taken));
    let absent = segment().port(port("nobody")).apply().unwrap_err();
    assert!(absent.is_not_found());
    assert_same(&dump(), &before, "absent");
}

/// A macvtap's parent cannot be a port.
fn segment_that_the_kernel_refuses_leaves_nothing() {
    ports();
    ip("link add link other name mt type macvtap mode bridge");
    let before = dump();
    let refused = segment().port(port("one")).port(port("other")).apply();
    let error = refused.unwrap_err();
    assert!(error.is_busy(), "{error}");
    assert_same(&dump(), &before, "refused");
}

fn segment() -> Segment {
    Segment::new("blue".parse().unwrap())
}

fn overlay(vni: u32) -> Overlay {
    Overlay::new("vx".parse().unwrap(), vni, "192.0.2.1".parse().unwrap())
}

/// `one` and `other`, up, with what they need.
fn ports() {
    crate::bridged::pod::set("net/ipv6/conf/default/disable_ipv6", "1");
    for name in ["one", "other"] {
        ip(&format!("link add {name} type veth peer name {name}-far"));
        ip(&format!("link set {name}-far up"));
        ip(&format!("link set {name} up"));
    }
    crate::bridged::pod::settled();
}
