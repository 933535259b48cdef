//! The configuration of a network, as a runtime hands it over.
//!
//! ```json
//! {
//!   "cniVersion": "1.1.0", "name": "pods", "type": "tapwire",
//!   "capabilities": {"portMappings": true, "mac": true, "ips": true, "bandwidth": true},
//!   "owner": "tapwire",
//!   "tap": {"owner": 107, "group": 107, "vnetHeader": true, "multiQueue": false},
//!   "loopback": true,
//!   "ipv4": "198.18.0.0/15", "ipv6": "fd2c:6b8f:4a10::/64",
//!   "stateDir": "/run/tapwire/cni"
//! }
//! ```
//!
//! All but the first line may be left out. `owner` is whose tables the port
//! mappings are in; `loopback` has them serve the node's `127.0.0.1` too;
//! `ipv4` and `ipv6` are what guests get addresses from that are alone.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;
use tapwire::{Mac, Networks, Owner};

use crate::failure::{Code, Failure};

/// The versions of the specification that are spoken, oldest first.
pub(crate) const VERSIONS: [&str; 3] = ["0.4.0", "1.0.0", "1.1.0"];

/// A network's configuration, checked.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) version: String,
    pub(crate) name: String,
    pub(crate) owner: Owner,
    pub(crate) tap: TapWishes,
    pub(crate) loopback: bool,
    pub(crate) networks: Networks,
    pub(crate) state: PathBuf,
    pub(crate) dns: Option<Value>,
    pub(crate) mac: Option<Mac>,
    pub(crate) ips: Vec<IpNet>,
    pub(crate) ports: Vec<PortMapping>,
    pub(crate) bandwidth: Bandwidth,
    pub(crate) previous: Option<Value>,
    pub(crate) valid_attachments: Option<Vec<ValidAttachment>>,
}

/// Whose the TAP is, and what it is like.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TapWishes {
    pub(crate) owner: Option<u32>,
    pub(crate) group: Option<u32>,
    pub(crate) vnet_header: bool,
    pub(crate) multi_queue: bool,
}

/// One of the capability `portMappings`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PortMapping {
    pub(crate) host_port: u16,
    pub(crate) container_port: u16,
    #[serde(default)]
    pub(crate) protocol: Option<String>,
    #[serde(default, rename = "hostIP")]
    pub(crate) host_ip: Option<String>,
}

/// The capability `bandwidth`: bits per second, and bits; ingress is what the
/// guest gets. 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Bandwidth {
    pub(crate) ingress_rate: u64,
    pub(crate) ingress_burst: u64,
    pub(crate) egress_rate: u64,
    pub(crate) egress_burst: u64,
}

/// An attachment that GC is to leave alone.
#[derive(Debug, Deserialize)]
pub(crate) struct ValidAttachment {
    #[serde(rename = "containerID")]
    pub(crate) container_id: String,
    pub(crate) ifname: String,
}

/// As it is written.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    cni_version: Option<String>,
    name: String,
    owner: Option<String>,
    #[serde(default)]
    tap: TapWishes,
    loopback: Option<bool>,
    ipv4: Option<String>,
    ipv6: Option<String>,
    state_dir: Option<PathBuf>,
    dns: Option<Value>,
    #[serde(default)]
    runtime_config: Runtime,
    prev_result: Option<Value>,
    #[serde(rename = "cni.dev/valid-attachments")]
    valid_attachments: Option<Vec<ValidAttachment>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Runtime {
    port_mappings: Vec<PortMapping>,
    mac: Option<String>,
    ips: Vec<String>,
    bandwidth: Bandwidth,
}

impl Config {
    pub(crate) fn read(input: &[u8]) -> Result<Self, Failure> {
        let written: Written = serde_json::from_slice(input)
            .map_err(|error| Failure::new(Code::Decode, "configuration", &error))?;
        let invalid = |what: &'static str, why: &dyn std::fmt::Display| {
            Failure::told(Code::Config, what, why)
        };
        let version = written.cni_version.unwrap_or_default();
        if !VERSIONS.contains(&&*version) {
            let why = format!("{version:?} is none of {}", VERSIONS.join(", "));
            return Err(Failure::told(Code::Version, "cniVersion", why));
        }
        let previous = written.prev_result.filter(|result| !result.is_null());
        if previous.as_ref().is_some_and(|result| !result.is_object()) {
            let why = "is no object";
            return Err(Failure::told(Code::Decode, "prevResult", why));
        }
        if written.name.is_empty() {
            return Err(invalid("name", &"is empty"));
        }
        let owner = Owner::new(written.owner.as_deref().unwrap_or(OWNER))
            .map_err(|error| invalid("owner", &error))?;
        let networks = networks(written.ipv4.as_deref(), written.ipv6.as_deref())
            .map_err(|error| invalid("ipv4, ipv6", &error))??;
        let runtime = written.runtime_config;
        let mac = runtime.mac.as_deref().filter(|mac| !mac.is_empty());
        let mac = mac.map(str::parse).transpose();
        let ips: Result<Vec<IpNet>, _> = runtime.ips.iter().map(|text| net(text)).collect();
        Ok(Self {
            version,
            name: written.name,
            owner,
            tap: written.tap,
            loopback: written.loopback.unwrap_or(true),
            networks,
            state: written.state_dir.unwrap_or_else(|| STATE.into()),
            dns: written.dns,
            mac: mac.map_err(|error: tapwire::error::Invalid| invalid("mac", &error))?,
            ips: ips.map_err(|error| invalid("ips", &error))?,
            ports: runtime.port_mappings,
            bandwidth: runtime.bandwidth,
            previous,
            valid_attachments: written.valid_attachments,
        })
    }
}

/// The version that is asked for, as far as it can be read; else the newest.
pub(crate) fn version_of(input: &[u8]) -> String {
    let config: Value = serde_json::from_slice(input).unwrap_or_default();
    let asked = config.get("cniVersion").and_then(Value::as_str);
    let known = asked.filter(|version| VERSIONS.contains(version));
    known.unwrap_or("1.1.0").to_owned()
}

fn networks(
    ipv4: Option<&str>,
    ipv6: Option<&str>,
) -> Result<Result<Networks, tapwire::error::Invalid>, ipnet::AddrParseError> {
    let usual = Networks::default();
    let ipv4 = ipv4.map_or_else(|| Ok(usual.ipv4()), str::parse)?;
    let ipv6 = ipv6.map_or_else(|| Ok(usual.ipv6()), str::parse)?;
    Ok(Networks::new(ipv4, ipv6))
}

/// An address with its prefix length; without one it is a single address.
fn net(text: &str) -> Result<IpNet, ipnet::AddrParseError> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(address.into()),
        Err(_) => text.parse(),
    }
}

const OWNER: &str = "tapwire";
const STATE: &str = "/run/tapwire/cni";
