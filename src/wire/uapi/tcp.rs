//! `netinet/tcp.h`: the states of sockets, UDP ones included.

use super::uapi;

uapi! {
    "netinet/tcp.h";
    const TCP_CLOSE: u32 = 7;
    const TCP_LISTEN: u32 = 10;
}
