//! Extensions of `xtables` inside of rules, as `iptables-nft` writes them.
//!
//! What they hold is the business of `iptables`; here it is bytes.

use super::expression;
use crate::wire::uapi::nf_tables_compat::{
    NFTA_MATCH_INFO, NFTA_MATCH_NAME, NFTA_MATCH_REV, NFTA_TARGET_INFO, NFTA_TARGET_NAME,
    NFTA_TARGET_REV,
};

expression! {
    /// A condition of `xtables`.
    ///
    /// The kernel does not list for which protocol it was made
    /// (`NFTA_RULE_COMPAT`), so that some cannot be written as they were read
    /// (`EINVAL`).
    XtMatch = "match";
    need {
        /// Its name: `comment`.
        extension: Box<str> = NFTA_MATCH_NAME;
        /// Its revision.
        revision: u32 = NFTA_MATCH_REV;
        /// What it holds.
        info: Box<[u8]> = NFTA_MATCH_INFO;
    }
    maybe {}
    zero {}
}

expression! {
    /// A target of `xtables`; see [`XtMatch`].
    XtTarget = "target";
    need {
        /// Its name: `LOG`.
        extension: Box<str> = NFTA_TARGET_NAME;
        /// Its revision.
        revision: u32 = NFTA_TARGET_REV;
        /// What it holds.
        info: Box<[u8]> = NFTA_TARGET_INFO;
    }
    maybe {}
    zero {}
}
