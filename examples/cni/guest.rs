//! The guest of an attachment: how it is called, what it must be told.

use serde_json::{Value, json};
use tapwire::guest::{GuestConfig, GuestRoute};
use tapwire::{GuestName, IfName};

use crate::failure::Failure;

/// How the kernel knows the guest of an attachment: by the network, as
/// [`prefix`] says, and by container and interface.
pub(crate) fn name(network: &str, container: &str, interface: &str) -> Result<GuestName, Failure> {
    let known: String = container.chars().take(READABLE).collect();
    let hash = hash(&[container, interface]);
    Ok(GuestName::new(&format!(
        "{}{known}-{interface}-{hash:016x}",
        prefix(network),
        interface = interface
            .get(..interface.len().min(READABLE))
            .unwrap_or("if"),
    ))?)
}

/// How the names of all guests of a network begin.
pub(crate) fn prefix(network: &str) -> String {
    format!("{:08x}-", hash(&[network]) & 0xffff_ffff)
}

/// What a guest must be told, for its launcher.
pub(crate) fn told(config: &GuestConfig, tap: IfName, netns: &str) -> Value {
    let device = IfName::new(GUEST_DEVICE).ok();
    let argument = device.and_then(|device| config.kernel_argument(device).ok());
    let rumprun = device.and_then(|device| config.rumprun_json(device).ok());
    let route = |route: &GuestRoute| {
        json!({
            "dst": route.destination().to_string(),
            "gw": route.gateway(),
            "onlink": route.is_onlink(),
            "src": route.preferred_source(),
            "priority": route.metric_number(),
        })
    };
    let neighbour = |(address, mac): &(std::net::IpAddr, tapwire::Mac)| json!({"address": address, "mac": mac.to_string()});
    json!({
        "tap": tap.as_str(),
        "netns": netns,
        "mac": config.mac().to_string(),
        "mtu": config.mtu(),
        "addresses": config.addresses().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "routes": config.routes().iter().map(route).collect::<Vec<_>>(),
        "neighbours": config.neighbours().iter().map(neighbour).collect::<Vec<_>>(),
        "nameservers": config.dns_servers(),
        "search": config.search_domains().collect::<Vec<_>>(),
        "commands": config.to_string().lines().collect::<Vec<_>>(),
        "kernelArgument": argument,
        "rumprunJson": rumprun,
    })
}

/// With the name servers and domains that CNI's `dns` tells.
pub(crate) fn with_dns(mut config: GuestConfig, dns: Option<&Value>) -> GuestConfig {
    let list = |key| {
        let list = dns.and_then(|dns| dns.get(key)).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str)
    };
    for server in list("nameservers").filter_map(|server| server.parse().ok()) {
        config = config.dns(server);
    }
    for domain in list("search") {
        config = match config.clone().search(domain) {
            Ok(with) => with,
            Err(_) => config,
        };
    }
    config
}

/// FNV-1a: the same on every machine and in every version. Words are told
/// apart by a byte that none of them holds.
fn hash(words: &[&str]) -> u64 {
    let bytes = words.iter().flat_map(|word| word.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// So much of a container's name is kept for people.
const READABLE: usize = 15;

/// How a guest calls its only interface.
const GUEST_DEVICE: &str = "eth0";
