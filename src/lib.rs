//! Wires microVMs to the host network by speaking to the kernel itself.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod conn;
pub mod conntrack;
pub mod error;
pub mod sys;
mod types;
pub mod wire;

pub use error::Error;
pub use types::{IF_NAME_MAX, IfIndex, IfName, Mac};
