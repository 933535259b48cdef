//! `linux/netlink.h`.

use super::uapi;

uapi! {
    "linux/netlink.h";
    const NLMSG_NOOP: u16 = 1;
    const NLMSG_ERROR: u16 = 2;
    const NLMSG_DONE: u16 = 3;
    const NLMSG_OVERRUN: u16 = 4;
    const NLMSG_MIN_TYPE: u16 = 16;
    NLMSGERR_ATTR_MSG: Text = 1;
    NLMSGERR_ATTR_OFFS: U32 = 2;
    NLMSGERR_ATTR_MISS_TYPE: U32 = 5;
    NLMSGERR_ATTR_MISS_NEST: U32 = 6;
}
