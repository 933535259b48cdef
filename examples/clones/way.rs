//! All clones of one way, from the first to the last.

use std::time::Duration;

use tapwire::sys::NetNs;
use tapwire::{Attachment, Connection, Guest, Host, Owner, Pool, PoolSettings, Settings};

use crate::Orders;
use crate::sample::{self, Report, Running};
use crate::support::inventory::Inventory;
use crate::support::network::Network;
use crate::support::program::{Failure, say};
use crate::support::progress::Progress;
use crate::support::table::Table;
use crate::times::{Times, timed};

/// A way of connecting clones, on a node.
pub(crate) struct Way<'a> {
    name: &'static str,
    network: &'a Network,
    orders: &'a Orders,
    guests: Vec<Guest>,
    host: Host,
    before: Inventory,
}

impl<'a> Way<'a> {
    pub(crate) fn new(
        name: &'static str,
        connection: &Connection,
        network: &'a Network,
        orders: &'a Orders,
    ) -> Result<Self, Failure> {
        let guest = |number| {
            let guest = Guest::new(&format!("clone-{number}"))?;
            Ok::<_, Failure>(guest.connection(connection.clone()))
        };
        let before = Inventory::take(network.node(), &[])?;
        let settings = settings()?;
        let host = network.node().run(|| Host::with(settings))??;
        Ok(Self {
            name,
            network,
            orders,
            guests: (0..orders.count).map(guest).collect::<Result<_, _>>()?,
            host,
            before,
        })
    }

    pub(crate) fn run(
        mut self,
        progress: &mut Progress,
        times: &mut Times,
    ) -> Result<Report, Failure> {
        self.draw(progress)?;
        let clones = self.make_singly(progress, times)?;
        let mut report = self.reach(&clones, progress)?;
        self.remove(progress, times)?;
        self.make_at_once(progress, times)?;
        self.take_from_pool(progress, times)?;
        let left = self.clean_up(progress)?;
        report.note("nothing is left", left.is_empty());
        progress.hide();
        say(format_args!("{}", report.text()))?;
        for line in left {
            say(format_args!("  {line}"))?;
        }
        Ok(report)
    }

    /// One clone with an exposure, as read back from the kernel.
    fn draw(&mut self, progress: &mut Progress) -> Result<(), Failure> {
        progress.step(format_args!("{}: drawing one", self.name));
        let Some(first) = self.guests.first() else {
            return Ok(());
        };
        let first = self.host.attach(first)?;
        let exposure = format!("tcp/8080->{}:80", first.name());
        self.host.expose(&exposure.parse()?)?;
        let topology = self.host.topology()?;
        progress.hide();
        say(format_args!("One that is {}:\n", self.name))?;
        for line in topology.tree().to_string().lines() {
            say(format_args!("  {line}"))?;
        }
        say("")?;
        self.host.detach(first.name()).map_err(Into::into)
    }

    /// One after another.
    fn make_singly(
        &mut self,
        progress: &mut Progress,
        times: &mut Times,
    ) -> Result<Vec<Attachment>, Failure> {
        let (mut clones, mut took) = (Vec::new(), Vec::new());
        for guest in &self.guests {
            progress.step(format_args!("{}: making {}", self.name, guest.name()));
            let (clone, time) = timed(|| self.host.attach(guest));
            clones.push(clone?);
            took.push((time, 1));
        }
        times.add(self.name, "made, one by one", took);
        Ok(clones)
    }

    /// Runs some, spread over all, side by side, and reaches them.
    fn reach(&mut self, clones: &[Attachment], progress: &mut Progress) -> Result<Report, Failure> {
        progress.step(format_args!("{}: running some", self.name));
        let apart = clones.len().checked_div(self.orders.sample).unwrap_or(1);
        let sampled = clones.iter().step_by(apart.max(1));
        let sampled = sampled.take(self.orders.sample).zip(FIRST_PORT..);
        let mut all = Vec::new();
        for (clone, port) in sampled {
            all.push(Running::start(&mut self.host, clone, port)?);
        }
        progress.step(format_args!("{}: reaching them", self.name));
        sample::reach(self.network, &all)
    }

