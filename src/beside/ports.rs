//! Destination ports that are looked at together, as long as the rules of
//! others do not tell them apart.

use super::probe::Truth;

/// Ports beside each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ports {
    low: u16,
    high: u16,
}

impl Ports {
    pub(super) fn new(low: u16, high: u16) -> Self {
        Self { low, high }
    }

    /// The first of them.
    pub(super) fn first(self) -> u16 {
        self.low
    }

    /// Whether it takes long to look at each of them.
    pub(super) fn are_many(self) -> bool {
        self.high.saturating_sub(self.low) > FEW
    }

    /// Whether they lie between these.
    pub(super) fn within(self, low: u16, high: u16) -> Truth {
        if low <= self.low && self.high <= high {
            Truth::Yes
        } else if self.high < low || high < self.low {
            Truth::No
        } else {
            Truth::Partly
        }
    }

    /// The lower and the upper ones of several, divided where the first bit
    /// changes in which they differ; `None` of one.
    pub(super) fn halves(self) -> Option<[Self; 2]> {
        let bit = (self.low ^ self.high).checked_ilog2()?;
        let next = self.high.checked_shr(bit)?.checked_shl(bit)?;
        let middle = next.checked_sub(1)?;
        Some([Self::new(self.low, middle), Self::new(next, self.high)])
    }

    /// The two bytes that they have on the wire.
    pub(super) fn bytes(self) -> [Byte; 2] {
        let [low, last_low] = self.low.to_be_bytes();
        let [high, last_high] = self.high.to_be_bytes();
        let last = if low == high {
            Byte::between(last_low, last_high)
        } else {
            Byte::ANY
        };
        [Byte::between(low, high), last]
    }
}

/// So many are looked at one by one.
const FEW: u16 = 16;

/// A byte that is the same for all of a probe's ports, or lies between two for
/// them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Byte {
    low: u8,
    high: u8,
}

impl Byte {
    /// One that the ports decide, whatever it is.
    pub(super) const ANY: Self = Self::between(0, u8::MAX);

    const fn between(low: u8, high: u8) -> Self {
        Self { low, high }
    }

    pub(super) const fn of(byte: u8) -> Self {
        Self::between(byte, byte)
    }

    /// The byte if it is the same for all ports.
    pub(super) fn known(self) -> Option<u8> {
        (self.low == self.high).then_some(self.low)
    }

    pub(super) fn is(self, wanted: u8) -> Truth {
        match self.known() {
            Some(byte) => (byte == wanted).into(),
            None if (self.low..=self.high).contains(&wanted) => Truth::Partly,
            None => Truth::No,
        }
    }

    pub(super) fn masked(self, mask: u8, xor: u8) -> Self {
        match self.known() {
            Some(byte) => Self::of(byte & mask ^ xor),
            None => Self::ANY,
        }
    }

    pub(super) fn low(self) -> u8 {
        self.low
    }

    pub(super) fn high(self) -> u8 {
        self.high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_all_of_the_ports_and_end_at_one() {
        let mut ports = vec![Ports::new(1, u16::MAX)];
        let mut single = 1_u32;
        while let Some(some) = ports.pop() {
            let Some([low, high]) = some.halves() else {
                assert_eq!(u32::from(some.first()), single);
                single += 1;
                continue;
            };
            ports.extend([high, low]);
        }
        assert_eq!(single, 1 << 16);
    }

    #[test]
    fn bytes_hold_those_of_each_port() {
        for (low, high) in [(80, 80), (80, 90), (250, 300), (0, 65535), (511, 512)] {
            let bytes = Ports::new(low, high).bytes();
            for port in low..=high {
                for (byte, wanted) in bytes.iter().zip(port.to_be_bytes()) {
                    let is_one = byte.known().is_some();
                    let truth = if is_one { Truth::Yes } else { Truth::Partly };
                    assert_eq!(byte.is(wanted), truth, "{low}-{high}: {port}");
                }
            }
        }
        assert_eq!(Ports::new(80, 90).bytes()[1].is(91), Truth::No);
    }

    #[test]
    fn ports_lie_within_or_partly() {
        let ports = Ports::new(80, 90);
        assert_eq!(ports.within(80, 90), Truth::Yes);
        assert_eq!(ports.within(90, 100), Truth::Partly);
        assert_eq!(ports.within(91, 100), Truth::No);
        assert_eq!(ports.within(0, 79), Truth::No);
    }
}
