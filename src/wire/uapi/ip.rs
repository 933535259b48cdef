//! `linux/ip.h`.

use super::uapi;

uapi! {
    "linux/ip.h";
    IPV4_DEVCONF_FORWARDING: U32 = 1;
    IPV4_DEVCONF_PROXY_ARP: U32 = 3;
    IPV4_DEVCONF_RP_FILTER: U32 = 8;
    IPV4_DEVCONF_ARP_IGNORE: U32 = 19;
    IPV4_DEVCONF_ROUTE_LOCALNET: U32 = 26;
}
