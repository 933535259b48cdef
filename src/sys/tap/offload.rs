//! What TAP and macvtap descriptors have in common: the header before each
//! frame, and what it may leave unfinished.

use std::fs::File;

use crate::error::Error;
use crate::sys::ioctl;
use crate::types::IfName;

bitflags::bitflags! {
    /// What the other end of a descriptor (a guest's driver) does itself:
    /// `TUN_F_*` of `linux/if_tun.h`. The host leaves that to it, in frames
    /// that say so in their vnet header.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Offload: u32 {
        /// `TUN_F_CSUM`: checksums. The others want this one too.
        const CHECKSUM = libc::TUN_F_CSUM;
        /// `TUN_F_TSO4`: it takes TCP over IPv4 in pieces larger than the MTU.
        const TSO4 = libc::TUN_F_TSO4;
        /// `TUN_F_TSO6`: it takes TCP over IPv6 in such pieces.
        const TSO6 = libc::TUN_F_TSO6;
        /// `TUN_F_TSO_ECN`: those of TCP may have ECN set.
        const TSO_ECN = libc::TUN_F_TSO_ECN;
        /// `TUN_F_UFO`: it takes UDP in such pieces.
        const UFO = libc::TUN_F_UFO;
        /// `TUN_F_USO4`: it takes several UDP datagrams over IPv4 in one piece
        /// (Linux 6.2).
        const USO4 = libc::TUN_F_USO4;
        /// `TUN_F_USO6`: it takes several UDP datagrams over IPv6 in one piece
        /// (Linux 6.2).
        const USO6 = libc::TUN_F_USO6;
    }
}

pub(in crate::sys) fn set_offloads(
    file: &File,
    name: IfName,
    offloads: Offload,
) -> Result<(), Error> {
    let call = ioctl::TUNSETOFFLOAD;
    call.run(file, offloads.bits())
        .map_err(|source| Error::system(call.name(), name, source))
}

pub(in crate::sys) fn vnet_header_length(file: &File, name: IfName) -> Result<u32, Error> {
    let call = ioctl::TUNGETVNETHDRSZ;
    let mut length = 0;
    call.run(file, &mut length)
        .map_err(|source| Error::system(call.name(), name, source))?;
    Ok(length)
}

pub(in crate::sys) fn set_vnet_header_length(
    file: &File,
    name: IfName,
    length: u32,
) -> Result<(), Error> {
    let call = ioctl::TUNSETVNETHDRSZ;
    call.run(file, &mut length.clone())
        .map_err(|source| Error::system(call.name(), name, source))
}
