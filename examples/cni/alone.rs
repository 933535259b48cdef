//! Without other plugins: a routed network for the guest, within the pod's
//! namespace and behind the pod's other interfaces. Its owner there is the
//! interface's name, so the guest's TAP is called `net1-0`. A port of a mapping
//! is one of the pod's addresses there.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::{Value, json};
use tapwire::guest::{GuestConfig, GuestRoute};
use tapwire::{Attachment, Error, Guest, Host, Networks, Owner, Rate, Settings, Wanted};

use crate::call::Call;
use crate::config::Config;
use crate::failure::{Code, Failure};
use crate::store::Store;
use crate::{guest, ports, results};

/// ADD.
pub(crate) fn add(call: &Call, config: &Config) -> Result<Value, Failure> {
    let owner = owner(call)?;
    let wanted = guest_of(call, config)?;
    let attached = call.in_pod(|| {
        let attached = attach(&owner, config, &wanted);
        if attached.is_err() {
            // The first failure is the one to tell.
            let _undone = Host::find(Settings::new(owner.clone())).map(|it| it.map(Host::remove));
        }
        attached
    })?;
    let told = told(call, config, &attached);
    Store::new(config).write(&call.guest, &told)?;
    let mut result = json!({
        "ips": [
            ip(config, &IpNet::V4(net4(&attached)), attached.gateway_ipv4().into()),
            ip(config, &IpNet::V6(net6(&attached)), attached.gateway_ipv6().into()),
        ],
        "routes": [
            {"dst": "0.0.0.0/0", "gw": attached.gateway_ipv4()},
            {"dst": "::/0", "gw": attached.gateway_ipv6()},
        ],
        "dns": config.dns.clone().unwrap_or_else(|| json!({})),
    });
    let (tap, mac) = (attached.tap(), attached.mac());
    results::add_tap(&mut result, call, tap, tapwire::guest::GATEWAY_MAC, mac);
    results::put(&mut result, "guest", told);
    Ok(result)
}

/// Attaches the guest with its ports in the calling thread's namespace, in
/// the first network that is free, or in the one that is asked for.
fn attach(owner: &Owner, config: &Config, guest: &Guest) -> Result<Attachment, Failure> {
    let mut last = None;
    for networks in networks(config)? {
        let settings = Settings::new(owner.clone()).networks(networks);
        let mut host = Host::with(settings)?;
        let attached = match host.attach(guest) {
            Err(error @ Error::Conflict(_)) if config.ips.len() < 2 => {
                last = Some(error);
                continue;
            }
            attached => attached?,
        };
        let addresses = [attached.ipv4().into(), attached.ipv6().into()];
        let mut wanted = Wanted::new().guest(guest.clone());
        wanted.extend(ports::exposures(config, &addresses)?);
        host.apply(&wanted)?;
        return Ok(attached);
    }
    let why = last.map_or_else(
        || "none is large enough".to_owned(),
        |error| error.to_string(),
    );
    Err(Failure::told(Code::Conflict, "networks for guests", why))
}

/// CHECK: there is nothing to be done.
pub(crate) fn check(call: &Call, config: &Config) -> Result<(), Failure> {
    let owner = owner(call)?;
    let wanted = guest_of(call, config)?;
    call.in_pod(|| {
        let absent = || Failure::told(Code::Check, &call.guest, "is not attached");
        let mut host = Host::find(Settings::new(owner))?.ok_or_else(absent)?;
        let guests = host.guests()?;
        let attached = guests.iter().find(|it| it.name() == call.guest.as_str());
        let attached = attached.ok_or_else(absent)?;
        let addresses = [attached.ipv4().into(), attached.ipv6().into()];
        let mut asked_for = config.ips.iter().map(IpNet::addr);
        if let Some(other) = asked_for.find(|address| !addresses.contains(address)) {
            let why = "is not the guest's";
            return Err(Failure::told(Code::Check, format!("ips: {other}"), why));
        }
        let mut all = Wanted::new().guest(wanted);
        all.extend(ports::exposures(config, &addresses)?);
        let plan = host.plan(&all)?;
        if plan.is_empty() {
            return Ok(());
        }
        Err(Failure::told(Code::Check, &call.guest, plan))
    })
}

/// DEL: all that has this owner's name in the pod's namespace.
pub(crate) fn delete(call: &Call) -> Result<(), Failure> {
    let Ok(owner) = owner(call) else {
        return Ok(());
    };
    call.inside(|| match Host::find(Settings::new(owner))? {
        Some(host) => Ok(host.remove()?),
        None => Ok(()),
    })?;
    Ok(())
}

