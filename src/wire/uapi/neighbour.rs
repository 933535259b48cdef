//! `linux/neighbour.h`.

use super::uapi;

uapi! {
    "linux/neighbour.h";
    NDA_DST: Bytes = 1;
    NDA_LLADDR: Bytes = 2;
    NDA_VLAN: U16 = 5;
    const NTF_SELF: u8 = 0x02;
    const NTF_MASTER: u8 = 0x04;
    const NTF_STICKY: u8 = 0x40;
    const NUD_INCOMPLETE: u16 = 0x01;
    const NUD_REACHABLE: u16 = 0x02;
    const NUD_STALE: u16 = 0x04;
    const NUD_DELAY: u16 = 0x08;
    const NUD_PROBE: u16 = 0x10;
    const NUD_FAILED: u16 = 0x20;
    const NUD_NOARP: u16 = 0x40;
    const NUD_PERMANENT: u16 = 0x80;
}
