//! `linux/netfilter/nf_log.h`: what else is logged of a packet.

use super::uapi;

uapi! {
    "linux/netfilter/nf_log.h";
    const NF_LOG_TCPSEQ: u32 = 0x01;
    const NF_LOG_TCPOPT: u32 = 0x02;
    const NF_LOG_IPOPT: u32 = 0x04;
    const NF_LOG_UID: u32 = 0x08;
    const NF_LOG_MACDECODE: u32 = 0x20;
    const NF_LOG_PREFIXLEN: u32 = 128;
}
