//! How much a guest may send or be sent.

use std::fmt;

use crate::error::Invalid;

/// A limit on how much passes: bytes per second, and how many more at once.
///
/// The kernel keeps a bucket that holds one second's worth and the burst,
/// full at first, and drops what exceeds it (`nft_limit.c`). IP packets are
/// counted with their headers, large ones that are yet to be cut (GSO) as
/// one: of 64 KiB at most, so the burst is that at first.
///
/// ```
/// use tapwire::Rate;
/// let rate = Rate::new(12_500_000)?.burst(1 << 20);
/// assert_eq!(rate.to_string(), "12500000 bytes/second burst 1048576 bytes");
/// # Ok::<(), tapwire::error::Invalid>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    bytes: u64,
    burst: u32,
}

impl Rate {
    /// So many bytes per second.
    ///
    /// # Errors
    /// [`Invalid`] if it is 0 or above 10 000 000 000, which the kernel's
    /// arithmetic is not made for.
    pub fn new(bytes_per_second: u64) -> Result<Self, Invalid> {
        let invalid = |why| Err(Invalid::new("rate", bytes_per_second, why));
        match bytes_per_second {
            0 => invalid("lets nothing pass"),
            1..=RATE_MAX => Ok(Self {
                bytes: bytes_per_second,
                burst: LARGEST_PACKET,
            }),
            _ => invalid("is above 10000000000 bytes per second"),
        }
    }

    /// So many bytes more at once.
    #[must_use]
    pub fn burst(self, bytes: u32) -> Self {
        Self {
            burst: bytes,
            ..self
        }
    }

    /// The bytes per second.
    pub fn bytes_per_second(&self) -> u64 {
        self.bytes
    }

    /// How many bytes may pass at once besides one second's worth.
    pub fn current_burst(&self) -> u32 {
        self.burst
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, burst } = self;
        write!(f, "{bytes} bytes/second burst {burst} bytes")
    }
}

/// The kernel computes nanoseconds times bytes in 64 bits.
const RATE_MAX: u64 = 10_000_000_000;

const LARGEST_PACKET: u32 = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_that_the_kernel_would_misread_are_refused() {
        assert!(Rate::new(0).is_err());
        assert!(Rate::new(RATE_MAX + 1).is_err());
        let largest = Rate::new(RATE_MAX).unwrap().burst(u32::MAX);
        let bucket = largest.bytes_per_second() + u64::from(largest.current_burst());
        assert!(bucket.checked_mul(1_000_000_000).is_some());
    }
}
