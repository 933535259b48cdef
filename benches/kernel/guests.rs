//! A routed guest comes and goes, with others' exposures present.

use std::fs::{self, File};
use std::io::Read;
use std::time::{Duration, Instant};

use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketType, socket};
use tapwire::route::Rtnl;
use tapwire::sys::{Protocol, TapOptions};
use tapwire::{Attachment, Guest, Mac};

use crate::harness::figures::{Case, Figure};
use crate::harness::floor::Replay;
use crate::harness::{Mode, Result, inside, time};
use crate::twin::Twin;

const RATIO: f64 = 1.10;
const NAME: &str = "third";

pub(crate) fn cases(mode: Mode) -> Result<Vec<Box<dyn Case>>> {
    let mut cases: Vec<Box<dyn Case>> = vec![Box::new(Routed::new(0)?)];
    if mode != Mode::Test {
        cases.push(Box::new(Routed::new(10_000)?));
    }
    Ok(cases)
}

struct Routed {
    /// How many exposures of others there are.
    present: usize,
    twin: Twin,
    guest: Guest,
    attached: Attachment,
    /// The TAP as it was made last by the floor.
    tap: u32,
    tap_mac: Mac,
    /// What is sent before the TAP is made, then, and when it is persistent.
    claim: Replay,
    name: Replay,
    raise: Replay,
    detach: Replay,
}

impl Routed {
    fn new(present: usize) -> Result<Self> {
        let mut twin = Twin::new()?;
        let others = twin.exposures(present)?;
        if present > 0 {
            twin.record(|host| Ok(host.expose_all(&others)?))?;
        }
        let guest = Guest::new(NAME)?;
        let Twin { host, netns, .. } = &mut twin;
        let (attached, tap, tap_mac, attach, detach) = inside(netns, || {
            let (attached, attach) = Replay::record(|| Ok(host.attach(&guest)?))?;
            let link = Rtnl::open()?.link(attached.tap())?;
            let link = link.ok_or("no TAP")?;
            let (tap, mac) = (link.index().get(), link.mac().ok_or("no MAC")?);
            let ((), detach) = Replay::record(|| Ok(host.detach(NAME)?))?;
            Ok((attached, tap, mac, attach, detach))
        })?;
        let (attach, raise) = attach.part_before_last(Protocol::Route);
        let (claim, name) = attach.part_before_last(Protocol::Route);
        let mut routed = Self {
            present,
            twin,
            guest,
            attached,
            tap,
            tap_mac,
            claim,
            name,
            raise,
            detach,
        };
        routed.round_of_floor()?;
        Ok(routed)
    }

    /// The same without the library: the messages, and between them the system
    /// calls by which a TAP is made, told how IPv6 works on it, and asked for its
    /// number.
    fn round_of_floor(&mut self) -> Result<[Duration; 2]> {
        let floor = &mut self.twin.floor;
        inside(&self.twin.floor_netns, || {
            let mut taken = floor.replay(&mut self.claim)?;
            let start = Instant::now();
            let tap = TapOptions::new(self.attached.tap())
                .mac(self.tap_mac)
                .create()?;
            let settings = format!("/proc/sys/net/ipv6/conf/{}", self.attached.tap());
            let _length = File::open(format!("{settings}/disable_ipv6"))?.read(&mut [0; 16])?;
            fs::write(format!("{settings}/accept_ra"), "0")?;
            fs::write(format!("{settings}/force_forwarding"), "1")?;
            let socket = socket(AddressFamily::UNIX, SocketType::DGRAM, None)?;
            let index = name_to_index(&socket, self.attached.tap().as_str())?;
            drop(socket);
            taken += start.elapsed();
            for replay in [&mut self.name, &mut self.raise, &mut self.detach] {
                replay.move_link(self.tap, index);
            }
            self.tap = index;
            taken += floor.replay(&mut self.name)?;
            let start = Instant::now();
            tap.set_persistent(true)?;
            drop(tap);
            taken += start.elapsed();
            taken += floor.replay(&mut self.raise)?;
            Ok([taken, floor.replay(&mut self.detach)?])
        })
    }
}

impl Case for Routed {
    fn figures(&self) -> Vec<Figure> {
        let among = match self.present {
            0 => String::new(),
            present => format!(", {present} exposures present"),
        };
        vec![
            Figure::new(format!("attach a routed guest{among}")).ratio(RATIO),
            Figure::new(format!("detach it{among}")),
        ]
    }

    fn round(&mut self) -> Result<Vec<[Duration; 2]>> {
        let Twin { host, netns, .. } = &mut self.twin;
        let [attach, detach] = inside(netns, || {
            Ok([
                time(|| host.attach(&self.guest))?,
                time(|| host.detach(NAME))?,
            ])
        })?;
        let [raw_attach, raw_detach] = self.round_of_floor()?;
        Ok(vec![[attach, raw_attach], [detach, raw_detach]])
    }
}