fn owner(call: &Call) -> Result<Owner, Failure> {
    let invalid = |error| Failure::new(Code::Environment, "CNI_IFNAME", &error);
    Owner::new(call.interface.as_str()).map_err(invalid)
}

fn guest_of(call: &Call, config: &Config) -> Result<Guest, Failure> {
    let mut guest = Guest::new(call.guest.as_str())?;
    if let Some(mac) = config.mac {
        guest = guest.mac(mac);
    }
    if let Some(uid) = config.tap.owner {
        guest = guest.tap_owner(uid);
    }
    if let Some(gid) = config.tap.group {
        guest = guest.tap_group(gid);
    }
    let limits = &config.bandwidth;
    if limits.ingress_rate > 0 {
        guest = guest.rate_to(rate(limits.ingress_rate, limits.ingress_burst)?);
    }
    if limits.egress_rate > 0 {
        guest = guest.rate_from(rate(limits.egress_rate, limits.egress_burst)?);
    }
    Ok(guest)
}

/// From bits to bytes.
fn rate(bits: u64, burst: u64) -> Result<Rate, Failure> {
    let rate = Rate::new((bits / 8).max(1))?;
    let invalid = |error| Failure::new(Code::Config, "bandwidth", &error);
    let burst = u32::try_from(burst / 8).map_err(invalid)?;
    Ok(if burst > rate.current_burst() {
        rate.burst(burst)
    } else {
        rate
    })
}

/// The networks to be tried, each with room for one guest.
fn networks(config: &Config) -> Result<Vec<Networks>, Failure> {
    let (mut ipv4, mut ipv6) = (None, None);
    for wanted in &config.ips {
        match wanted.addr() {
            IpAddr::V4(address) => ipv4 = Some(Ipv4Net::new_assert(address, 30).trunc()),
            IpAddr::V6(address) => ipv6 = Some(Ipv6Net::new_assert(address, 126).trunc()),
        }
        let second = match wanted.addr() {
            IpAddr::V4(address) => u32::from(address) % 4 == 2,
            IpAddr::V6(address) => u128::from(address) % 4 == 2,
        };
        if !second {
            let why = "a guest has the address behind the gateway's of a /30 or a /126";
            return Err(Failure::told(Code::Config, format!("ips: {wanted}"), why));
        }
    }
    let range4 = ipv4.unwrap_or_else(|| config.networks.ipv4());
    let range6 = ipv6.unwrap_or_else(|| config.networks.ipv6());
    let all4 = range4.subnets(30).into_iter().flatten();
    let all6 = range6.subnets(126).into_iter().flatten();
    // One that is asked for goes with each of the other family's.
    let all4 = all4.cycle().take(ATTEMPTS);
    let all6 = all6.cycle().take(ATTEMPTS);
    let pairs = all4.zip(all6);
    let all = pairs.map(|(ipv4, ipv6)| Networks::new(ipv4, ipv6));
    Ok(all.collect::<Result<_, _>>()?)
}

fn told(call: &Call, config: &Config, attached: &Attachment) -> Value {
    let mut told = GuestConfig::new(attached.mac(), MTU)
        .address(net4(attached).into())
        .address(net6(attached).into());
    for (all, gateway) in [
        (
            IpNet::V4(Ipv4Net::default()),
            attached.gateway_ipv4().into(),
        ),
        (
            IpNet::V6(Ipv6Net::default()),
            attached.gateway_ipv6().into(),
        ),
    ] {
        told = told.route(GuestRoute::new(all).via(gateway));
    }
    let told = guest::with_dns(told, config.dns.as_ref());
    let mut told = guest::told(&told, attached.tap(), &call.path);
    results::put(&mut told, "method", json!("routed"));
    told
}

/// One of `ips`: of the guest's own interface, the second in the list.
fn ip(config: &Config, address: &IpNet, gateway: IpAddr) -> Value {
    let mut ip = json!({"address": address.to_string(), "gateway": gateway, "interface": 1});
    if config.version == "0.4.0" {
        let version = if address.addr().is_ipv4() { "4" } else { "6" };
        results::put(&mut ip, "version", json!(version));
    }
    ip
}

fn net4(attached: &Attachment) -> Ipv4Net {
    Ipv4Net::new_assert(attached.ipv4(), attached.prefix_ipv4())
}

fn net6(attached: &Attachment) -> Ipv6Net {
    Ipv6Net::new_assert(attached.ipv6(), attached.prefix_ipv6())
}

/// So many networks are tried before the namespace counts as full.
const ATTEMPTS: usize = 64;

/// What a TAP has.
const MTU: u32 = 1500;
