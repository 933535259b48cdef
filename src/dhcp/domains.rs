//! Domain names on the wire: RFC 1035, without compression, which DHCPv6
//! and router advertisements forbid and DHCP does not need.

/// The names one after another.
pub(super) fn encode(names: impl Iterator<Item = impl AsRef<str>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for name in names {
        for label in name.as_ref().split('.') {
            // A label has at most 63 bytes: the configuration checks that.
            bytes.push(u8::try_from(label.len()).unwrap_or_default());
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
    }
    bytes
}
