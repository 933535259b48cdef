//! Traffic control is asked for as `tc` does it, and what the kernel lists is
//! read.

use super::super::tc::{Action, Classifier, Filter, Hook, Qdisc};
use super::golden::{bytes, same_as_ip};
use super::{index, only, request};
use crate::wire::uapi::rtnetlink::{RTM_NEWQDISC, RTM_NEWTFILTER};

#[test]
fn qdiscs_are_encoded_as_tc_does() {
    // tc qdisc add dev va ingress
    same_as_ip(
        20,
        |out| Qdisc::ingress(index(3)).encode(out),
        "00000000030000000000fffff1ffffff000000000c000100696e677265737300",
    );
    // tc qdisc del dev vb clsact
    same_as_ip(
        20,
        |out| Qdisc::clsact(index(2)).encode(out),
        "00000000020000000000fffff1ffffff000000000b000100636c736163740000",
    );
}

#[test]
fn filters_are_encoded_as_tc_does() {
    let redirect = Filter::new(index(3), Hook::Ingress, Action::Redirect(index(2)));
    // tc filter add dev va ingress protocol all pref 7 matchall
    //   action mirred egress redirect dev vb
    same_as_ip(
        20,
        |out| redirect.clone().priority(7).matchall().encode(out),
        "000000000300000000000000f2ffffff000307000d0001006d61746368616c6c000000003c00020038000200340001000b0001006d69727265640000240002802000020000000000000000000400000000000000000000000100000002000000",
    );
    // tc filter add dev va ingress protocol all pref 9 u32 match u32 0 0
    //   action mirred egress redirect dev vb
    same_as_ip(
        20,
        |out| redirect.priority(9).encode(out),
        "000000000300000000000000f2ffffff0003090008000100753332006000020038000700340001000b0001006d69727265640000240002802000020000000000000000000400000000000000000000000100000002000000240005000100010000000000000000000000000000000000000000000000000000000000",
    );
    // tc filter add dev va egress protocol all pref 3 matchall
    //   action mirred egress mirror dev vb
    let mirror = Filter::new(index(3), Hook::Egress, Action::Mirror(index(2)));
    same_as_ip(
        20,
        |out| mirror.priority(3).matchall().encode(out),
        "000000000300000000000000f3ffffff000303000d0001006d61746368616c6c000000003c00020038000200340001000b0001006d69727265640000240002802000020000000000000000000300000000000000000000000200000002000000",
    );
    // tc filter del dev va ingress protocol all pref 9 handle 800::800 u32
    let listed = bytes(LISTED);
    let listed = request(RTM_NEWTFILTER, |out| out.fixed(&listed));
    let listed = Filter::decode(&only(&listed)).unwrap().unwrap();
    same_as_ip(
        20,
        |out| listed.encode_header(out),
        "000000000700000000080080f2ffffff000309000800010075333200",
    );
}

#[test]
fn filters_are_read_as_the_kernel_lists_them() {
    let read = |hex: &str| {
        let message = request(RTM_NEWTFILTER, |out| out.fixed(&bytes(hex)));
        Filter::decode(&only(&message)).unwrap()
    };
    let redirect = read(LISTED).unwrap();
    assert!(redirect.does(Action::Redirect(index(8))));
    assert!(!redirect.does(Action::Redirect(index(7))));
    let told = (
        redirect.index(),
        redirect.hook(),
        redirect.priority_number(),
        redirect.handle(),
    );
    assert_eq!(told, (index(7), Hook::Ingress, 9, 0x8000_0800));
    // The priority itself, and the hash table of u32.
    let priority = "000000000700000000000000f2ffffff00030900080001007533320008000b0000000000";
    let table = "000000000700000000000080f2ffffff00030900080001007533320008000b00000000000c0002000800040001000000";
    assert_eq!((read(priority), read(table)), (None, None));
    // match ip src 10.0.0.0/8, mirrored
    let other = read("000000000800000000080080f2ffffff08000100080001007533320008000b0000000000e00002002400050001000100000000000000000000000000ff0000000a0000000c00000000000000080002000000008008000b0008000000a8000700a40001000b0001006d69727265640000440004001400010000000000000000000000000000000000140007000000000000000000000000000000000018000300000000000000000000000000000000000000000008000a0000000000480002002000020002000000000000000300000001000000010000000200000007000000240001001e000000000000001e0000000000000000000000000000000000000000000000").unwrap();
    assert_eq!(*other.classifier(), Classifier::Other("u32".into()));
    assert_eq!(other.action(), Some(Action::Mirror(index(7))));
    assert!(!other.does(Action::Mirror(index(7))));
    assert!(other.check().is_err(), "it would match something else");
}

#[test]
fn qdiscs_are_read_as_the_kernel_lists_them() {
    let clsact = bytes(
        "00000000020000000000fffff1ffffff010000000b000100636c7361637400000400020005000c0000000000",
    );
    let message = request(RTM_NEWQDISC, |out| out.fixed(&clsact));
    let clsact = Qdisc::decode(&only(&message)).unwrap();
    assert_eq!(clsact, Qdisc::clsact(index(2)));
    assert!(clsact.is_ingress());
}

/// The filter of `pref 9` above, as `tc filter show` got it.
const LISTED: &str = "000000000700000000080080f2ffffff00030900080001007533320008000b0000000000e0000200240005000100010000000000000000000000000000000000000000000000000000000000080002000000008008000b0008000000a8000700a40001000b0001006d69727265640000440004001400010000000000000000000000000000000000140007000000000000000000000000000000000018000300000000000000000000000000000000000000000008000a0000000000480002002000020001000000000000000400000001000000010000000100000008000000240001000800000000000000080000000000000000000000000000000000000000000000";
