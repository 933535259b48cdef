//! A TAP changes hands.

use std::os::fd::OwnedFd;
use std::time::Duration;

use libtest_mimic::Trial;
use tapwire::route::{Ipv6Setting, Rtnl, ipv6_setting};
use tapwire::sys::{NetNs, Offload, Tap, TapOptions};
use tapwire::{IfName, Protocol};

use super::{clone, direct};
use crate::stand_ins::guest::Guest as Vm;
use crate::support::trials;
use crate::world::{SOON, World, ask, config, within};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        last_holders_settings_are_reset,
        tap_is_opened_from_another_namespace,
        guests_are_attached_from_another_namespace,
    ]
}

/// What a guest with a usual driver does itself.
const OFFLOADS: Offload = Offload::CHECKSUM.union(Offload::TSO4).union(Offload::TSO6);

/// How the host sends a datagram: whether its sum is left to the guest, as the
/// first byte of the header says (`VIRTIO_NET_HDR_F_NEEDS_CSUM`).
fn leaves_sums(world: &World, tap: &Tap, header: usize, to: std::net::SocketAddr) -> bool {
    let mut frame = vec![0; 2048];
    let flags = within(SOON, |_| {
        let send = || {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(b"ping", to)
        };
        let _sent = world.node.run(send).unwrap();
        std::thread::sleep(Duration::from_millis(5));
        while let Ok(length) = tap.receive(&mut frame) {
            if frame[header..length].ends_with(b"ping") && frame[header + 12..][..2] == [8, 0] {
                return Some(frame[0]);
            }
        }
        None
    });
    flags.expect("the datagram arrives") & 1 == 1
}

fn last_holders_settings_are_reset() {
    let world = World::new();
    let mut host = world.host();
    let guest = host.attach(&clone("clone")).unwrap();
    let to = direct(&guest, 0);
    let open = || {
        let opened = within(SOON, |_| {
            let tap = host.open_tap(&guest, |tap| tap.vnet_header().nonblocking());
            match tap {
                Err(error) if error.is_busy() => None,
                tap => Some(tap.unwrap()),
            }
        });
        opened.expect("nobody holds it")
    };
    let first = open();
    assert_eq!(first.vnet_header_length().unwrap(), 10);
    first.set_vnet_header_length(12).unwrap();
    first.set_offloads(OFFLOADS).unwrap();
    assert!(leaves_sums(&world, &first, 12, to));
    drop(first);
    // Without a reset the device is as the last one left it.
    let attach = || {
        let options = TapOptions::new(guest.tap()).vnet_header().nonblocking();
        within(SOON, |_| options.clone().attach().ok())
    };
    let kept = world.node.run(attach).unwrap().unwrap();
    assert_eq!(kept.vnet_header_length().unwrap(), 12);
    assert!(leaves_sums(&world, &kept, 12, to));
    drop(kept);
    let second = open();
    assert_eq!(second.vnet_header_length().unwrap(), 10);
    assert!(!leaves_sums(&world, &second, 10, to));
    drop(second);
    let plain = within(SOON, |_| {
        host.open_tap(&guest, TapOptions::nonblocking).ok()
    });
    assert!(!plain.unwrap().has_vnet_header().unwrap());
}

fn tap_is_opened_from_another_namespace() {
    let world = World::new();
    let mut host = world.host();
    let guest = host.attach(&clone("clone")).unwrap();
    assert!(!host_is_here(&world), "the test is elsewhere");
    let tap = host.open_tap(&guest, TapOptions::nonblocking).unwrap();
    let _vm = Vm::start(OwnedFd::from(tap), config(&guest)).unwrap();
    for family in [0, 1] {
        assert!(ask(&world.node, Protocol::Tcp, direct(&guest, family), SOON).is_some());
    }
    let error = host.open_tap(&guest, TapOptions::nonblocking).unwrap_err();
    assert!(error.is_busy(), "{error:?}");
    host.detach("clone").unwrap();
    let error = host.open_tap(&guest, TapOptions::nonblocking).unwrap_err();
    assert!(error.is_not_found(), "{error:?}");
}

/// Taking turns with threads that are there.
fn guests_are_attached_from_another_namespace() {
    let world = World::new();
    let mut host = world.host();
    let here = NetNs::new().unwrap();
    let link = |number: u32| IfName::new(&format!("riklet-{number}")).unwrap();
    let told = |tap| ipv6_setting(tap, Ipv6Setting::AcceptRa).unwrap();
    let before = here.run(|| {
        // None of the handle's.
        let taps = (0..GUESTS).map(link);
        taps.for_each(|tap| drop(TapOptions::new(tap).persistent().create().unwrap()));
        told(link(0))
    });
    assert_eq!(before.unwrap(), 1);
    for number in 0..GUESTS {
        let guest = clone(&format!("clone-{number}"));
        let place = if number % 3 == 1 { &world.node } else { &here };
        let guest = place.run(|| host.attach(&guest).unwrap()).unwrap();
        let there = world.node.run(|| told(guest.tap())).unwrap();
        let here = here.run(|| told(guest.tap())).unwrap();
        assert_eq!((there, here), (0, 1), "{}", guest.tap());
        let tap = host.open_tap(&guest, TapOptions::nonblocking).unwrap();
        let _vm = Vm::start(OwnedFd::from(tap), config(&guest)).unwrap();
        for family in [0, 1] {
            assert!(ask(&world.node, Protocol::Tcp, direct(&guest, family), SOON).is_some());
        }
    }
    host.remove().unwrap();
    let left = here.run(|| Rtnl::open().unwrap().links().unwrap().len());
    let all = usize::try_from(GUESTS + 1).unwrap();
    assert_eq!(left.unwrap(), all, "all that were here, and the loopback");
}

const GUESTS: u32 = 5;

fn host_is_here(world: &World) -> bool {
    NetNs::current().unwrap().id().unwrap() == world.node.id().unwrap()
}
