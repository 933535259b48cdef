//! A guest goes on on another TAP than the one it began on, as it does when
//! it is resumed from a snapshot.

use std::os::unix::net::{UnixDatagram, UnixStream};
use std::thread::{self, JoinHandle};

use libtest_mimic::Trial;
use rustix::event::{PollFd, PollFlags, poll};
use tapwire::guest::GATEWAY_MAC;
use tapwire::route::{LinkChange, Neighbour, Rtnl};
use tapwire::sys::Tap;
use tapwire::{Attachment, Guest, Host, Mac};

use super::vm::{Identity, Vm, Wire};
use super::{reaches_outside, servers};
use crate::packet::ICMPV6;
use crate::support::trials;
use crate::world::{
    FAMILIES, NEVER, NODE, OUTSIDE, SOON, World, address_of, ask, at, each_kind, exposure, ip,
};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["linux.uml", "musl-gcc", "setpriv", "unshare"]:
        resumed_guest_need_not_ask_who_its_gateway_is,
    ]
}

/// What a resumed guest knows of its neighbours is from before. It cannot
/// tell that time has passed, so it sends to the gateway's MAC that it knows;
/// if that was another's, nobody would take it until the guest gave up.
fn resumed_guest_need_not_ask_who_its_gateway_is() {
    let world = World::new();
    let mut host = world.host();
    let (frames, card) = UnixDatagram::pair().unwrap();
    frames.set_nonblocking(true).unwrap();
    card.set_nonblocking(true).unwrap();
    let guest = attach(&mut host);
    let mut machine = Vm::uml(&Identity::of(&guest), Wire::Handed(card.into()));
    let cable = Cable::plug(&world, &guest, &frames, Questions::Pass);
    machine.wait_until_up();
    answers(&world, &guest);
    cable.pull();

    host.detach(guest.name()).unwrap();
    let again = attach(&mut host);
    assert_eq!(again, guest, "it gets what it had");
    // From here on nobody hears whom the guest asks for.
    let cable = Cable::plug(&world, &again, &frames, Questions::Drop);
    set_mac(&world, &again, GATEWAY_MAC);
    answers(&world, &again);

    // Were it another MAC, the guest would be cut off.
    set_mac(&world, &again, "02:00:00:00:00:07".parse().unwrap());
    for (protocol, family) in each_kind() {
        let exposed = at(NODE[family], PORT);
        assert_eq!(
            ask(&world.outside, protocol, exposed, NEVER),
            None,
            "{exposed}"
        );
    }
    cable.pull();
}

fn attach(host: &mut Host) -> Attachment {
    let guest = host.attach(&Guest::new("one").unwrap()).unwrap();
    for (protocol, family) in each_kind() {
        host.expose(&exposure(protocol, PORT, &guest, family))
            .unwrap();
    }
    guest
}

/// The guest answers, and asks others.
#[track_caller]
fn answers(world: &World, guest: &Attachment) {
    let _servers = servers(world);
    for (protocol, family) in each_kind() {
        let exposed = at(NODE[family], PORT);
        let source = ask(&world.outside, protocol, exposed, SOON).map(|(_, source)| source);
        assert_eq!(source, Some(ip(OUTSIDE[family])), "{exposed}");
        reaches_outside(world, guest, protocol, family);
    }
}

/// Gives the host's end of the wire this MAC, on which the kernel forgets
/// who the guest is; it is told again.
fn set_mac(world: &World, guest: &Attachment, mac: Mac) {
    let change = || {
        let mut rtnl = Rtnl::open().unwrap();
        let tap = rtnl.link(guest.tap()).unwrap().unwrap().index();
        rtnl.apply(|changes| {
            changes.set_link(&LinkChange::new(tap).mac(mac));
            for address in FAMILIES.map(|family| address_of(guest, family)) {
                changes.replace_neighbour(&Neighbour::new(tap, address, guest.mac()));
            }
        })
        .unwrap();
    };
    world.node.run(change).unwrap();
}

/// What becomes of a guest's question who has an address. That one who is
/// known still has it is another question, to that one alone, and passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Questions {
    Pass,
    Drop,
}

/// Carries frames between a guest's card and its TAP, until it is pulled.
struct Cable(UnixStream, JoinHandle<()>);

impl Cable {
    fn plug(
        world: &World,
        guest: &Attachment,
        frames: &UnixDatagram,
        questions: Questions,
    ) -> Self {
        let tap = Tap::from_fd(world.open_tap(guest)).unwrap();
        let frames = frames.try_clone().unwrap();
        let (end, pulled) = UnixStream::pair().unwrap();
        let carry = move || carry(&tap, &frames, &pulled, questions);
        Self(end, thread::spawn(carry))
    }

    fn pull(self) {
        drop(self.0);
        self.1.join().unwrap();
    }
}

fn carry(tap: &Tap, card: &UnixDatagram, pulled: &UnixStream, questions: Questions) {
    let mut frame = vec![0; 65_536];
    loop {
        let mut descriptors = [
            PollFd::new(pulled, PollFlags::IN),
            PollFd::new(tap, PollFlags::IN),
            PollFd::new(card, PollFlags::IN),
        ];
        match poll(&mut descriptors, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("{error}"),
        }
        if !descriptors[0].revents().is_empty() {
            return;
        }
        // A frame that the other side does not take is lost, as on a wire.
        while let Ok(length) = tap.receive(&mut frame) {
            drop(card.send(&frame[..length]));
        }
        while let Ok(length) = card.recv(&mut frame) {
            let frame = &frame[..length];
            if questions == Questions::Pass || !asks_all(frame) {
                drop(tap.send(frame));
            }
        }
    }
}

/// Whether a frame asks all who has an address: an ARP request (RFC 826) or a
/// neighbour solicitation (RFC 4861).
fn asks_all(frame: &[u8]) -> bool {
    let to_all = frame[0] & 1 == 1;
    let asks = match frame[12..14] {
        [0x08, 0x06] => frame[20..22] == [0, 1],
        [0x86, 0xdd] => frame[20] == ICMPV6 && frame[54] == NEIGHBOUR_SOLICITATION,
        _ => false,
    };
    to_all && asks
}

const NEIGHBOUR_SOLICITATION: u8 = 135;

const PORT: u16 = 8000;
