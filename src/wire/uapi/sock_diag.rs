//! `linux/sock_diag.h`.

use super::uapi;

uapi! {
    "linux/sock_diag.h";
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
}
