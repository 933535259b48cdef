//! A clone in a namespace next to a network as vHive makes it: namespace, TAP,
//! pair, addresses, routes and rules of the same kinds, for IPv4 alone, by bare
//! calls in as few messages as can be. Without limits and guards, and without
//! what its own code spends on top, which is most of it.

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::{Duration, Instant};

use tapwire::nft::{Batch, Chain, ChainType, Family, Hook, Name, Nft, Policy, Rule, Table};
use tapwire::nft::{ip, meta};
use tapwire::route::{Address, LinkChange, NewLink, Route, Rtnl};
use tapwire::sys::{NetNs, TapOptions};
use tapwire::{Connection, Guest, Host, IfIndex, IfName, Owner};

use crate::clones::{GONE, SNAPSHOT};
use crate::harness::figures::{Case, Figure, Measured};
use crate::harness::floor::{Floor, Replay};
use crate::harness::{Result, inside, time};

/// On one machine, vHive's own code took 30 ms for what takes 0.93 ms by bare
/// calls.
const OF_ITS_CALLS: f64 = 30.0 / 0.93;
/// So many times faster than its code a clone is to be made.
const FASTER: f64 = 20.0;

const NAME: &str = "attach a clone Namespaced / a network of vHive's";

pub(crate) fn cases() -> Result<Vec<Box<dyn Case>>> {
    Ok(vec![Box::new(Networks::new()?)])
}

/// How many times faster it is than that code.
pub(crate) fn report(lines: &[Measured]) {
    if let Some(line) = crate::find(lines, NAME) {
        let times = OF_ITS_CALLS / line.ratio;
        println!("in a namespace: {times:.1} times faster than vHive's code");
    }
}

struct Networks {
    netns: NetNs,
    host: Host,
    /// One that comes before, as with other clones.
    guests: [Guest; 2],
    floor: Floor,
    inside: Replay,
    outside: Replay,
    gone: Replay,
}

impl Networks {
    fn new() -> Result<Self> {
        let netns = NetNs::new()?;
        let guest = |name| -> Result<Guest> {
            let connection = Connection::Namespaced(SNAPSHOT.parse()?);
            Ok(Guest::new(name)?.connection(connection))
        };
        let guests = [guest("first")?, guest("second")?];
        let (host, floor, [inside, outside, gone]) = inside(&netns, || {
            let host = Host::open(Owner::new("bv")?)?;
            let ((), inside) = Replay::record(|| {
                in_a_namespace(|| inside_its_namespace(&netns))?;
                Ok(())
            })?;
            let outside = Replay::record(outside_of_it)?.1;
            let gone = Replay::record(take_away)?.1;
            NetNs::remove_named(NAMESPACE)?;
            Ok((host, Floor::open()?, [inside, outside, gone]))
        })?;
        Ok(Self {
            netns,
            host,
            guests,
            floor,
            inside,
            outside,
            gone,
        })
    }

    fn ours(&mut self) -> Result<Duration> {
        let Self {
            netns,
            host,
            guests: [first, second],
            ..
        } = self;
        inside(netns, || {
            host.attach(first)?;
            let took = time(|| host.attach(second))?;
            host.detach_all(&[first.name().as_str(), second.name().as_str()])?;
            thread::sleep(GONE);
            Ok(took)
        })
    }

    fn theirs(&mut self) -> Result<Duration> {
        let Self {
            netns,
            floor,
            inside: within,
            outside,
            gone,
            ..
        } = self;
        inside(netns, || {
            let mut make = |floor: &mut Floor| -> Result<Duration> {
                let start = Instant::now();
                in_a_namespace(|| Floor::open()?.replay(within).map(drop))?;
                floor.replay(outside)?;
                let took = start.elapsed();
                floor.replay(gone)?;
                NetNs::remove_named(NAMESPACE)?;
                Ok(took)
            };
            // It comes in a row, too.
            make(floor)?;
            thread::sleep(GONE);
            let took = make(floor)?;
            thread::sleep(GONE);
            Ok(took)
        })
    }
}

impl Case for Networks {
    fn figures(&self) -> Vec<Figure> {
        vec![Figure::new(NAME).ratio(OF_ITS_CALLS / FASTER)]
    }

    fn round(&mut self) -> Result<Vec<[Duration; 2]>> {
        Ok(vec![[self.ours()?, self.theirs()?]])
    }
}

/// Makes a namespace with a TAP, does `work` there, and gives it its name.
fn in_a_namespace(work: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    let made = NetNs::journey(|journey| {
        let make = || -> Result<()> {
            journey.found()?;
            tap()?;
            work()?;
            Ok(journey.name(NAMESPACE)?)
        };
        make().map_err(|error| crate::harness::words(&*error))
    })?;
    Ok(made?)
}

/// The TAP of the snapshot's name.
fn tap() -> Result<()> {
    let tap = TapOptions::new(TAP.parse()?).index(IfIndex::new(TAP_INDEX)?);
    tap.mac("06:00:ac:10:00:01".parse()?)
        .persistent()
        .create()?;
    Ok(())
}

