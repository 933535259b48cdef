//! Expressions that tell others of the packet, or hand it to them.

use super::expression;
use crate::nft::carried::open;
use crate::nft::{Family, Name, Register};
use crate::wire::uapi::nf_tables_stmt::{
    NFT_LOGLEVEL_ALERT, NFT_LOGLEVEL_AUDIT, NFT_LOGLEVEL_CRIT, NFT_LOGLEVEL_DEBUG,
    NFT_LOGLEVEL_EMERG, NFT_LOGLEVEL_ERR, NFT_LOGLEVEL_INFO, NFT_LOGLEVEL_NOTICE,
    NFT_LOGLEVEL_WARNING, NFTA_DUP_SREG_ADDR, NFTA_DUP_SREG_DEV, NFTA_FLOW_TABLE_NAME,
    NFTA_FWD_NFPROTO, NFTA_FWD_SREG_ADDR, NFTA_FWD_SREG_DEV, NFTA_LOG_FLAGS, NFTA_LOG_GROUP,
    NFTA_LOG_LEVEL, NFTA_LOG_PREFIX, NFTA_LOG_QTHRESHOLD, NFTA_LOG_SNAPLEN, NFTA_QUEUE_FLAGS,
    NFTA_QUEUE_NUM, NFTA_QUEUE_SREG_QNUM, NFTA_QUEUE_TOTAL, NFTA_SYNPROXY_FLAGS, NFTA_SYNPROXY_MSS,
    NFTA_SYNPROXY_WSCALE, NFTA_TPROXY_FAMILY, NFTA_TPROXY_REG_ADDR, NFTA_TPROXY_REG_PORT,
};

expression! {
    /// Logs the packet: in the kernel's log, or to a listener if it has a
    /// group.
    Log = "log";
    need {}
    maybe {
        /// What is logged before it, up to 127 bytes.
        prefix / with_prefix: Box<str> = NFTA_LOG_PREFIX;
        /// The listener's group; excludes level and flags.
        group / with_group: u16 = NFTA_LOG_GROUP;
        /// Bytes of the packet that the listener gets.
        snaplen / with_snaplen: u32 = NFTA_LOG_SNAPLEN;
        /// How many packets the listener gets at once.
        queue_threshold / with_queue_threshold: u16 = NFTA_LOG_QTHRESHOLD;
        /// How grave it is; a warning if nothing is said.
        level / with_level: LogLevel = NFTA_LOG_LEVEL;
    }
    zero {
        /// What else is logged: `NF_LOG_*` of `linux/netfilter/nf_log.h`.
        flags / with_flags: u32 = NFTA_LOG_FLAGS;
    }
}

impl Log {
    /// With the level that the kernel takes for granted, and without what it
    /// does not list because it says nothing: to whom there is no listener,
    /// or to a listener.
    pub(super) fn canonical(mut self) -> Self {
        if self.group.is_some() {
            self.flags = 0;
            self.queue_threshold = self.queue_threshold.filter(|packets| *packets > 0);
        } else {
            self.level = self.level.or(Some(LogLevel::WARNING));
            self.queue_threshold = None;
            self.snaplen = None;
        }
        self
    }
}

expression! {
    /// Hands the packet to a program, which decides on it.
    Queue = "queue";
    need {}
    maybe {
        /// The first queue.
        number / with_number: u16 = NFTA_QUEUE_NUM;
        /// How many queues there are from the first on.
        total / with_total: u16 = NFTA_QUEUE_TOTAL;
        /// Where the queue's number lies, if it is not fixed.
        from / with_from: Register = NFTA_QUEUE_SREG_QNUM;
    }
    zero {
        /// `NFT_QUEUE_FLAG_*`.
        flags / with_flags: u16 = NFTA_QUEUE_FLAGS;
    }
}

expression! {
    /// Hands the packet to a socket of this host, its addresses unchanged.
    Tproxy = "tproxy";
    need {
        /// The family of the socket.
        family: Family = NFTA_TPROXY_FAMILY;
    }
    maybe {
        /// The address that the socket has.
        address / with_address: Register = NFTA_TPROXY_REG_ADDR;
        /// The port that the socket has.
        port / with_port: Register = NFTA_TPROXY_REG_PORT;
    }
    zero {}
}

expression! {
    /// Sends a copy of the packet elsewhere.
    Dup = "dup";
    need {}
    maybe {
        /// The address that it goes to.
        address / with_address: Register = NFTA_DUP_SREG_ADDR;
        /// The index of the interface that it leaves by.
        device / with_device: Register = NFTA_DUP_SREG_DEV;
    }
    zero {}
}

expression! {
    /// Sends the packet out by another device.
    Fwd = "fwd";
    need {
        /// The index of that device.
        device: Register = NFTA_FWD_SREG_DEV;
    }
    maybe {
        /// The address of the neighbour that it goes to.
        address / with_address: Register = NFTA_FWD_SREG_ADDR;
        /// The family of that address.
        family / with_family: Family = NFTA_FWD_NFPROTO;
    }
    zero {}
}

expression! {
    /// Lets the flow's further packets take the short way of a flowtable.
    FlowOffload = "flow_offload";
    need {
        /// The flowtable.
        flowtable: Name = NFTA_FLOW_TABLE_NAME;
    }
    maybe {}
    zero {}
}

expression! {
    /// Answers a SYN in the place of the server.
    Synproxy = "synproxy";
    need {}
    maybe {}
    zero {
        /// The largest segment that the client is told.
        mss / with_mss: u16 = NFTA_SYNPROXY_MSS;
        /// The scale of windows that the client is told.
        window_scale / with_window_scale: u8 = NFTA_SYNPROXY_WSCALE;
        /// `NF_SYNPROXY_OPT_*` of `linux/netfilter/nf_synproxy.h`.
        flags / with_flags: u32 = NFTA_SYNPROXY_FLAGS;
    }
}

open! {
    /// How grave something is (`enum nft_log_level`).
    LogLevel: u32 as Be32 {
        /// The system cannot be used.
        EMERGENCY = NFT_LOGLEVEL_EMERG, "emerg";
        /// To be acted upon at once.
        ALERT = NFT_LOGLEVEL_ALERT, "alert";
        /// Critical.
        CRITICAL = NFT_LOGLEVEL_CRIT, "crit";
        /// An error.
        ERROR = NFT_LOGLEVEL_ERR, "err";
        /// A warning.
        WARNING = NFT_LOGLEVEL_WARNING, "warn";
        /// Normal, but notable.
        NOTICE = NFT_LOGLEVEL_NOTICE, "notice";
        /// For information.
        INFO = NFT_LOGLEVEL_INFO, "info";
        /// For debugging.
        DEBUG = NFT_LOGLEVEL_DEBUG, "debug";
        /// For the audit system.
        AUDIT = NFT_LOGLEVEL_AUDIT, "audit";
    }
}
