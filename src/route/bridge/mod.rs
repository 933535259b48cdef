//! Bridges: their options, those of their ports, the VLANs that each port
//! carries, and which address is behind which port. `bridge(8)`,
//! `linux/if_bridge.h`.

mod fdb;
mod options;
mod port;
mod vlan;

pub use fdb::FdbEntry;
pub(super) use fdb::encode_list as encode_fdb_list;
pub use options::BridgeOptions;
pub use port::{BridgePort, PortOptions};
pub use vlan::PortVlan;
pub(super) use vlan::encode_list as encode_vlan_list;
pub(super) use vlan::{decode as decode_vlans, encode as encode_vlans};
