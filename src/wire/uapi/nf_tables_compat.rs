//! `linux/netfilter/nf_tables_compat.h`: the extensions of `xtables`.

use super::uapi;

uapi! {
    "linux/netfilter/nf_tables_compat.h";
    NFTA_TARGET_NAME: Text = 1;
    NFTA_TARGET_REV: Be32 = 2;
    NFTA_TARGET_INFO: Bytes = 3;
    NFTA_MATCH_NAME: Text = 1;
    NFTA_MATCH_REV: Be32 = 2;
    NFTA_MATCH_INFO: Bytes = 3;
}
