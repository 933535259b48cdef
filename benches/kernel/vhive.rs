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

use crate::clones::{GONE, ROW, SNAPSHOT, counted};
use crate::harness::figures::{Case, Figure, Measured, mean};
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
    guests: Vec<Guest>,
    floor: Floor,
    /// Of each network: what is sent in its namespace, and outside.
    sent: Vec<[Replay; 2]>,
    /// What is sent for all of them to go.
    gone: Replay,
}

impl Networks {
    /// As many come in a row as of other clones.
    fn new() -> Result<Self> {
        let netns = NetNs::new()?;
        let guest = |place| -> Result<Guest> {
            let connection = Connection::Namespaced(SNAPSHOT.parse()?);
            Ok(Guest::new(&format!("clone-{place}"))?.connection(connection))
        };
        let guests = (0..=ROW).map(guest).collect::<Result<Vec<_>>>()?;
        let (host, floor, sent, gone) = inside(&netns, || {
            let host = Host::open(Owner::new("bv")?)?;
            let record = |place| -> Result<[Replay; 2]> {
                let network = Network { place };
                let ((), within) = Replay::record(|| {
                    network.in_its_namespace(|| network.inside_its_namespace(&netns))
                })?;
                let ((), outside) = Replay::record(|| network.outside_of_it())?;
                Ok([within, outside])
            };
            let sent = (0..=ROW).map(record).collect::<Result<Vec<_>>>()?;
            let ((), gone) = Replay::record(|| take_away(sent.len()))?;
            remove_names(sent.len())?;
            Ok((host, Floor::open()?, sent, gone))
        })?;
        Ok(Self {
            netns,
            host,
            guests,
            floor,
            sent,
            gone,
        })
    }

    fn ours(&mut self) -> Result<Duration> {
        let Self {
            netns,
            host,
            guests,
            ..
        } = self;
        inside(netns, || {
            let mut took = Vec::new();
            for guest in guests.iter() {
                took.push(time(|| host.attach(guest))?);
            }
            let names: Vec<&str> = guests.iter().map(|guest| guest.name().as_str()).collect();
            host.detach_all(&names)?;
            thread::sleep(GONE);
            Ok(mean(counted(&took)))
        })
    }

