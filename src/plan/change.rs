//! What a plan changes, and why.

use std::fmt;

use crate::exposure::Exposure;
use crate::guest::GuestName;
use crate::types::IfName;

/// A change that a [`Plan`](super::Plan) makes. Printed, it is one line with
/// its reason.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Change {
    /// The owner's tables are made anew, with what is in them.
    Tables(Repair),
    /// A guest is attached.
    Attach {
        /// Its name.
        guest: GuestName,
        /// Its TAP.
        tap: IfName,
    },
    /// What an attached guest lacks is made.
    Complete {
        /// Its name.
        guest: GuestName,
        /// Its TAP.
        tap: IfName,
        /// What it lacks.
        lacks: Vec<&'static str>,
    },
    /// A guest is detached.
    Detach {
        /// Its name.
        guest: GuestName,
        /// Its TAP.
        tap: IfName,
    },
    /// Ports are opened.
    Expose(Exposure),
    /// Ports that led elsewhere are led to a guest, without a moment in
    /// between.
    Move {
        /// What was in force.
        from: Exposure,
        /// What is going to be.
        to: Exposure,
    },
    /// Something is missing of an exposure that is in force, or not as it
    /// should be.
    Repair(Exposure),
    /// Ports are closed.
    Withdraw(Exposure),
    /// Guests are let through a chain of others that drops their packets.
    Shim {
        /// The chain, as `FAMILY TABLE NAME`.
        chain: Box<str>,
    },
    /// Something in the owner's tables belongs to no guest and no exposure,
    /// and goes.
    Remove {
        /// The set that holds it.
        set: Box<str>,
        /// It, in the words of `nft`.
        element: Box<str>,
    },
}

/// Why the owner's tables are made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Repair {
    /// One is missing, or both.
    Missing,
    /// An older version of this crate made them.
    Older,
    /// Someone changed or deleted chains, rules or sets.
    Altered,
    /// They are not owned as wanted.
    Owned,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tables(Repair::Missing) => f.write_str("+ tables (missing)"),
            Self::Tables(Repair::Older) => f.write_str("~ tables (made by an older version)"),
            Self::Tables(Repair::Altered) => f.write_str("~ tables (changed by someone)"),
            Self::Tables(Repair::Owned) => f.write_str("~ tables (not owned as wanted)"),
            Self::Attach { guest, tap } => write!(f, "+ guest {guest} on {tap} (not attached)"),
            Self::Complete { guest, tap, lacks } => {
                write!(f, "~ guest {guest} on {tap} (lacks ")?;
                for (place, what) in lacks.iter().enumerate() {
                    let comma = if place == 0 { "" } else { ", " };
                    write!(f, "{comma}{what}")?;
                }
                f.write_str(")")
            }
            Self::Detach { guest, tap } => write!(f, "- guest {guest} on {tap} (not wanted)"),
            Self::Expose(exposure) => write!(f, "+ {exposure} (not exposed)"),
            Self::Move { from, to } => write!(f, "~ {from} to {to} (leads elsewhere)"),
            Self::Repair(exposure) => write!(f, "~ {exposure} (not in force as a whole)"),
            Self::Withdraw(exposure) => write!(f, "- {exposure} (not wanted)"),
            Self::Shim { chain } => write!(f, "+ shim in {chain} (drops what is forwarded)"),
            Self::Remove { set, element } => {
                write!(f, "- element {element} of {set} (belongs to nothing)")
            }
        }
    }
}
