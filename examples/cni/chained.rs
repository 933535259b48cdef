//! Behind other plugins: the guest takes the pod's place.

use ipnet::IpNet;
use serde_json::{Value, json};
use tapwire::Mac;
use tapwire::bridged::{BridgePlan, Bridged, PodInterface, restore};
use tapwire::route::Rtnl;

use crate::call::{Call, or_nothing};
use crate::config::Config;
use crate::failure::{Code, Failure};
use crate::store::Store;
use crate::{guest, ports, rates, results};

/// ADD. What it makes is removed again if it fails; what an earlier one made
/// stays.
pub(crate) fn add(call: &Call, config: &Config, previous: &Value) -> Result<Value, Failure> {
    let addresses = results::addresses(previous, call)?;
    let addresses = results::firsts(&addresses);
    // Refused, if at all, before anything is changed.
    ports::exposures(config, &addresses)?;
    let place = call.in_pod(|| take_place(call, config))?;
    let outcome = ports::open(call, config, &addresses)
        .and_then(|()| Store::new(config).write(&call.guest, &told(call, config, &place.bridged)));
    if let Err(failure) = outcome {
        if place.is_new {
            // The first failure is the one to tell.
            let _undone = delete(call, config);
        }
        return Err(failure);
    }
    let mut result = previous.clone();
    let (tap, mac) = (place.bridged.tap(), place.bridged.config().mac());
    results::add_tap(&mut result, call, tap, place.mac.unwrap_or(mac), mac);
    results::put(&mut result, "guest", told(call, config, &place.bridged));
    Ok(result)
}

/// The pod's place, taken.
struct Place {
    bridged: Bridged,
    /// Whether it was not before.
    is_new: bool,
    /// The TAP's own address.
    mac: Option<Mac>,
}

/// All that is done in the pod's namespace, or nothing.
fn take_place(call: &Call, config: &Config) -> Result<Place, Failure> {
    let is_new = Bridged::find(call.interface)?.is_none();
    let bridged = take_over(call, config)?;
    let limited = rates::set(&config.bandwidth, call.interface, bridged.tap());
    let found = limited.and_then(|()| Ok(Rtnl::open()?.link(bridged.tap())?));
    match found {
        Ok(link) => Ok(Place {
            mac: link.and_then(|link| link.mac()),
            bridged,
            is_new,
        }),
        Err(failure) => {
            if is_new {
                // The first failure is the one to tell.
                let _undone = give_back(call);
            }
            Err(failure)
        }
    }
}

fn take_over(call: &Call, config: &Config) -> Result<Bridged, Failure> {
    let pod = PodInterface::read(call.interface)?;
    if let Some(wanted) = config.mac
        && wanted != pod.mac()
    {
        let why = format!(
            "the pod has {}; whoever makes its interface applies it",
            pod.mac()
        );
        return Err(Failure::told(Code::Config, format!("mac {wanted}"), why));
    }
    let tap = &config.tap;
    let mut plan = BridgePlan::new(pod);
    if let Some(uid) = tap.owner {
        plan = plan.tap_owner(uid);
    }
    if let Some(gid) = tap.group {
        plan = plan.tap_group(gid);
    }
    if tap.vnet_header {
        plan = plan.vnet_header();
    }
    if tap.multi_queue {
        plan = plan.multi_queue();
    }
    Ok(plan.take_over()?)
}

fn told(call: &Call, config: &Config, bridged: &Bridged) -> Value {
    let dns = config.dns.as_ref();
    let dns = dns.or_else(|| config.previous.as_ref()?.get("dns"));
    let told = guest::with_dns(bridged.config().clone(), dns);
    let mut told = guest::told(&told, bridged.tap(), &call.path);
    results::put(&mut told, "method", json!("bridged"));
    told
}

/// CHECK.
pub(crate) fn check(call: &Call, config: &Config, previous: &Value) -> Result<(), Failure> {
    let differs = |what: &str, why: String| Err(Failure::told(Code::Check, what, why));
    let found = call.in_pod(|| Ok(Bridged::find(call.interface)?))?;
    let Some(bridged) = found else {
        let why = "is not taken over".to_owned();
        return differs(call.interface.as_str(), why);
    };
    if !results::has_tap(previous, call, bridged.tap()) {
        let why = "is not in prevResult".to_owned();
        return differs(bridged.tap().as_str(), why);
    }
    let addresses = results::addresses(previous, call)?;
    for address in &addresses {
        let told = bridged.config().addresses().iter();
        if !told.map(IpNet::addr).any(|own| own == address.addr()) {
            return differs("ips", format!("the guest has no {address}"));
        }
    }
    call.in_pod(|| rates::check(&config.bandwidth, call.interface))?;
    ports::check(call, config, &results::firsts(&addresses))
}

/// DEL: the ports first, so that nothing is led to who comes next.
pub(crate) fn delete(call: &Call, config: &Config) -> Result<(), Failure> {
    ports::close(call, config)?;
    call.inside(|| give_back(call))?;
    Ok(())
}

fn give_back(call: &Call) -> Result<(), Failure> {
    or_nothing(restore(call.interface).map(drop))?;
    rates::remove(call.interface)
}
