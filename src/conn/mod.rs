//! Sockets meet messages: requests, dumps, batches.
//!
//! [`Exchange`] is the logic as a pure state machine that eats datagrams, for
//! any event loop; [`Connection`] drives it over a blocking socket.

mod connection;
mod events;
mod exchange;
mod requests;

pub use connection::Connection;
pub(crate) use events::{Events, Report};
pub use exchange::{Exchange, Progress};
pub use requests::Requests;
