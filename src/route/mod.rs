//! Links, addresses, routes, neighbours and routing rules: rtnetlink, as
//! described in `rtnetlink(7)` and `linux/rtnetlink.h`.
//!
//! [`Rtnl`] is the handle: it lists what there is as values, and applies
//! [`Changes`] to them in bursts. Values are checked when they are queued, and
//! what the kernel lists is equal to the value that was added.

mod address;
mod changes;
mod codec;
mod describe;
mod devconf;
mod fib;
mod link;
mod link_change;
mod neighbour;
mod new_link;
mod rtnl;
mod rule;
mod scope;
mod watch;

pub use address::Address;
pub use changes::Changes;
pub use devconf::{Ipv4Setting, Ipv4Settings, Ipv6Setting, ipv6_setting, set_ipv6_setting};
pub use fib::{Route, RouteFilter, RouteKind};
pub use link::{Link, LinkFlags};
pub use link_change::LinkChange;
pub use neighbour::{Neighbour, NeighbourState};
pub use new_link::{MacvtapMode, NewLink, Vxlan};
pub use rtnl::Rtnl;
pub use rule::RoutingRule;
pub use scope::Scope;
pub use watch::{Event, Watch};
