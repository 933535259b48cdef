//! Links, addresses, routes, neighbours and routing rules: rtnetlink, as
//! described in `rtnetlink(7)` and `linux/rtnetlink.h`.
//!
//! [`Rtnl`] is the handle: it lists what there is as values, and applies
//! [`Changes`] to them in bursts. Values are checked when they are queued, and
//! what the kernel lists is equal to the value that was added.

mod address;
mod bridge;
mod changes;
mod codec;
pub(crate) mod describe;
mod devconf;
mod fib;
mod fib_filter;
mod kinds;
mod link;
mod link_change;
mod neighbour;
mod new_link;
mod rtnl;
mod rule;
mod stats;
pub mod tc;
#[cfg(test)]
mod tests;
mod vf;
mod watch;

pub use address::Address;
pub use bridge::{BridgeOptions, BridgePort, FdbEntry, PortOptions, PortVlan};
pub use changes::Changes;
pub(crate) use devconf::set_ipv6_setting_by;
pub use devconf::{Ipv4Setting, Ipv6Setting, ipv6_setting, set_ipv6_setting};
pub use fib::Route;
pub use fib_filter::RouteFilter;
pub use kinds::{RouteKind, Scope};
pub use link::{Link, LinkFlags};
pub use link_change::LinkChange;
pub use neighbour::{Neighbour, NeighbourState};
pub use new_link::{MacvtapMode, NewLink, Vxlan};
pub use rtnl::Rtnl;
pub use rule::RoutingRule;
pub use stats::LinkStats;
pub use vf::{VfLinkState, VfRate, VfVlan, VirtualFunction};
pub use watch::{Event, Watch};
