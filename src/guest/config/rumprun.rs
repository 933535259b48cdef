//! The `net` part of a rumprun unikernel's configuration, as Solo5's `ukvm`
//! and Nabla's `nabla-run` take it.

use super::{GuestConfig, Unfit};
use crate::types::IfName;

impl GuestConfig {
    /// The JSON object by which a rumprun unikernel configures its interface
    /// `device` (`ukvmif0` under Nabla), to be merged with the other keys of
    /// its configuration (`cmdline`, `env`, `blk`).
    ///
    /// The MTU and the MAC address are no part of it: the monitor's own
    /// options tell them (`--net-mac`).
    ///
    /// # Errors
    /// [`Unfit`] with the first thing that it cannot say. A gateway outside
    /// of the subnet is one: rumprun has no way to reach it.
    pub fn rumprun_json(&self, device: IfName) -> Result<String, Unfit> {
        let (address, gateway) = self.one_ipv4()?;
        if let Some(server) = self.dns.first() {
            return Err(Unfit::Dns(*server));
        }
        if !self.search.is_empty() {
            return Err(Unfit::Search);
        }
        if self.hostname.is_some() {
            return Err(Unfit::Hostname);
        }
        let device = json_string(device.as_str());
        let (ip, length) = (address.addr(), address.prefix_len());
        let gateway = gateway.map_or_else(String::new, |gateway| format!(r#","gw":"{gateway}""#));
        Ok(format!(
            r#"{{"net":{{"if":{device},"cloner":"True","type":"inet","method":"static","addr":"{ip}","mask":"{length}"{gateway}}}}}"#
        ))
    }
}

/// An interface name holds no quote and no control character, but it may hold
/// a backslash.
fn json_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\"))
}
