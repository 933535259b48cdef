//! What the benches share: ours and its floor, measured in turn in one run.
//!
//! The floor of an operation is what the operation itself sends to the kernel,
//! recorded once and sent again, byte for byte, over a bare socket. It is sent
//! in a network namespace of its own, a twin of the one in which the host
//! works, so that neither disturbs the other. An iteration of the one is
//! followed by an iteration of the other: whatever else the machine does meets
//! both alike, and what is reported is the ratio.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each bench uses some of it"
)]

pub(crate) mod figures;
pub(crate) mod floor;

use std::error::Error;
use std::iter;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tapwire::sys::{NetNs, enter_user_namespace, has_net_admin};

pub(crate) type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// What a bench was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// `cargo test --benches`: only whether it works.
    Test,
    /// `-- --quick`: a table from few rounds, for the gate.
    Quick,
    /// Criterion's measurements and the table.
    Full,
}

impl Mode {
    pub(crate) fn asked() -> Self {
        let arguments: Vec<String> = std::env::args().collect();
        let given = |flag: &str| arguments.iter().any(|argument| argument == flag);
        let others = ["--test", "--list", "--profile-time"];
        if !given("--bench") || others.into_iter().any(given) {
            Self::Test
        } else if given("--quick") {
            Self::Quick
        } else {
            Self::Full
        }
    }

    /// How often something is measured that is measured `full` times when
    /// there is time.
    pub(crate) fn rounds(self, full: usize) -> usize {
        match self {
            Self::Test => 1,
            Self::Quick => full.div_ceil(5).max(LEAST),
            Self::Full => full,
        }
    }
}

/// Of fewer rounds a median says little.
const LEAST: usize = 3;

/// Makes sure of `CAP_NET_ADMIN`, by a user namespace if need be.
pub(crate) fn gain_rights() -> Result<()> {
    if !has_net_admin()? {
        enter_user_namespace()?;
    }
    Ok(())
}

/// Does `work` in `netns`, on the calling thread: an agent's, too, has lived for
/// long.
pub(crate) fn inside<T>(netns: &NetNs, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let enter =
        |netns: &NetNs| move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network));
    let home = NetNs::current()?;
    enter(netns)?;
    let done = work();
    enter(&home)?;
    done
}

/// How long `work` takes.
pub(crate) fn time<T, E: Into<Box<dyn Error>>>(
    work: impl FnOnce() -> std::result::Result<T, E>,
) -> Result<Duration> {
    let start = Instant::now();
    let done = work();
    let taken = start.elapsed();
    done.map_err(Into::into)?;
    Ok(taken)
}

/// An error with what lies below it.
pub(crate) fn words(error: &dyn Error) -> String {
    let levels = iter::successors(Some(error), |&error| error.source());
    let levels: Vec<String> = levels.map(ToString::to_string).collect();
    levels.join(": ")
}
