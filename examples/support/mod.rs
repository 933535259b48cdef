//! What the examples and the tests share: a stand-in for a microVM, plain
//! clients and servers, a node to try things on, and the printing of tables.
//!
//! Nothing here is part of the library, and nothing here waits for ever.
#![allow(
    dead_code,
    reason = "each example and each test uses its own part of this"
)]

pub(crate) mod client;
pub(crate) mod frame;
pub(crate) mod guest;
pub(crate) mod http;
pub(crate) mod inventory;
pub(crate) mod network;
pub(crate) mod program;
pub(crate) mod progress;
pub(crate) mod server;
pub(crate) mod table;
pub(crate) mod wire;
pub(crate) mod workload;
