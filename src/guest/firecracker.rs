//! What Firecracker is told of a guest.

use std::fmt::Write as _;

use super::Attachment;

impl Attachment {
    /// The value of `network_overrides` in the request by which Firecracker
    /// loads a snapshot (`PUT /snapshot/load`): the snapshot's interface
    /// `iface_id` meets this guest's TAP.
    ///
    /// ```
    /// # use tapwire::{Guest, Host, Owner};
    /// # fn load(guest: &tapwire::Attachment) {
    /// let overrides = guest.network_overrides("eth0");
    /// // [{"iface_id":"eth0","host_dev_name":"riklet-7"}]
    /// let request = format!(r#"{{"snapshot_path":"vmstate","network_overrides":{overrides}}}"#);
    /// # drop(request);
    /// # }
    /// ```
    pub fn network_overrides(&self, iface_id: &str) -> String {
        let (id, tap) = (string(iface_id), self.vmm_tap());
        let tap = string(tap.as_str());
        format!(r#"[{{"iface_id":{id},"host_dev_name":{tap}}}]"#)
    }
}

/// A string of JSON (RFC 8259, section 7).
fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len().saturating_add(2));
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\0'..='\x1f' => {
                // Writing to a string does not fail.
                let _written = write!(quoted, "\\u{:04x}", u32::from(character));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use crate::{Guest, Networks, Owner};

    #[test]
    fn overrides_are_json_whatever_the_interface_is_called() {
        let owner = Owner::new("riklet").unwrap();
        let guest = Guest::new("a").unwrap();
        let guest = Networks::default().attachment(&owner, &guest, 7).unwrap();
        assert_eq!(
            guest.network_overrides("eth0"),
            r#"[{"iface_id":"eth0","host_dev_name":"riklet-7"}]"#
        );
        let odd = "\"\\/\0\n\u{1f}\u{7f}é\u{1f600}";
        let value: serde_json::Value = serde_json::from_str(&guest.network_overrides(odd)).unwrap();
        assert_eq!(value[0]["iface_id"], odd);
        assert_eq!(value[0]["host_dev_name"], "riklet-7");
    }
}
