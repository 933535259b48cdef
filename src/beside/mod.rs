//! Life beside other firewalls: what they do to guests and exposures, and the
//! one thing that is done about it on request.
//!
//! [`Host::conflicts`](crate::Host::conflicts) looks and changes nothing. It
//! follows a few packets through the chains and rules of others, as far as
//! these can be known: a connection to an exposed port, its answer, one that a
//! guest opens. Sets of others are asked for single keys; they are listed only
//! where many ports are wanted at once.
//!
//! | what is found | [`Conflict`](crate::Conflict) | breaks | remedy |
//! |---|---|---|---|
//! | a policy or rule at hook `forward` drops (Docker, ufw, firewalld; legacy iptables too) | `ForwardDrop` | exposures, or what guests open | the shim; for legacy tables two rules by hand |
//! | `dnat`, `redirect`, `tproxy` of a wanted port, earlier | `Translated`, `Winner::Foreign` | the exposure | another port, or delete the rule |
//! | the same, later | `Translated`, `Winner::Exposure` | what the others expose | the same |
//! | a process listens on a wanted port | `Listening` | the process | stop it, or leave it an address of its own |
//! | `rp_filter` is 1 where the outside comes in, the way back leads elsewhere | `StrictReversePath` | exposures, from far | `rp_filter` 2 |
//! | an interface does not forward | `NotForwarding` | guests | open the host again |
//! | nine of ten tracked connections are taken | `ConntrackNearLimit` | new connections | raise `nf_conntrack_max` |
//! | `bridge-nf-call-iptables` is 1 and a bridge has ports | `BridgeNetfilter` | frames between ports | switch it off |
//! | a mesh redirects the TCP connections of the namespace (Istio, Linkerd) | `PastMesh` | the mesh: it does not see the guest's | `masqueraded`, told of the mesh |
//! | a mesh hands what comes from the guest to a process (`tproxy`) | `Intercepted` | what the guest opens | a mesh that redirects |
//! | a port of the mesh itself is wanted | `Reserved` | the port | another port |
//! | a table of legacy iptables cannot be read | `LegacyUnreadable` | unknown | look at it |
//!
//! # Why an accept of ours cannot help
//!
//! Every base chain of a hook sees every packet, and a drop in one is final:
//! an accept only ends its own chain. So when Docker sets the policy of
//! `FORWARD` to drop, it drops what is for guests, whatever the owner's table
//! says.
//!
//! # The shim
//!
//! [`Host::add_shim`](crate::Host::add_shim) inserts two rules at the head of
//! each such chain, or of `DOCKER-USER` where Docker's chain leads to it:
//!
//! ```text
//! oifname "riklet-*" counter accept comment "shim of riklet"
//! iifname "riklet-*" counter accept comment "shim of riklet"
//! ```
//!
//! They are in the form of `iptables-nft`, which lists them as `-o riklet-+`
//! and `-i riklet-+`. They are static: no guest and no exposure adds to them.
//!
//! They are no hole. What they let pass in the foreign chain still meets the
//! owner's own `forward` chain, which drops whatever is neither exposed nor an
//! answer on its way to a guest, and what a guest may not send. They only end
//! the foreign chain's say about interfaces that are none of its business.
//! That holds as long as the owner's table is there:
//! [`Host::remove`](crate::Host::remove) takes the shim back first, and who
//! deletes the table by hand has to delete these rules too.
//!
//! A program that reloads its rules takes the shim with them: firewalld with
//! its table, `iptables-restore` with the chain. The owner's own tables are
//! not touched by that. [`Wanted::shim`](crate::Wanted::shim) has plans, and a
//! [`Watch`](crate::Watch), put it back.
//! Tables that a running program owns (`flags owner`, firewalld 2.1 and later)
//! cannot be changed by others: there the program has to be told.

mod expressions;
mod foreign;
mod legacy;
mod mesh;
mod ports;
mod probe;
mod registers;
mod shim;
mod spans;
mod survey;
mod walk;
mod wanted;
mod window;
mod xt;

pub(crate) use foreign::Foreign;
pub(crate) use legacy::Legacy;
pub(crate) use mesh::{intercepting, meshes};
pub(crate) use shim::{is_shim, shim};
pub(crate) use survey::{Around, shim_places, survey};
pub(crate) use wanted::Wanted;
