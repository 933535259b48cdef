//! A routed guest comes and goes, with others' exposures present.

use std::time::{Duration, Instant};

use tapwire::route::Rtnl;
use tapwire::sys::{Protocol, TapOptions};
use tapwire::{Attachment, Guest, Host, Mac};

use crate::harness::figures::{Case, Figure, mean};
use crate::harness::floor::{Floor, Replay};
use crate::harness::{Mode, Result, inside, time};
use crate::twin::Twin;

const RATIO: f64 = 1.10;

/// Guests that come in a row. Before the first the machine was idle, as it is
/// while the kernel waits with the TAPs of the round before: neither kernel nor
/// library are in the processor's caches then.
const NAMES: [&str; 5] = ["third", "fourth", "fifth", "sixth", "seventh"];

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
    guests: Vec<Raw>,
}

/// A guest, and what it takes to have it without the library.
struct Raw {
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
        let Twin { host, netns, .. } = &mut twin;
        let guests = inside(netns, || {
            let attached = NAMES.map(|name| Raw::attach(host, Guest::new(name)?));
            let mut guests = attached.into_iter().collect::<Result<Vec<_>>>()?;
            for raw in &mut guests {
                let name = raw.attached.name();
                ((), raw.detach) = Replay::record(|| Ok(host.detach(name)?))?;
            }
            Ok(guests)
        })?;
        let mut routed = Self {
            present,
            twin,
            guests,
        };
        routed.round_of_floor()?;
        Ok(routed)
    }

    /// The times of all attaches, and of the first detach.
    fn round_of_floor(&mut self) -> Result<(Vec<Duration>, Duration)> {
        let Self { twin, guests, .. } = self;
        let floor = &mut twin.floor;
        inside(&twin.floor_netns, || {
            let attached: Result<Vec<_>> = guests.iter_mut().map(|raw| raw.make(floor)).collect();
            let detached: Result<Vec<_>> = guests
                .iter_mut()
                .map(|raw| floor.replay(&mut raw.detach))
                .collect();
            Ok((attached?, detached?[0]))
        })
    }
}

impl Raw {
    fn attach(host: &mut Host, guest: Guest) -> Result<Self> {
        let (attached, attach) = Replay::record(|| Ok(host.attach(&guest)?))?;
        let link = Rtnl::open()?.link(attached.tap())?;
        let link = link.ok_or("no TAP")?;
        let (attach, raise) = attach.part_before_last(Protocol::Route);
        let (claim, name) = attach.part_before_last(Protocol::Route);
        Ok(Self {
            guest,
            attached,
            tap: link.index().get(),
            tap_mac: link.mac().ok_or("no MAC")?,
            claim,
            name,
            detach: raise.clone(),
            raise,
        })
    }

    /// The same without the library: the messages, and between them the system
    /// calls by which a TAP is made, told how IPv6 works on it, and asked for its
    /// number.
    fn make(&mut self, floor: &mut Floor) -> Result<Duration> {
        let mut taken = floor.replay(&mut self.claim)?;
        let start = Instant::now();
        let tap = TapOptions::new(self.attached.tap())
            .mac(self.tap_mac)
            .create()?;
        let name = self.attached.tap();
        let settings = [("accept_ra", "0"), ("force_forwarding", "1")];
        floor.set_ipv6(name.as_str(), &settings)?;
        let index = floor.index_of(name.as_str())?;
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
        Ok(taken + floor.replay(&mut self.raise)?)
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
            Figure::new(format!("the same after a pause{among}")),
            Figure::new(format!("detach it{among}")),
        ]
    }

    fn round(&mut self) -> Result<Vec<[Duration; 2]>> {
        let Self { twin, guests, .. } = self;
        let host = &mut twin.host;
        let (attached, detached) = inside(&twin.netns, || {
            let attached: Result<Vec<_>> = guests
                .iter()
                .map(|raw| time(|| host.attach(&raw.guest)))
                .collect();
            let detached: Result<Vec<_>> = guests
                .iter()
                .map(|raw| time(|| host.detach(raw.attached.name())))
                .collect();
            Ok((attached?, detached?[0]))
        })?;
        let (raw_attached, raw_detached) = self.round_of_floor()?;
        Ok(vec![
            [mean(&attached[1..]), mean(&raw_attached[1..])],
            [attached[0], raw_attached[0]],
            [detached, raw_detached],
        ])
    }
}
