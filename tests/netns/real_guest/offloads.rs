//! Segments larger than any wire and checksums that are yet to be made, as a
//! virtio-net card hands them over; and who gets the TAP afterwards.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::thread;
use std::time::Duration;

use libtest_mimic::Trial;
use tapwire::route::{LinkStats, Rtnl};
use tapwire::sys::{Tap, TapOptions};
use tapwire::{Attachment, Guest, Host};

use super::vm::{Identity, Vm, Wire};
use crate::stand_ins::client;
use crate::support::trials;
use crate::world::{
    FAMILIES, GUEST_PORT, NODE, OUTSIDE, SOON, World, address_of, ask, at, each_kind, exposure, ip,
    within,
};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = trials![needs ["qemu-system-x86_64", "/boot/vmlinuz-*", "musl-gcc", "setpriv", "unshare"]:
        large_segments_cross_the_vnet_header_with_right_checksums,
    ];
    trials.extend(trials![needs ["qemu-system-x86_64", "/boot/vmlinuz-*", "linux.uml", "musl-gcc", "setpriv", "unshare", "nsenter"]:
        next_guest_on_a_tap_meets_nothing_of_the_last_ones_card,
    ]);
    trials
}

fn large_segments_cross_the_vnet_header_with_right_checksums() {
    let world = World::new();
    let mut host = world.host();
    let guest = exposed(&mut host);
    let mut machine = Vm::qemu(
        &Identity::of(&guest),
        open(&host, &guest, with_header).into(),
    );
    // A stand-in has no offloads: it takes segments no longer than its wire
    // does, and looks at the checksum of each.
    let (_, judge) = world.boot(&mut host, "judge");
    machine.wait_until_up();
    answers(&world);
    let path = format!("/bulk/{BULK}");
    for family in FAMILIES {
        let exposed = at(NODE[family], PORT);
        let before = carried(&world, &guest);
        let get = || client::http_get(exposed, &path, PATIENCE).unwrap();
        assert!(
            world.outside.run(get).unwrap() == bulk(),
            "{exposed}: as sent"
        );
        let between = carried(&world, &guest);
        let [bytes, packets] = [
            between.received_bytes() - before.received_bytes(),
            between.received_packets() - before.received_packets(),
        ];
        assert!(
            bytes > packets * LARGE,
            "{bytes} bytes in {packets} packets from the guest"
        );

        pulls(&world, &guest, family);
        let after = carried(&world, &guest);
        let [bytes, packets] = [
            after.sent_bytes() - between.sent_bytes(),
            after.sent_packets() - between.sent_packets(),
        ];
        assert!(
            bytes > packets * LARGE,
            "{bytes} bytes in {packets} packets to the guest"
        );

        let body = judge.http_get(exposed, &path, PATIENCE).unwrap();
        assert!(body == bulk(), "{exposed}: as sent to a guest");
    }
}

/// A persistent TAP keeps the offloads and the length of the vnet header that
/// its last holder asked for: QEMU 12 bytes and everything. Who opens it by
/// the host meets it as new, and so does the next.
fn next_guest_on_a_tap_meets_nothing_of_the_last_ones_card() {
    let world = World::new();
    let mut host = world.host();
    let guest = exposed(&mut host);
    let identity = Identity::of(&guest);
    let mut first = Vm::qemu(&identity, open(&host, &guest, with_header).into());
    first.wait_until_up();
    answers(&world);
    first.stop();

    // One that takes for granted how long the header of a new device is.
    begins_after(&world, &host, &guest, 10);
    // One that opens the TAP itself, and takes segments as large as may be.
    let mut second = Vm::uml(&identity, Wire::Named(&world.node, guest.tap()));
    second.wait_until_up();
    answers(&world);
    for family in FAMILIES {
        pulls(&world, &guest, family);
    }
    second.stop();

    // One that knows neither header nor offloads.
    let mut third = Vm::uml(
        &identity,
        Wire::Handed(open(&host, &guest, TapOptions::nonblocking).into()),
    );
    third.wait_until_up();
    answers(&world);
    for family in FAMILIES {
        pulls(&world, &guest, family);
    }
}