/// Rules, and links with addresses and routes.
fn inside_its_namespace(host: &NetNs) -> Result<()> {
    let (near, far): (IfName, IfName) = (NEAR.parse()?, FAR.parse()?);
    let [tap, uplink, other] = [TAP_INDEX, NEAR_INDEX, FAR_INDEX].map(IfIndex::new);
    let (tap, uplink, other) = (tap?, uplink?, other?);
    let table = Table::new(Family::IP, Name::new("nat")?);
    let chain = |name, hook| -> Result<Chain> {
        let chain = Chain::base(&table, Name::new(name)?, ChainType::NAT, hook, 0);
        Ok(chain.policy(Policy::ACCEPT))
    };
    let postrouting = chain("POSTROUTING", Hook::POSTROUTING)?;
    let prerouting = chain("PREROUTING", Hook::PREROUTING)?;
    let leaves = Rule::new(&postrouting).matching(meta::oifname().equal(near));
    let enters = Rule::new(&prerouting).matching(meta::iifname().equal(near));
    let mut batch = Batch::new();
    batch
        .create(&table)
        .create(&postrouting)
        .create(&prerouting);
    batch.add(
        &leaves
            .matching(ip::saddr().equal(GUEST))
            .snat(IpAddr::V4(CLONE), None),
    );
    batch.add(
        &enters
            .matching(ip::daddr().equal(CLONE))
            .dnat(IpAddr::V4(GUEST), None),
    );
    Nft::open()?.commit(&mut batch)?;
    Rtnl::open()?.apply(|changes| {
        let pair = NewLink::veth(near, far).index(uplink).peer_index(other);
        changes.add_link(&pair.peer_netns(host));
        changes.replace_address(&Address::new(tap, net(GATEWAY, 24)));
        changes.set_link(&LinkChange::new(tap).up());
        changes.replace_address(&Address::new(uplink, net(NEAR_ADDRESS, 30)));
        changes.set_link(&LinkChange::new(uplink).up());
        let out = Route::new(net(Ipv4Addr::UNSPECIFIED, 0)).via(IpAddr::V4(FAR_ADDRESS));
        changes.replace_route(&out.dev(uplink));
    })?;
    Ok(())
}

/// The other end of the pair, the way to the clone, and its rules.
fn outside_of_it() -> Result<()> {
    let (uplink, far): (IfName, IfName) = ("lo".parse()?, FAR.parse()?);
    let index = IfIndex::new(FAR_INDEX)?;
    let table = |name| Ok::<_, tapwire::Error>(Table::new(Family::IP, Name::new(name)?));
    let (filter, nat) = (table("filter")?, table("nat")?);
    let accept = |chain: Chain| chain.policy(Policy::ACCEPT);
    let forward = Name::new("vhive-forward")?;
    let forward = accept(Chain::base(
        &filter,
        forward,
        ChainType::FILTER,
        Hook::FORWARD,
        0,
    ));
    let masq = Name::new("vhive-masq")?;
    let masq = accept(Chain::base(
        &nat,
        masq,
        ChainType::NAT,
        Hook::POSTROUTING,
        0,
    ));
    let mut batch = Batch::new();
    batch.add(&filter).add(&nat).add(&forward).add(&masq);
    for (from, to) in [(far, uplink), (uplink, far)] {
        let rule = Rule::new(&forward).matching(meta::iifname().equal(from));
        batch.add(&rule.matching(meta::oifname().equal(to)).accept());
    }
    let leaves = Rule::new(&masq).matching(meta::iifname().equal(far));
    batch.add(&leaves.matching(meta::oifname().equal(uplink)).masquerade());
    Nft::open()?.commit(&mut batch)?;
    Rtnl::open()?.apply(|changes| {
        changes.replace_address(&Address::new(index, net(FAR_ADDRESS, 30)));
        changes.set_link(&LinkChange::new(index).up());
        let way = Route::new(net(CLONE, 32)).via(IpAddr::V4(NEAR_ADDRESS));
        changes.replace_route(&way.dev(index));
    })?;
    Ok(())
}

fn take_away() -> Result<()> {
    let far = IfIndex::new(FAR_INDEX)?;
    Rtnl::open()?.apply(|changes| changes.delete_link(far))?;
    let mut batch = Batch::new();
    for name in ["filter", "nat"] {
        batch.delete(&Table::new(Family::IP, Name::new(name)?));
    }
    Nft::open()?.commit(&mut batch)?;
    Ok(())
}

fn net(address: Ipv4Addr, prefix: u8) -> ipnet::IpNet {
    ipnet::Ipv4Net::new_assert(address, prefix).into()
}

const NAMESPACE: &str = "bvhive0";
const TAP: &str = "tap0";
const NEAR: &str = "veth0-0";
const FAR: &str = "veth0-1";
const TAP_INDEX: u32 = 2;
const NEAR_INDEX: u32 = 3;
const FAR_INDEX: u32 = 77_777;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 1);
const GUEST: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 2);
const CLONE: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 1);
const FAR_ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
const NEAR_ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 2);
