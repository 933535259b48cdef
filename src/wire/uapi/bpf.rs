//! `linux/bpf.h`: the states of sockets, UDP ones included, as the kernel
//! promises to keep them.

use super::uapi;

uapi! {
    "linux/bpf.h";
    const BPF_TCP_CLOSE: u32 = 7;
    const BPF_TCP_LISTEN: u32 = 10;
}
