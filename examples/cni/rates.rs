//! The capability `bandwidth` for a guest in a pod's place: what exceeds a
//! rate is dropped where it enters the pod's namespace.

use tapwire::IfName;
use tapwire::nft::expr::{Limit, LimitType};
use tapwire::nft::{
    Batch, Chain, ChainType, Comment, Family, Hook, Name, Nft, Policy, Rule, Table,
};
use tapwire::wire::uapi::nf_tables_expr::NFT_LIMIT_F_INV;

use crate::config::Bandwidth;
use crate::failure::{Code, Failure};

/// Limits what comes in by the pod's interface, and what the guest sends, as
/// wanted, in the calling thread's namespace. Together, and nothing else.
pub(crate) fn set(wanted: &Bandwidth, interface: IfName, tap: IfName) -> Result<(), Failure> {
    let table = table(interface)?;
    let mut batch = Batch::new();
    batch.destroy(&table);
    let limits = [
        (
            "to_guest",
            interface,
            wanted.ingress_rate,
            wanted.ingress_burst,
        ),
        ("from_guest", tap, wanted.egress_rate, wanted.egress_burst),
    ];
    if limits.iter().any(|(_, _, rate, _)| *rate > 0) {
        batch.create(&table);
    }
    for (name, device, rate, burst) in limits {
        if rate == 0 {
            continue;
        }
        let chain = Chain::base(
            &table,
            Name::new(name)?,
            ChainType::FILTER,
            Hook::NETDEV_INGRESS,
            0,
        );
        let chain = chain.device(device).policy(Policy::ACCEPT);
        batch.create(&chain).add(
            &Rule::new(&chain)
                .expression(limit(rate, burst)?)
                .counter()
                .drop()
                .comment(Comment::new("bandwidth")?),
        );
    }
    Ok(Nft::open()?.commit(&mut batch)?)
}

/// Whether the limits are there, in the calling thread's namespace.
pub(crate) fn check(wanted: &Bandwidth, interface: IfName) -> Result<(), Failure> {
    let table = table(interface)?;
    let mut nft = Nft::open()?;
    let is_wanted = *wanted != Bandwidth::default();
    let is_it = |one: &Table| one.family() == table.family() && one.name() == table.name();
    if !nft.tables()?.iter().any(is_it) {
        if is_wanted {
            return Err(Failure::told(Code::Check, "bandwidth", "is not limited"));
        }
        return Ok(());
    }
    let there = nft.all_rules(&table)?;
    for (rate, burst) in [
        (wanted.ingress_rate, wanted.ingress_burst),
        (wanted.egress_rate, wanted.egress_burst),
    ] {
        if rate == 0 {
            continue;
        }
        let expected = limit(rate, burst)?.into();
        if !there
            .iter()
            .any(|rule| rule.expressions().contains(&expected))
        {
            let what = format!("bandwidth {rate}");
            return Err(Failure::told(Code::Check, what, "is not limited so"));
        }
    }
    Ok(())
}

/// Removes the limits, in the calling thread's namespace.
pub(crate) fn remove(interface: IfName) -> Result<(), Failure> {
    let mut batch = Batch::new();
    batch.destroy(&table(interface)?);
    Ok(Nft::open()?.commit(&mut batch)?)
}

fn table(interface: IfName) -> Result<Table, Failure> {
    let name = format!("tapwire-{interface}");
    Ok(Table::new(Family::NETDEV, Name::new(&name)?))
}

/// What matches while more than so many bits a second come, besides so many
/// at once; at least the largest packet that segmentation makes.
fn limit(rate: u64, burst: u64) -> Result<Limit, Failure> {
    let invalid = |error| Failure::new(Code::Config, "bandwidth", &error);
    let burst = u32::try_from(burst / BITS).map_err(invalid)?;
    Ok(Limit::new((rate / BITS).max(1), 1)
        .with_burst(burst.max(LARGEST_PACKET))
        .with_kind(LimitType::BYTES)
        .with_flags(NFT_LIMIT_F_INV))
}

const BITS: u64 = 8;
const LARGEST_PACKET: u32 = 65_536;
