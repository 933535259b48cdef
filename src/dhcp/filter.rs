//! Which frames of a guest are looked at at all: classic BPF,
//! `linux/filter.h`. All others stay in the kernel, untouched.

use libc::sock_filter;

use super::frame::{
    DHCP_SERVER, DHCP6_SERVER, ETHERTYPE_IPV4, ETHERTYPE_IPV6, NEIGHBOUR_SOLICITATION,
    PROTOCOL_ICMPV6, PROTOCOL_UDP, ROUTER_SOLICITATION,
};
use crate::types::Mac;

/// What the guest with this MAC address asks of a server or a router.
pub(super) fn program(guest: Mac) -> [sock_filter; 24] {
    let [m0, m1, m2, m3, m4, m5] = guest.octets();
    [
        load(WORD, 6),
        jump(EQUAL, u32::from_be_bytes([m0, m1, m2, m3]), 0, 20),
        load(HALF, 10),
        jump(EQUAL, u16::from_be_bytes([m4, m5]).into(), 0, 18),
        load(HALF, 12),
        jump(EQUAL, ETHERTYPE_IPV4.into(), 0, 7),
        // IPv4, the first or only fragment of a datagram.
        load(BYTE, 23),
        jump(EQUAL, PROTOCOL_UDP.into(), 0, 14),
        load(HALF, 20),
        jump(ANY_BIT, 0x1fff, 12, 0),
        load(HEADER_LENGTH, 14),
        load(HALF_BEHIND_HEADER, 16),
        jump(EQUAL, DHCP_SERVER.into(), 10, 9),
        // Something else.
        jump(EQUAL, ETHERTYPE_IPV6.into(), 0, 8),
        load(BYTE, 20),
        jump(EQUAL, PROTOCOL_UDP.into(), 0, 2),
        load(HALF, 56),
        jump(EQUAL, DHCP6_SERVER.into(), 5, 4),
        jump(EQUAL, PROTOCOL_ICMPV6.into(), 0, 3),
        load(BYTE, 54),
        jump(EQUAL, ROUTER_SOLICITATION.into(), 2, 0),
        jump(EQUAL, NEIGHBOUR_SOLICITATION.into(), 1, 0),
        give(0),
        give(u32::MAX),
    ]
}

const fn load(code: u16, offset: u32) -> sock_filter {
    sock_filter {
        code,
        jt: 0,
        jf: 0,
        k: offset,
    }
}

/// Passes over so many instructions if it is so, and so many if not.
const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// So many bytes of the frame.
const fn give(bytes: u32) -> sock_filter {
    load(RETURN, bytes)
}

/// `BPF_LD` with a size and `BPF_ABS`.
const WORD: u16 = 0x20;
const HALF: u16 = 0x28;
const BYTE: u16 = 0x30;
/// `BPF_LD | BPF_H | BPF_IND`.
const HALF_BEHIND_HEADER: u16 = 0x48;
/// `BPF_LDX | BPF_B | BPF_MSH`: four times the lower half of a byte.
const HEADER_LENGTH: u16 = 0xb1;
/// `BPF_JMP | BPF_JEQ` and `BPF_JMP | BPF_JSET`.
const EQUAL: u16 = 0x15;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;
