//! Whose tables they are in the kernel's eyes.

use std::fs;
use std::path::Path;

use super::Host;
use crate::error::{Conflict, Error};
use crate::nft::{Table, TableFlags};

/// How the owner's tables are kept from others, and what becomes of them when
/// the handle goes.
///
/// A table that is owned can be changed by its handle only; `nft flush
/// ruleset` passes it over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Ownership {
    /// The tables stay, and several handles work on them, also in several
    /// processes. Whoever may, may change them.
    #[default]
    Shared,
    /// The tables belong to this handle and go with it, and with its process
    /// (`NFT_TABLE_F_OWNER`, Linux 5.12). The guests' TAPs stay.
    Owned,
    /// The tables belong to this handle. They stay when it goes, and the next
    /// one that is opened like this takes them over
    /// (`NFT_TABLE_F_PERSIST`, Linux 6.9). Meanwhile anyone may change them.
    OwnedPersistent,
}

impl Ownership {
    pub(super) fn flags(self) -> TableFlags {
        match self {
            Self::Shared => TableFlags::empty(),
            Self::Owned => TableFlags::OWNER,
            Self::OwnedPersistent => TableFlags::OWNER | TableFlags::PERSIST,
        }
    }

    /// What a kernel lacks that refuses the flags.
    pub(super) fn feature(self) -> &'static str {
        match self {
            Self::OwnedPersistent => "owned tables that persist (NFT_TABLE_F_PERSIST, Linux 6.9)",
            _ => "owned tables (NFT_TABLE_F_OWNER, Linux 5.12)",
        }
    }
}

/// How a table that is there is owned, in view of what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    AsWanted,
    /// Left behind by another handle, and free to be taken over.
    Orphan,
    /// Not owned in a way that can be changed: it has to be made anew.
    Unlike,
}

impl Host {
    /// How one of the owner's tables is owned; [`Error::Conflict`] if another
    /// handle owns it.
    pub(super) fn standing(&mut self, table: &Table) -> Result<Standing, Error> {
        let own = self.nft.connection_mut().socket_mut().port()?;
        let flags = table.current_flags();
        match (table.owner(), self.ownership) {
            (Some(port), _) if port != own => Err(self.owned_by_other(table, port).into()),
            (None, Ownership::Shared) => Ok(Standing::AsWanted),
            (Some(_), wanted) if flags == wanted.flags() => Ok(Standing::AsWanted),
            (None, Ownership::OwnedPersistent) if flags.contains(TableFlags::PERSIST) => {
                Ok(Standing::Orphan)
            }
            _ => Ok(Standing::Unlike),
        }
    }

    /// Takes orphaned tables over. `false` if another was faster.
    pub(super) fn adopt(&mut self, generation: u32) -> Result<bool, Error> {
        self.batch.clear();
        self.batch.based_on(generation);
        for table in self.layout.tables() {
            self.batch.add(table);
        }
        match self.nft.commit(&mut self.batch) {
            Err(Error::Stale { .. }) => Ok(false),
            Err(error) if error.is_permission_denied() => Ok(false),
            result => result.map(|()| true),
        }
    }

    /// An error that says who owns the tables, if that is why the kernel
    /// refused something.
    pub(super) fn explained<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        let error = match result {
            Err(error) if error.is_permission_denied() => error,
            result => return result,
        };
        let Ok(tables) = self.nft.tables() else {
            return Err(error);
        };
        for table in &tables {
            let is_it = |own: &Table| own.family() == table.family() && own.name() == table.name();
            if self.layout.tables().into_iter().any(is_it) {
                self.standing(table)?;
            }
        }
        Err(error)
    }

    fn owned_by_other(&self, table: &Table, port: u32) -> Conflict {
        let wanted = format!("the tables of owner {}", self.owner);
        let (family, name) = (table.family(), table.name());
        // Where the process cannot be found, its port has to do.
        let process = self.inside(|| Ok(process_of(port))).ok().flatten();
        let holder = match process {
            Some((pid, program)) => format!("process {pid} ({program})"),
            None => "another process".to_owned(),
        };
        let holder = format!("{holder}, which owns table {family} {name} by netlink port {port}");
        Conflict::new(wanted, holder)
    }
}

/// The process that has the netfilter socket of this port in the calling
/// thread's network namespace, and the name of its program.
fn process_of(port: u32) -> Option<(u32, String)> {
    let sockets = fs::read_to_string("/proc/thread-self/net/netlink").ok()?;
    let inode = sockets.lines().find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [_, protocol, owner, .., inode] = columns.as_slice() else {
            return None;
        };
        let is_it = *protocol == NETLINK_NETFILTER && owner.parse() == Ok(port);
        is_it.then(|| format!("socket:[{inode}]"))
    })?;
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        let is_it = |path: &Path| fs::read_link(path).is_ok_and(|it| it.as_os_str() == &*inode);
        if descriptors.flatten().any(|one| is_it(&one.path())) {
            let program = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some((pid, program.trim_end().to_owned()));
        }
    }
    None
}

/// As `/proc/net/netlink` writes it.
const NETLINK_NETFILTER: &str = "12";
