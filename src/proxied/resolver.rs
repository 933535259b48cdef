//! Who answers the guest's questions for names.

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};

use crate::error::Error;

/// Resolvers, of which one is asked at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resolvers {
    addresses: Vec<SocketAddr>,
    present: usize,
}

impl Resolvers {
    pub(super) fn new(addresses: Vec<SocketAddr>) -> Self {
        let present = 0;
        Self { addresses, present }
    }

    /// Those of `/etc/resolv.conf`; none if there is no such file.
    pub(super) fn of_system() -> Result<Self, Error> {
        match fs::read_to_string(FILE) {
            Ok(text) => Ok(Self::new(read(&text))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::new(Vec::new())),
            Err(source) => Err(Error::system("read", FILE, source)),
        }
    }

    /// The one that is asked now.
    pub(super) fn present(&self) -> Option<SocketAddr> {
        self.addresses.get(self.present).copied()
    }

    /// Asks the next one from now on, if `silent` is the one that is asked.
    pub(super) fn pass_over(&mut self, silent: SocketAddr) {
        if self.present() == Some(silent) {
            let next = self.present.saturating_add(1);
            self.present = next.checked_rem(self.addresses.len()).unwrap_or_default();
        }
    }
}

/// The lines `nameserver ADDRESS` (resolv.conf(5)). An address with a zone is
/// of one link only and is passed over.
fn read(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        let keyword = words.next()?;
        let address: IpAddr = words.next()?.parse().ok()?;
        (keyword == "nameserver").then(|| SocketAddr::new(address, PORT))
    };
    text.lines().filter_map(address).collect()
}

const FILE: &str = "/etc/resolv.conf";
const PORT: u16 = 53;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_read_as_resolv_conf_has_it() {
        let text = "# nameserver 192.0.2.1\nsearch lan\nnameserver 192.0.2.2\n\
                    nameserver\t2001:db8::3 # this one\nnameserver fe80::1%eth0\nnameserver x\n";
        let expected: [SocketAddr; 2] =
            ["192.0.2.2:53", "[2001:db8::3]:53"].map(|at| at.parse().unwrap());
        assert_eq!(read(text), expected);
    }

    #[test]
    fn silent_one_is_passed_over_once() {
        let [one, two]: [SocketAddr; 2] =
            ["192.0.2.1:53", "192.0.2.2:53"].map(|at| at.parse().unwrap());
        let mut resolvers = Resolvers::new(vec![one, two]);
        assert_eq!(resolvers.present(), Some(one));
        resolvers.pass_over(one);
        resolvers.pass_over(one);
        assert_eq!(resolvers.present(), Some(two));
        resolvers.pass_over(two);
        assert_eq!(resolvers.present(), Some(one));
        let mut none = Resolvers::new(Vec::new());
        none.pass_over(one);
        assert_eq!(none.present(), None);
    }
}
