//! What a pool is made from.

use std::collections::BTreeSet;

use crate::error::Invalid;
use crate::guest::{Guest, GuestName};
use crate::host::{Ownership, Settings};

/// What a [`Pool`](super::Pool) is made from: whose networks, what each is
/// like, and how many are kept ready.
///
/// ```
/// use tapwire::{Connection, Guest, Owner, PoolSettings, Settings, Snapshot};
/// let snapshot = Snapshot::new(
///     "tap0".parse()?,
///     "06:00:ac:10:00:02".parse()?,
///     "172.16.0.2/24".parse()?,
///     "172.16.0.1".parse()?,
/// )?;
/// let like = Guest::new("hello")?.connection(Connection::Rewritten(snapshot));
/// let settings = PoolSettings::new(Settings::new(Owner::new("riklet")?), like, 64)?;
/// # drop(settings);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSettings {
    pub(super) host: Settings,
    pub(super) like: Guest,
    pub(super) ready: usize,
    pub(super) kept: BTreeSet<u64>,
}

impl PoolSettings {
    /// Keeps `ready` networks ready, each as of a guest `like` this. That
    /// one's name is the pool's; its networks are those of guests by that
    /// name, a dot and a number: `hello.0`, `hello.1`. All guests of the
    /// owner by such a name are the pool's.
    ///
    /// # Errors
    /// [`Invalid`] if the name holds a dot or is longer than 42 bytes, if the
    /// guest is connected [elsewhere](crate::Connection::Elsewhere), if `ready`
    /// is none or more than there is room for in the guests' networks, or if
    /// the tables are not [`Ownership::Shared`]: the pool has a handle of its
    /// own.
    pub fn new(host: Settings, like: Guest, ready: u32) -> Result<Self, Invalid> {
        let name = like.name();
        let invalid = |why| Invalid::new("name of a pool", name, why);
        if name.as_str().contains(SEPARATOR) {
            return Err(invalid("holds a dot"));
        }
        if name.as_str().len() > NAME_MAX {
            return Err(invalid("is longer than 42 bytes"));
        }
        like.fixed_mac()?;
        if like.wanted_connection().elsewhere().is_some() {
            return Err(Invalid::new(
                "connection of a pool's guests",
                like.wanted_connection(),
                "is made elsewhere, for one guest",
            ));
        }
        let room = host.current_networks().guests();
        let invalid = |why| Err(Invalid::new("number of ready networks", ready, why));
        match usize::try_from(ready) {
            Ok(0) => invalid("is none"),
            Ok(_) if ready > room => invalid("is more than the guests' networks have room for"),
            Ok(_) if host.current_ownership() != Ownership::Shared => Err(Invalid::new(
                "ownership of the tables",
                format_args!("{:?}", host.current_ownership()),
                "leaves nothing to the pool, which has a handle of its own",
            )),
            Ok(ready) => Ok(Self {
                host,
                like,
                ready,
                kept: BTreeSet::new(),
            }),
            Err(_) => invalid("is more than there can be"),
        }
    }

    /// Leaves this network as it is, which an earlier process took from the
    /// pool and whose VM still runs. It counts as taken. All others are
    /// reclaimed when the pool starts.
    ///
    /// # Errors
    /// [`Invalid`] if the name is not of this pool.
    pub fn keep(mut self, name: &str) -> Result<Self, Invalid> {
        let number = number_of(self.like.name(), name);
        let why = "is not of the pool";
        let number = number.ok_or_else(|| Invalid::new("guest name", name, why))?;
        self.kept.insert(number);
        Ok(self)
    }
}

/// One network of the pool, by its number.
pub(super) fn member(like: &Guest, number: u64) -> Result<Guest, Invalid> {
    let name = format!("{}{SEPARATOR}{number}", like.name());
    Ok(like.clone().named(GuestName::new(&name)?))
}

/// The number of a guest of this name, if it is one of the pool's.
pub(crate) fn number_of(pool: &GuestName, name: &str) -> Option<u64> {
    let digits = name.strip_prefix(pool.as_str())?;
    let digits = digits.strip_prefix(SEPARATOR)?;
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}

const SEPARATOR: char = '.';

/// Behind it there is room for the dot and any number.
const NAME_MAX: usize = 42;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Networks, Owner};

    fn settings(name: &str, ready: u32) -> Result<PoolSettings, Invalid> {
        let networks = Networks::new("10.0.0.0/28".parse().unwrap(), "fd00::/64".parse().unwrap());
        let host = Settings::new(Owner::new("riklet").unwrap()).networks(networks.unwrap());
        PoolSettings::new(host, Guest::new(name).unwrap(), ready)
    }

    #[test]
    fn settings_that_cannot_be_met_are_refused() {
        assert!(settings(&"a".repeat(42), 4).is_ok());
        for (name, ready) in [(&*"a".repeat(43), 1), ("a.b", 1), ("pool", 0), ("pool", 5)] {
            assert!(settings(name, ready).is_err(), "{name} {ready}");
        }
        let host = Settings::new(Owner::new("riklet").unwrap());
        let owned = host.clone().ownership(Ownership::Owned);
        assert!(PoolSettings::new(owned, Guest::new("pool").unwrap(), 1).is_err());
        let eth0 = crate::IfName::constant("eth0");
        let place = crate::Elsewhere::new(eth0, ["10.0.0.9".parse().unwrap()]).unwrap();
        let away = Guest::new("pool").unwrap();
        let away = away.connection(crate::Connection::Elsewhere(place));
        let error = PoolSettings::new(host, away, 1).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("is made elsewhere, for one guest"),
            "{error}"
        );
    }

    #[test]
    fn only_names_that_the_pool_gives_are_its_own() {
        let like = Guest::new("pool").unwrap();
        let last = member(&like, u64::MAX).unwrap();
        assert_eq!(number_of(like.name(), last.name().as_str()), Some(u64::MAX));
        assert_eq!(number_of(like.name(), "pool.0"), Some(0));
        for foreign in [
            "pool", "pool.", "pool.07", "pool.+7", "pool2.7", "pool.7.7", "a.7",
        ] {
            assert_eq!(number_of(like.name(), foreign), None, "{foreign}");
            assert!(settings("pool", 1).unwrap().keep(foreign).is_err());
        }
    }
}