    fn theirs(&mut self) -> Result<Duration> {
        let Self {
            netns,
            floor,
            sent,
            gone,
            ..
        } = self;
        inside(netns, || {
            let mut took = Vec::new();
            for (place, [within, outside]) in sent.iter_mut().enumerate() {
                let start = Instant::now();
                let network = Network { place };
                network.in_its_namespace(|| Floor::open()?.replay(within).map(drop))?;
                floor.replay(outside)?;
                took.push(start.elapsed());
            }
            floor.replay(gone)?;
            remove_names(sent.len())?;
            thread::sleep(GONE);
            Ok(mean(counted(&took)))
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

/// One of vHive's networks.
#[derive(Debug, Clone, Copy)]
struct Network {
    place: usize,
}

impl Network {
    /// Makes a namespace with a TAP, does `work` there, and gives it its name.
    fn in_its_namespace(self, work: impl FnOnce() -> Result<()> + Send) -> Result<()> {
        let made = NetNs::journey(|journey| {
            let make = || -> Result<()> {
                journey.found()?;
                tap()?;
                work()?;
                Ok(journey.name(&self.name())?)
            };
            make().map_err(|error| crate::harness::words(&*error))
        })?;
        Ok(made?)
    }

    /// Rules, and links with addresses and routes.
    fn inside_its_namespace(self, host: &NetNs) -> Result<()> {
        let [near, far] = self.ends()?;
        let [tap, uplink] = [TAP_INDEX, NEAR_INDEX].map(IfIndex::new);
        let (tap, uplink, other) = (tap?, uplink?, self.far_index()?);
        let table = Table::new(Family::IP, Name::new("nat")?);
        let chain = |name, hook| -> Result<Chain> {
            let chain = Chain::base(&table, Name::new(name)?, ChainType::NAT, hook, 0);
            Ok(chain.policy(Policy::ACCEPT))
        };
        let postrouting = chain("POSTROUTING", Hook::POSTROUTING)?;
        let prerouting = chain("PREROUTING", Hook::PREROUTING)?;
        let leaves = Rule::new(&postrouting).matching(meta::oifname().equal(near));
        let enters = Rule::new(&prerouting).matching(meta::iifname().equal(near));
        let clone = self.address(CLONE);
        let mut batch = Batch::new();
        batch
            .create(&table)
            .create(&postrouting)
            .create(&prerouting);
        batch.add(
            &leaves
                .matching(ip::saddr().equal(GUEST))
                .snat(IpAddr::V4(clone), None),
        );
        batch.add(
            &enters
                .matching(ip::daddr().equal(clone))
                .dnat(IpAddr::V4(GUEST), None),
        );
        Nft::open()?.commit(&mut batch)?;
        Rtnl::open()?.apply(|changes| {
            let pair = NewLink::veth(near, far).index(uplink).peer_index(other);
            changes.add_link(&pair.peer_netns(host));
            changes.replace_address(&Address::new(tap, net(GATEWAY, 24)));
            changes.set_link(&LinkChange::new(tap).up());
            let address = net(self.address(NEAR_ADDRESS), 30);
            changes.replace_address(&Address::new(uplink, address));
            changes.set_link(&LinkChange::new(uplink).up());
            let out = Route::new(net(Ipv4Addr::UNSPECIFIED, 0));
            let out = out.via(IpAddr::V4(self.address(FAR_ADDRESS)));
            changes.replace_route(&out.dev(uplink));
        })?;
        Ok(())
    }

    /// The other end of the pair, the way to the clone, and its rules.
    fn outside_of_it(self) -> Result<()> {
        let (uplink, [_, far]) = ("lo".parse::<IfName>()?, self.ends()?);
        let index = self.far_index()?;
        let table = |name| Ok::<_, tapwire::Error>(Table::new(Family::IP, Name::new(name)?));
        let (filter, nat) = (table("filter")?, table("nat")?);
        let base = |table, name, kind, hook| -> Result<Chain> {
            let chain = Chain::base(table, Name::new(name)?, kind, hook, 0);
            Ok(chain.policy(Policy::ACCEPT))
        };
        let forward = base(&filter, "vhive-forward", ChainType::FILTER, Hook::FORWARD)?;
        let masq = base(&nat, "vhive-masq", ChainType::NAT, Hook::POSTROUTING)?;
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
            let address = net(self.address(FAR_ADDRESS), 30);
            changes.replace_address(&Address::new(index, address));
            changes.set_link(&LinkChange::new(index).up());
            let way = Route::new(net(self.address(CLONE), 32));
            let way = way.via(IpAddr::V4(self.address(NEAR_ADDRESS)));
            changes.replace_route(&way.dev(index));
        })?;
        Ok(())
    }

    fn name(self) -> String {
        format!("bvhive{}", self.place)
    }

    /// The pair: the end in the namespace, and the host's.
    fn ends(self) -> Result<[IfName; 2]> {
        let place = self.place;
        Ok([
            format!("veth{place}-0").parse()?,
            format!("veth{place}-1").parse()?,
        ])
    }

    fn far_index(self) -> Result<IfIndex> {
        Ok(IfIndex::new(FAR_INDEX + u32::try_from(self.place)?)?)
    }

    /// Of the network that comes so many places after that of `first`.
    fn address(self, first: Ipv4Addr) -> Ipv4Addr {
        let [a, b, c, d] = first.octets();
        let step = u8::try_from(self.place * 4).unwrap_or(u8::MAX);
        Ipv4Addr::new(a, b, c, d + step)
    }
}

/// The TAP of the snapshot's name.
fn tap() -> Result<()> {
    let tap = TapOptions::new(TAP.parse()?).index(IfIndex::new(TAP_INDEX)?);
    tap.mac("06:00:ac:10:00:01".parse()?)
        .persistent()
        .create()?;
    Ok(())
}

fn take_away(networks: usize) -> Result<()> {
    let links = (0..networks).map(|place| Network { place }.far_index());
    let links = links.collect::<Result<Vec<_>>>()?;
    Rtnl::open()?.apply(|changes| {
        for link in links {
            changes.delete_link(link);
        }
    })?;
    let mut batch = Batch::new();
    for name in ["filter", "nat"] {
        batch.delete(&Table::new(Family::IP, Name::new(name)?));
    }
    Nft::open()?.commit(&mut batch)?;
    Ok(())
}

fn remove_names(networks: usize) -> Result<()> {
    for place in 0..networks {
        NetNs::remove_named(&Network { place }.name())?;
    }
    Ok(())
}

fn net(address: Ipv4Addr, prefix: u8) -> ipnet::IpNet {
    ipnet::Ipv4Net::new_assert(address, prefix).into()
}

const TAP: &str = "tap0";
const TAP_INDEX: u32 = 2;
const NEAR_INDEX: u32 = 3;
const FAR_INDEX: u32 = 77_777;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 1);
const GUEST: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 2);
const CLONE: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 1);
const FAR_ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 1);
const NEAR_ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 17, 0, 2);
