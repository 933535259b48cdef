//! Files that are carried both ways, over each kind of wire, good and bad.

use std::hash::{DefaultHasher, Hasher};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tapwire::sys::Tap;

use super::scene::{Scene, Start};
use crate::support::trials;
use crate::world::FAMILIES;

pub(super) fn trials() -> Vec<Trial> {
    trials![
        file_is_the_same_on_the_other_side,
        file_is_the_same_without_a_vnet_header,
        file_is_the_same_in_large_frames,
        file_is_the_same_over_a_socket,
        file_survives_loss_and_disorder_and_duplicates,
    ]
}

fn file_is_the_same_on_the_other_side() {
    let mebibytes = std::env::var("TAPWIRE_PROXIED_MIB");
    let mebibytes = mebibytes.map_or(64, |number| number.parse().unwrap());
    carry(&Start::new().go(), mebibytes);
}

fn file_is_the_same_without_a_vnet_header() {
    let start = Start {
        vnet_header: false,
        ..Start::new()
    };
    carry(&start.go(), 8);
}

fn file_is_the_same_in_large_frames() {
    for vnet_header in [true, false] {
        let start = Start {
            vnet_header,
            mtu: 65_520,
            ..Start::new()
        };
        carry(&start.go(), 16);
    }
}

fn file_is_the_same_over_a_socket() {
    let start = Start {
        vnet_header: false,
        carrier: Some(|tap| carrier(tap, Luck::Good)),
        ..Start::new()
    };
    carry(&start.go(), 8);
}

fn file_survives_loss_and_disorder_and_duplicates() {
    let start = Start {
        vnet_header: false,
        carrier: Some(|tap| carrier(tap, Luck::Bad)),
        ..Start::new()
    };
    carry(&start.go(), 4);
}

/// Carries a file of so many MiB both ways, and with IPv6 a smaller one both
/// ways at once.
fn carry(scene: &Scene, mebibytes: usize) {
    for family in FAMILIES {
        let (guest, peer) = scene.pair(family);
        report(
            "from the guest",
            mebibytes,
            transfer(guest, peer, mebibytes),
        );
        let (guest, peer) = scene.pair(family);
        report("to the guest", mebibytes, transfer(peer, guest, mebibytes));
    }
    let (guest, peer) = scene.pair(1);
    let both = [(&guest, &peer), (&peer, &guest)].map(|(from, to)| {
        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        std::thread::spawn(move || transfer(from, to, mebibytes.div_ceil(4)))
    });
    for way in both {
        way.join().unwrap();
    }
    drop((guest, peer));
    scene.soon("all are over", |counters| counters.open() == 0);
    assert_eq!(scene.counters().malformed(), 0);
}

/// Carries a file of so many MiB one way; in what time.
#[track_caller]
fn transfer(mut from: TcpStream, mut to: TcpStream, mebibytes: usize) -> Duration {
    to.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let began = Instant::now();
    let sender = std::thread::spawn(move || {
        let mut hash = DefaultHasher::new();
        let mut block = noise();
        for number in 0..mebibytes {
            block[..8].copy_from_slice(&number.to_ne_bytes());
            hash.write(&block);
            from.write_all(&block).unwrap();
        }
        from.shutdown(Shutdown::Write).unwrap();
        hash.finish()
    });
    let mut hash = DefaultHasher::new();
    let mut block = vec![0; BLOCK];
    for _ in 0..mebibytes {
        to.read_exact(&mut block).unwrap();
        hash.write(&block);
    }
    assert_eq!(to.read(&mut block).unwrap(), 0, "more came than was sent");
    assert_eq!(sender.join().unwrap(), hash.finish(), "something else came");
    began.elapsed()
}

fn report(way: &str, mebibytes: usize, time: Duration) {
    let bits = f64::from(u32::try_from(mebibytes).unwrap()) * 8.0 * 1.048_576;
    eprintln!(
        "{mebibytes} MiB {way}: {:.2} Gbit/s",
        bits / 1000.0 / time.as_secs_f64()
    );
}

/// A block of which no part is like another.
fn noise() -> Vec<u8> {
    let mut dice = Dice(1);
    (0..BLOCK).map(|_| dice.throw().to_ne_bytes()[7]).collect()
}

/// How a carrier treats frames.
#[derive(Clone, Copy, PartialEq)]
enum Luck {
    Good,
    /// Of each way a fiftieth is lost, as much comes twice, and as much late.
    Bad,
}

/// Carries frames between a TAP and a socket whose other end is returned,
/// until that is closed.
fn carrier(tap: Tap, luck: Luck) -> OwnedFd {
    let kind = SocketType::SEQPACKET;
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, flags, None).unwrap();
    std::thread::spawn(move || {
        let mut ways = [Way::new(luck, 7), Way::new(luck, 8)];
        let mut room = vec![0; 65_536];
        loop {
            let mut ready = [
                PollFd::new(&tap, PollFlags::IN),
                PollFd::new(&ours, PollFlags::IN),
            ];
            poll(&mut ready, None).unwrap();
            let [from_tap, from_proxy] = ready.map(|one| !one.revents().is_empty());
            if from_tap {
                let length = tap.receive(&mut room).unwrap();
                ways[0].carry(&room[..length], |frame| {
                    rustix::io::write(&ours, frame).is_ok()
                });
            }
            if from_proxy {
                match rustix::io::read(&ours, &mut room) {
                    Ok(0) | Err(_) => return,
                    Ok(length) => ways[1].carry(&room[..length], |frame| tap.send(frame).is_ok()),
                }
            }
        }
    });
    theirs
}

/// One direction of a carrier.
struct Way {
    luck: Luck,
    dice: Dice,
    late: Vec<(u64, Vec<u8>)>,
    count: u64,
}

impl Way {
    fn new(luck: Luck, seed: u64) -> Self {
        Self {
            luck,
            dice: Dice(seed),
            late: Vec::new(),
            count: 0,
        }
    }

    fn carry(&mut self, frame: &[u8], mut send: impl FnMut(&[u8]) -> bool) {
        self.count += 1;
        let fate = match self.luck {
            Luck::Good => 49,
            Luck::Bad => (self.dice.throw() >> 32) % 50,
        };
        match fate {
            0 => {}
            1 => self.late.push((self.count + 3, frame.to_vec())),
            2 => {
                send(frame);
                send(frame);
            }
            _ => {
                send(frame);
            }
        }
        let due = |late: &(u64, Vec<u8>)| late.0 <= self.count;
        while let Some(place) = self.late.iter().position(due) {
            send(&self.late.remove(place).1);
        }
    }
}

/// Numbers by chance, the same each time (xorshift).
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

const BLOCK: usize = 1 << 20;
