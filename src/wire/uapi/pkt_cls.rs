//! `linux/pkt_cls.h`.

use super::uapi;

uapi! {
    "linux/pkt_cls.h";
    TCA_ACT_KIND: Text = 1;
    TCA_ACT_OPTIONS: Nest = 2;
    TCA_ACT_COOKIE: Bytes = 6;
    TCA_MATCHALL_ACT: Nest = 2;
    TCA_U32_SEL: Bytes = 5;
    TCA_U32_ACT: Nest = 7;
    const TC_ACT_PIPE: i32 = 3;
    const TC_ACT_STOLEN: i32 = 4;
    const TC_U32_TERMINAL: u8 = 1;
}
