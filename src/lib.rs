//! Wires microVMs to the host network by speaking to the kernel itself.

pub mod conn;
pub mod conntrack;
pub mod error;
pub mod exposure;
#[cfg(feature = "__fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod guest;
pub mod host;
pub mod nft;
mod owner;
pub mod route;
pub mod sys;
mod types;
pub mod wire;

pub use error::Error;
pub use exposure::{Exposure, Protocol};
pub use guest::{Attachment, Guest, GuestName, Networks};
pub use host::{Exposed, Flows, Host, Settings};
pub use owner::Owner;
pub use types::{IF_NAME_MAX, IfIndex, IfName, Mac};
