//! `nf_tables`: tables, chains, rules, sets and their elements, as values;
//! batches that change them as a whole.
//!
//! Values know how they are written and read; the verbs belong to
//! [`Batch`].

mod batch;
mod build;
mod carried;
mod chain;
mod comment;
mod data;
mod data_type;
mod device;
mod element;
pub mod expr;
mod family;
mod field;
mod flowtable;
mod handle;
mod header;
mod message;
mod name;
mod object;
mod print;
mod record;
mod register;
mod rule;
mod ruleset;
mod set;
mod snapshot;
mod spelling;
mod table;
mod trace;
mod tracking;
mod userdata;
mod verdict;
mod watch;

pub use batch::{Batch, Object};
pub use chain::{Chain, ChainType, Hook, Policy, priority};
pub use comment::{COMMENT_MAX, Comment};
pub use data::{Data, Icmpv6Type, L4Proto, Mark, Port, Value};
pub use data_type::{DataType, KeyType, Order};
pub use element::{Counts, Element};
pub use expr::Expr;
pub use family::Family;
pub use field::{
    Field, Match, arp, ct, ether, fib, icmp, icmpv6, ip, ip6, meta, numgen, tcp, th, udp,
};
pub use flowtable::{Flowtable, FlowtableFlags};
pub use handle::Nft;
pub use message::{Content, Elements, Message};
pub use name::{NAME_MAX, Name};
pub use object::{
    CtExpectation, CtHelper, CtTimeout, NamedObject, ObjectState, ObjectType, Secmark, Timeouts,
    TunnelInfo, TunnelIp4, TunnelIp6, TunnelOption, TunnelOptions,
};
pub use print::Stateless;
pub(crate) use print::element_text;
pub use register::Register;
pub use rule::Rule;
pub use ruleset::Ruleset;
pub use set::{Set, SetFlags, SetPolicy};
pub use snapshot::Snapshot;
pub use table::{Table, TableFlags};
pub use trace::{Trace, TraceType, TracedConnection};
pub use verdict::Verdict;
pub use watch::{Commit, Event, Watch};