    /// A few one by one, and the rest some at once.
    fn remove(&mut self, progress: &mut Progress, times: &mut Times) -> Result<(), Failure> {
        let names: Vec<&str> = self.guests.iter().map(|it| it.name().as_str()).collect();
        let (singly, rest) = names.split_at(names.len().min(SINGLY));
        let mut took = Vec::new();
        for name in singly {
            progress.step(format_args!("{}: removing {name}", self.name));
            let (gone, time) = timed(|| self.host.detach(name));
            gone?;
            took.push((time, 1));
        }
        times.add(self.name, "removed, one by one", took);
        let mut took = Vec::new();
        for some in rest.chunks(AT_ONCE) {
            progress.step(format_args!("{}: removing some at once", self.name));
            let (gone, time) = timed(|| self.host.detach_all(some));
            gone?;
            took.push((time, some.len()));
        }
        times.add(self.name, "removed, 100 at once", took);
        Ok(())
    }

    /// Some at once, and removed all at once.
    fn make_at_once(&mut self, progress: &mut Progress, times: &mut Times) -> Result<(), Failure> {
        let mut took = Vec::new();
        for some in self.guests.chunks(AT_ONCE) {
            progress.step(format_args!("{}: making some at once", self.name));
            let (made, time) = timed(|| self.host.attach_all(some));
            took.push((time, made?.len()));
        }
        times.add(self.name, "made, 100 at once", took);
        progress.step(format_args!("{}: removing all at once", self.name));
        let names: Vec<&str> = self.guests.iter().map(|it| it.name().as_str()).collect();
        let (gone, time) = timed(|| self.host.detach_all(&names));
        gone?;
        times.add(self.name, "removed, all at once", vec![(time, names.len())]);
        Ok(())
    }

    fn take_from_pool(
        &mut self,
        progress: &mut Progress,
        times: &mut Times,
    ) -> Result<(), Failure> {
        progress.step(format_args!("{}: taking some from a pool", self.name));
        let Some(like) = self.guests.first() else {
            return Ok(());
        };
        let like = Guest::new("pool")?.connection(like.wanted_connection().clone());
        let settings = PoolSettings::new(settings()?, like, POOL)?;
        let pool = self.network.node().run(|| Pool::start(settings))??;
        pool.fill(POOL_PATIENCE)?;
        let mut took = Vec::new();
        for _ in 0..POOL {
            let (network, time) = timed(|| pool.take(POOL_PATIENCE));
            network?;
            took.push((time, 1));
        }
        times.add(self.name, "taken from a pool", took);
        pool.shutdown().map_err(Into::into)
    }

    /// Removes what is left, and compares with what was there at first.
    fn clean_up(self, progress: &mut Progress) -> Result<Vec<String>, Failure> {
        progress.step(format_args!("{}: cleaning up", self.name));
        self.host.remove()?;
        let after = Inventory::take(self.network.node(), &[])?;
        let mut left = after.differences(&self.before);
        let names = NetNs::names()?.into_iter();
        left.extend(names.map(|name| format!("left behind: namespace {}", name.display())));
        let mut table = Table::new(&["on the node", "before", "after"])
            .indent(2)
            .right(1)
            .right(2);
        for ((kind, before), (_, after)) in self.before.counts().zip(after.counts()) {
            table.row([&kind, &before, &after]);
        }
        table.row([&"named namespaces", &0, &NetNs::names()?.len()]);
        progress.hide();
        say(table)?;
        Ok(left)
    }
}

fn settings() -> Result<Settings, Failure> {
    Ok(Settings::new(Owner::new("clones")?))
}

/// The steps of one way.
pub(crate) fn steps(orders: &Orders) -> usize {
    let singly = orders.count.min(SINGLY);
    let rest = orders.count.saturating_sub(singly).div_ceil(AT_ONCE);
    let parts = [
        orders.count,
        singly,
        rest,
        orders.count.div_ceil(AT_ONCE),
        OTHER_STEPS,
    ];
    parts.iter().sum()
}

/// Drawing, running, reaching, removing all, the pool, cleaning up.
const OTHER_STEPS: usize = 6;

/// So many are removed one by one: the kernel waits for each.
const SINGLY: usize = 20;

/// So many are made and removed at once.
const AT_ONCE: usize = 100;

/// So many networks are ready in the pool, and for so long they are waited
/// for.
const POOL: u32 = 32;
const POOL_PATIENCE: Duration = Duration::from_secs(60);

/// The node's port that leads to the first clone that runs.
const FIRST_PORT: u16 = 20_000;