/// A guest that is exposed in every way.
fn exposed(host: &mut Host) -> Attachment {
    let guest = host.attach(&Guest::new("one").unwrap()).unwrap();
    for (protocol, family) in each_kind() {
        host.expose(&exposure(protocol, PORT, &guest, family))
            .unwrap();
    }
    guest
}

/// Opens a guest's TAP as its agent does, for a VMM to be handed it.
fn open(host: &Host, guest: &Attachment, options: fn(TapOptions) -> TapOptions) -> Tap {
    // A program that another test starts holds a copy of every descriptor for
    // a moment.
    let opened = within(SOON, |_| match host.open_tap(guest, options) {
        Err(error) if error.is_busy() => None,
        result => Some(result),
    });
    opened.expect("the TAP is held by another").unwrap()
}

fn with_header(options: TapOptions) -> TapOptions {
    options.vnet_header().nonblocking()
}

/// A frame to the guest begins after a header of so many bytes.
#[track_caller]
fn begins_after(world: &World, host: &Host, guest: &Attachment, header: usize) {
    let tap = open(host, guest, with_header);
    let to = SocketAddr::new(guest.ipv4().into(), GUEST_PORT);
    let mut frame = [0; 2048];
    let found = within(SOON, |_| {
        // It waits until the kernel has seen that the TAP has a holder again.
        let send = || UdpSocket::bind("0.0.0.0:0")?.send_to(b"ping", to);
        world.node.run(send).unwrap().unwrap();
        while let Ok(length) = tap.receive(&mut frame) {
            if frame[..length].ends_with(b"ping") {
                return Some(length);
            }
        }
        None
    });
    let packet = 14 + 20 + 8 + b"ping".len();
    assert_eq!(found, Some(header + packet));
}

/// The guest answers to every kind of exposure.
#[track_caller]
fn answers(world: &World) {
    for (protocol, family) in each_kind() {
        let answer = ask(&world.outside, protocol, at(NODE[family], PORT), SOON);
        let source = answer.map(|(_, source)| source);
        assert_eq!(source, Some(ip(OUTSIDE[family])), "{protocol} from outside");
    }
}

/// The guest takes a long body from a server outside.
#[track_caller]
fn pulls(world: &World, guest: &Attachment, family: usize) {
    let listen = || TcpListener::bind((ip(OUTSIDE[family]), 0)).unwrap();
    let listener = world.outside.run(listen).unwrap();
    let from = listener.local_addr().unwrap();
    let server = thread::spawn(move || listener.accept()?.0.write_all(bulk().as_bytes()));
    let path = format!("/pull/{}/{}", from.ip(), from.port());
    let to = SocketAddr::new(address_of(guest, family), GUEST_PORT);
    let get = || client::http_get(to, &path, PATIENCE);
    let words = world.node.run(get).unwrap();
    assert_eq!(words.ok(), Some(format!("{BULK} right")), "from {from}");
    server.join().unwrap().unwrap();
}

fn carried(world: &World, guest: &Attachment) -> LinkStats {
    let stats = || {
        let mut rtnl = Rtnl::open().unwrap();
        let index = rtnl.link(guest.tap()).unwrap().unwrap().index();
        let mut all = rtnl.stats().unwrap().into_iter();
        all.find(|(link, _)| *link == index).unwrap().1
    };
    world.node.run(stats).unwrap()
}

/// A long body as the guest's init makes it: each 8 bytes tell their place.
fn bulk() -> String {
    let mut body = String::with_capacity(BULK);
    for place in (0..BULK).step_by(8) {
        write!(body, "{place:08x}").unwrap();
    }
    body
}

const PORT: u16 = 8000;

/// Bytes of a long body.
const BULK: usize = 2 << 20;

/// Bytes of a packet that no wire with an MTU of 1500 carries, twice over.
const LARGE: u64 = 3000;

/// How long a long body may take through an interpreted guest.
const PATIENCE: Duration = Duration::from_secs(30);
