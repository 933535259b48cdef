//! `linux/inet_diag.h`.

use super::uapi;

uapi! {
    "linux/inet_diag.h";
    INET_DIAG_SKV6ONLY: U8 = 11;
}
