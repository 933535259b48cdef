//! Values by their type.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};

pub(super) use super::types::id;

use super::names;
use super::types::{TYPES, WIDTHS};
use crate::nft::{DataType, KeyType, Order};

/// What a value is: its type, its width and its byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) id: u32,
    pub(super) bits: u32,
    pub(super) order: Order,
    /// Bits that lie behind the value in its bytes.
    pub(super) shift: u32,
}

impl Kind {
    pub(super) const fn host(id: u32, bits: u32) -> Self {
        Self {
            id,
            bits,
            order: Order::Host,
            shift: 0,
        }
    }

    pub(super) const fn network(id: u32, bits: u32) -> Self {
        Self {
            id,
            bits,
            order: Order::Network,
            shift: 0,
        }
    }

    /// The kind of a set's key or data of one field.
    pub(super) fn of(field: DataType, bytes: u32) -> Self {
        let id = field.id();
        let bits = match (bytes, WIDTHS.iter().find(|(known, _)| *known == id)) {
            (0, Some((_, bits))) => *bits,
            (bytes, _) => bytes.saturating_mul(8),
        };
        let order = match id {
            id::IPV4_ADDR
            | id::IPV6_ADDR
            | id::ETHER_ADDR
            | id::LL_ADDR
            | id::ETHER_TYPE
            | id::ARP_OP
            | id::INET_SERVICE => Order::Network,
            _ => Order::Host,
        };
        Self {
            id,
            bits,
            order,
            shift: 0,
        }
    }

    /// The kinds of the fields of a key or of data.
    pub(super) fn all_of(key: KeyType) -> Vec<Self> {
        let alone = if key.is_concatenated() {
            0
        } else {
            key.length()
        };
        key.fields()
            .map(|field| match field.id() {
                // Two of them are a range.
                id::IPV4_ADDR | id::IPV6_ADDR | id::INET_SERVICE => Self::of(field, 0),
                _ if alone == 0 => Self::of(field, field.length()),
                _ => Self::of(field, alone),
            })
            .collect()
    }

    /// The name of a type.
    pub(super) fn type_name(id: u32) -> Option<&'static str> {
        TYPES
            .iter()
            .find(|(known, _)| *known == id)
            .map(|(_, name)| *name)
    }

    pub(super) const fn bytes(self) -> u32 {
        self.bits.saturating_add(self.shift).div_ceil(8)
    }

    pub(super) const fn with_order(self, order: Order) -> Self {
        Self { order, ..self }
    }

    pub(super) const fn is_text(self) -> bool {
        matches!(self.id, id::IFNAME | id::STRING)
    }

    pub(super) const fn is_address(self) -> bool {
        matches!(self.id, id::IPV4_ADDR | id::IPV6_ADDR)
    }

    /// Whether values are sets of bits.
    pub(super) const fn is_bits(self) -> bool {
        matches!(
            self.id,
            id::TCP_FLAG | id::CT_STATE | id::CT_STATUS | id::CT_EVENT | id::CT_LABEL
        )
    }

    /// The number in `bytes`; `None` if they do not fit one.
    pub(super) fn number(self, bytes: &[u8]) -> Option<u128> {
        let network = self.order == Order::Network || cfg!(target_endian = "big");
        let mut whole = [0; 16];
        let start = if network {
            whole.len().checked_sub(bytes.len())?
        } else {
            0
        };
        whole
            .get_mut(start..)?
            .get_mut(..bytes.len())?
            .copy_from_slice(bytes);
        let number = if network {
            u128::from_be_bytes(whole)
        } else {
            u128::from_le_bytes(whole)
        };
        number.checked_shr(self.shift)
    }

    /// The value in `bytes`, which may be padded behind.
    pub(super) fn value(self, bytes: &[u8]) -> String {
        let width = usize::try_from(self.bytes()).unwrap_or_default();
        let bytes = match bytes.get(..width) {
            Some(exact) if width > 0 => exact,
            _ => bytes,
        };
        if self.is_text() {
            return text(bytes);
        }
        match self.number(bytes) {
            Some(number) => self.of_number(number),
            None => hex(bytes),
        }
    }

    /// The value of this number as an end of a range, where `nft` uses no
    /// names.
    pub(super) fn plain(self, number: u128) -> String {
        match self.id {
            id::TIME if number.is_multiple_of(1000) => {
                format!("{}s", number.checked_div(1000).unwrap_or_default())
            }
            id::TIME | id::DAY => self.of_number(number),
            id::IFACE_INDEX => number.to_string(),
            _ if names::bits(self.id).is_some() => format!("{number:#x}"),
            _ => self.unnamed(number),
        }
    }

    /// The value of this number.
    pub(super) fn of_number(self, number: u128) -> String {
        if let Some(name) = names::name(self.id, number) {
            return name.to_owned();
        }
        if let Some(names) = names::bits(self.id) {
            return bits(number, names, " | ");
        }
        self.unnamed(number)
    }

    fn unnamed(self, number: u128) -> String {
        let low = u32::try_from(number & u128::from(u32::MAX)).unwrap_or_default();
        match self.id {
            id::IPV4_ADDR => Ipv4Addr::from(low).to_string(),
            id::IPV6_ADDR => ipv6(number),
            id::ETHER_ADDR | id::LL_ADDR => pairs(number, self.bytes()),
            id::MARK => format!("{number:#010x}"),
            id::ETHER_TYPE => format!("{number:#06x}"),
            id::DSCP => format!("{number:#04x}"),
            id::CLASSID => class(low),
            id::TIME => duration(u64::try_from(number).unwrap_or(u64::MAX)),
            id::HOUR => hour(low),
            // Seconds are read without regard to where the reader is.
            id::DATE if number.is_multiple_of(1_000_000_000) => number
                .checked_div(1_000_000_000)
                .unwrap_or_default()
                .to_string(),
            id::CT_LABEL if number.is_power_of_two() => number.trailing_zeros().to_string(),
            id::CT_LABEL | id::RAW => format!("{number:#x}"),
            // The kernel gives the loopback interface this number.
            id::IFACE_INDEX if number == 1 => "\"lo\"".to_owned(),
            _ => number.to_string(),
        }
    }
}

