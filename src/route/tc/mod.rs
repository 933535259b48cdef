//! Traffic control: what happens to packets where they enter and leave an
//! interface. `tc(8)`, `linux/pkt_sched.h`, `linux/pkt_cls.h`.
//!
//! An ingress [`Qdisc`] makes the place where [`Filter`]s look at what an
//! interface takes in, before the host does; a clsact one also looks at what
//! it sends. A filter here matches every packet and hands it, or a copy, to
//! another interface.
//!
//! ```no_run
//! use tapwire::{IfIndex, route::Rtnl};
//! use tapwire::route::tc::{Action, Filter, Hook, Qdisc};
//! let (from, to) = (IfIndex::new(7)?, IfIndex::new(8)?);
//! Rtnl::open()?.apply(|changes| {
//!     changes.add_qdisc(&Qdisc::ingress(from));
//!     changes.add_filter(&Filter::new(from, Hook::Ingress, Action::Redirect(to)));
//! })?;
//! # Ok::<(), tapwire::Error>(())
//! ```

mod action;
mod filter;
mod header;
mod qdisc;

pub use action::Action;
pub(super) use filter::encode_list as encode_filter_list;
pub use filter::{Classifier, Filter, Hook};
pub use qdisc::Qdisc;
pub(super) use qdisc::encode_list as encode_qdisc_list;