/// Names of the bits that are set; numbers for those that have none.
pub(super) fn bits(mut number: u128, names: &[(u32, &str)], between: &str) -> String {
    let mut parts: Vec<String> = Vec::new();
    for (bit, name) in names {
        if number & u128::from(*bit) != 0 {
            number &= !u128::from(*bit);
            parts.push((*name).to_owned());
        }
    }
    if number != 0 || parts.is_empty() {
        parts.push(format!("{number:#x}"));
    }
    parts.join(between)
}

/// A text in quotes, up to its NUL.
pub(super) fn text(bytes: &[u8]) -> String {
    let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    match text.strip_suffix('*') {
        // A star at the end of a name would be read as a wildcard.
        Some(rest) => format!("\"{rest}\\*\""),
        None => format!("\"{text}\""),
    }
}

/// Bytes of no type.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut all = "0x".to_owned();
    for byte in bytes {
        // Writing to a text cannot fail.
        write!(all, "{byte:02x}").unwrap_or_default();
    }
    all
}

/// Bytes of no type as one number.
pub(super) fn hex_number(bytes: &[u8]) -> String {
    let digits = hex(bytes);
    let digits = digits.trim_start_matches("0x").trim_start_matches('0');
    format!("0x{}", if digits.is_empty() { "0" } else { digits })
}

/// A duration as `nft` writes it: `1h2m3s4ms`.
pub(super) fn duration(milliseconds: u64) -> String {
    let units: [(u64, &str); 5] = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1000, "s"),
        (1, "ms"),
    ];
    let mut rest = milliseconds;
    let mut all = String::new();
    for (unit, name) in units {
        let count = rest.checked_div(unit).unwrap_or_default();
        rest = rest.checked_rem(unit).unwrap_or_default();
        if count > 0 {
            write!(all, "{count}{name}").unwrap_or_default();
        }
    }
    if all.is_empty() { "0s".to_owned() } else { all }
}

/// An address as the C library writes it: the end as IPv4 only where that is
/// a compatible or a mapped one.
fn ipv6(number: u128) -> String {
    let address = Ipv6Addr::from(number);
    let [.., a, b] = address.segments();
    let compatible = number >> 32 == 0 && a != 0;
    if compatible {
        let [high, low] = [a.to_be_bytes(), b.to_be_bytes()];
        let [first, second] = high;
        let [third, fourth] = low;
        return format!("::{}", Ipv4Addr::new(first, second, third, fourth));
    }
    address.to_string()
}

fn pairs(number: u128, bytes: u32) -> String {
    let all = number.to_be_bytes();
    let width = usize::try_from(bytes).unwrap_or_default();
    let start = all.len().saturating_sub(width);
    let pairs: Vec<String> = all
        .get(start..)
        .unwrap_or_default()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    pairs.join(":")
}

/// A traffic class: `major:minor` in hexadecimal.
fn class(number: u32) -> String {
    let (major, minor) = (number >> 16, number & 0xffff);
    match number {
        0 => "none".to_owned(),
        u32::MAX => "root".to_owned(),
        _ => format!("{major:x}:{minor:x}"),
    }
}

/// Seconds of the day, in UTC.
fn hour(seconds: u32) -> String {
    let (hours, rest) = (seconds / 3600, seconds % 3600);
    let (minutes, seconds) = (rest / 60, rest % 60);
    match seconds {
        0 => format!("\"{hours:02}:{minutes:02}\""),
        _ => format!("\"{hours:02}:{minutes:02}:{seconds:02}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_nft_writes_them() {
        assert_eq!(
            Kind::host(id::MARK, 32).value(&5_u32.to_ne_bytes()),
            "0x00000005"
        );
        assert_eq!(
            Kind::network(id::IPV4_ADDR, 32).value(&[10, 0, 0, 1]),
            "10.0.0.1"
        );
        assert_eq!(Kind::host(id::INET_PROTO, 8).value(&[17, 0, 0, 0]), "udp");
        assert_eq!(Kind::host(id::IFNAME, 128).value(b"tap0\0\0"), "\"tap0\"");
        assert_eq!(
            Kind::host(id::CT_STATE, 32).value(&6_u32.to_ne_bytes()),
            "established | related"
        );
        assert_eq!(Kind::host(id::CLASSID, 32).of_number(0x2_0009), "2:9");
        assert_eq!(duration(90_000), "1m30s");
        assert_eq!(
            Kind::network(id::IPV6_ADDR, 128).of_number(0x0102_0304),
            "::1.2.3.4"
        );
    }

    #[test]
    fn name_with_a_star_is_no_wildcard() {
        assert_eq!(text(b"a*\0"), "\"a\\*\"");
    }
}
