//! Expressions that load something into a register.

use super::expression;
use crate::nft::carried::open;
use crate::nft::{Name, Register};
use crate::wire::uapi::nf_tables_expr::{
    NFT_CT_AVGPKT, NFT_CT_BYTES, NFT_CT_DIRECTION, NFT_CT_DST, NFT_CT_DST_IP, NFT_CT_DST_IP6,
    NFT_CT_EVENTMASK, NFT_CT_EXPIRATION, NFT_CT_HELPER, NFT_CT_ID, NFT_CT_L3PROTOCOL,
    NFT_CT_LABELS, NFT_CT_MARK, NFT_CT_PKTS, NFT_CT_PROTO_DST, NFT_CT_PROTO_SRC, NFT_CT_PROTOCOL,
    NFT_CT_SECMARK, NFT_CT_SRC, NFT_CT_SRC_IP, NFT_CT_SRC_IP6, NFT_CT_STATE, NFT_CT_STATUS,
    NFT_CT_ZONE, NFT_FIB_RESULT_ADDRTYPE, NFT_FIB_RESULT_OIF, NFT_FIB_RESULT_OIFNAME,
    NFT_HASH_JENKINS, NFT_HASH_SYM, NFT_META_BRI_BROUTE, NFT_META_BRI_IIFHWADDR,
    NFT_META_BRI_IIFNAME, NFT_META_BRI_IIFPVID, NFT_META_BRI_IIFVPROTO, NFT_META_BRI_OIFNAME,
    NFT_META_CGROUP, NFT_META_CPU, NFT_META_IFTYPE, NFT_META_IIF, NFT_META_IIFGROUP,
    NFT_META_IIFKIND, NFT_META_IIFNAME, NFT_META_L4PROTO, NFT_META_LEN, NFT_META_MARK,
    NFT_META_NFPROTO, NFT_META_NFTRACE, NFT_META_OIF, NFT_META_OIFGROUP, NFT_META_OIFKIND,
    NFT_META_OIFNAME, NFT_META_OIFTYPE, NFT_META_PKTTYPE, NFT_META_PRANDOM, NFT_META_PRIORITY,
    NFT_META_PROTOCOL, NFT_META_RTCLASSID, NFT_META_SDIF, NFT_META_SDIFNAME, NFT_META_SECMARK,
    NFT_META_SECPATH, NFT_META_SKGID, NFT_META_SKUID, NFT_META_TIME_DAY, NFT_META_TIME_HOUR,
    NFT_META_TIME_NS, NFT_NG_INCREMENTAL, NFT_NG_RANDOM, NFT_PAYLOAD_INNER_HEADER,
    NFT_PAYLOAD_LL_HEADER, NFT_PAYLOAD_NETWORK_HEADER, NFT_PAYLOAD_TRANSPORT_HEADER,
    NFT_PAYLOAD_TUN_HEADER, NFTA_CT_DIRECTION, NFTA_CT_DREG, NFTA_CT_KEY, NFTA_FIB_DREG,
    NFTA_FIB_FLAGS, NFTA_FIB_RESULT, NFTA_HASH_DREG, NFTA_HASH_LEN, NFTA_HASH_MODULUS,
    NFTA_HASH_OFFSET, NFTA_HASH_SEED, NFTA_HASH_SET_NAME, NFTA_HASH_SREG, NFTA_HASH_TYPE,
    NFTA_META_DREG, NFTA_META_KEY, NFTA_NG_DREG, NFTA_NG_MODULUS, NFTA_NG_OFFSET, NFTA_NG_TYPE,
    NFTA_PAYLOAD_BASE, NFTA_PAYLOAD_DREG, NFTA_PAYLOAD_LEN, NFTA_PAYLOAD_OFFSET,
};

expression! {
    /// Loads a part of the packet into a register.
    Payload = "payload";
    need {
        /// Where it goes.
        to: Register = NFTA_PAYLOAD_DREG;
        /// The header that the offset counts from.
        base: PayloadBase = NFTA_PAYLOAD_BASE;
        /// First byte.
        offset: u32 = NFTA_PAYLOAD_OFFSET;
        /// Bytes.
        length: u32 = NFTA_PAYLOAD_LEN;
    }
    maybe {}
    zero {}
}

expression! {
    /// Loads what is known about the packet besides its bytes.
    Meta = "meta";
    need {
        /// Where it goes.
        to: Register = NFTA_META_DREG;
        /// What.
        key: MetaKey = NFTA_META_KEY;
    }
    maybe {}
    zero {}
}

expression! {
    /// Loads what is known about the packet's connection.
    Ct = "ct";
    need {
        /// Where it goes.
        to: Register = NFTA_CT_DREG;
        /// What.
        key: CtKey = NFTA_CT_KEY;
    }
    maybe {
        /// Of which direction: 0 original, 1 reply.
        direction / with_direction: u8 = NFTA_CT_DIRECTION;
    }
    zero {}
}

impl Ct {
    /// Without the direction of what is the same in both, which is not
    /// listed.
    pub(super) fn canonical(mut self) -> Self {
        let is_same = [CtKey::L3PROTOCOL, CtKey::PROTOCOL].contains(&self.key);
        self.direction = self.direction.filter(|_| !is_same);
        self
    }
}

expression! {
    /// Asks the routing tables about the packet.
    Fib = "fib";
    need {
        /// Where the answer goes.
        to: Register = NFTA_FIB_DREG;
        /// What is asked for.
        result: FibResult = NFTA_FIB_RESULT;
        /// What is looked up: `NFTA_FIB_F_*`.
        flags: u32 = NFTA_FIB_FLAGS;
    }
    maybe {}
    zero {}
}

expression! {
    /// Makes a number from 0 to the modulus less 1, plus the offset.
    Numgen = "numgen";
    need {
        /// Where it goes.
        to: Register = NFTA_NG_DREG;
        /// How many numbers there are.
        modulus: u32 = NFTA_NG_MODULUS;
        /// In turn or at random.
        kind: NumgenType = NFTA_NG_TYPE;
    }
    maybe {}
    zero {
        /// What is added.
        offset / with_offset: u32 = NFTA_NG_OFFSET;
    }
}

expression! {
    /// Hashes a register, or the packet's flow.
    Hash = "hash";
    need {
        /// Where the hash goes.
        to: Register = NFTA_HASH_DREG;
        /// How many hashes there are.
        modulus: u32 = NFTA_HASH_MODULUS;
    }
    maybe {
        /// What is hashed.
        from / with_from: Register = NFTA_HASH_SREG;
        /// Bytes that are hashed.
        length / with_length: u32 = NFTA_HASH_LEN;
        /// The seed; without one the kernel draws it.
        seed / with_seed: u32 = NFTA_HASH_SEED;
        /// The set that it indexes, of old kernels.
        set / with_set: Name = NFTA_HASH_SET_NAME;
    }
    zero {
        /// What is added.
        offset / with_offset: u32 = NFTA_HASH_OFFSET;
        /// Of a register or of the flow.
        kind / with_kind: HashType = NFTA_HASH_TYPE;
    }
}

open! {
    /// The header that an offset counts from (`enum nft_payload_bases`).
    PayloadBase: u32 as Be32 {
        /// The link layer: Ethernet.
        LINK = NFT_PAYLOAD_LL_HEADER, "ll";
        /// The network layer: IP, ARP.
        NETWORK = NFT_PAYLOAD_NETWORK_HEADER, "nh";
        /// The transport layer: TCP, UDP.
        TRANSPORT = NFT_PAYLOAD_TRANSPORT_HEADER, "th";
        /// Behind the transport header.
        INNER = NFT_PAYLOAD_INNER_HEADER, "ih";
        /// The header of a tunnel.
        TUNNEL = NFT_PAYLOAD_TUN_HEADER, "tun";
    }
}

open! {
    /// What is known about a packet (`enum nft_meta_keys`).
    MetaKey: u32 as Be32 {
        /// Its length.
        LEN = NFT_META_LEN, "length";
        /// The protocol of its frame.
        PROTOCOL = NFT_META_PROTOCOL, "protocol";
        /// Its mark.
        MARK = NFT_META_MARK, "mark";
        /// The index of the interface it came in by.
        IIF = NFT_META_IIF, "iif";
        /// The index of the interface it leaves by.
        OIF = NFT_META_OIF, "oif";
        /// The name of the interface it came in by.
        IIFNAME = NFT_META_IIFNAME, "iifname";
        /// The name of the interface it leaves by.
        OIFNAME = NFT_META_OIFNAME, "oifname";
        /// The hardware kind of the interface it came in by.
        IIFTYPE = NFT_META_IFTYPE, "iiftype";
        /// The hardware kind of the interface it leaves by.
        OIFTYPE = NFT_META_OIFTYPE, "oiftype";
        /// Whether its way is traced.
        NFTRACE = NFT_META_NFTRACE, "nftrace";
        /// Its family.
        NFPROTO = NFT_META_NFPROTO, "nfproto";
        /// Its transport protocol.
        L4PROTO = NFT_META_L4PROTO, "l4proto";
        /// For whom its frame was.
        PKTTYPE = NFT_META_PKTTYPE, "pkttype";
        /// Its priority in queues.
        PRIORITY = NFT_META_PRIORITY, "priority";
        /// The user of the socket it comes from.
        SKUID = NFT_META_SKUID, "skuid";
        /// The group of the socket it comes from.
        SKGID = NFT_META_SKGID, "skgid";
        /// The realm of its route.
        RTCLASSID = NFT_META_RTCLASSID, "rtclassid";
        /// Its security mark.
        SECMARK = NFT_META_SECMARK, "secmark";
        /// The name of the bridge it came in by.
        BRI_IIFNAME = NFT_META_BRI_IIFNAME, "ibrname";
        /// The name of the bridge it leaves by.
        BRI_OIFNAME = NFT_META_BRI_OIFNAME, "obrname";
        /// The processor that handles it.
        CPU = NFT_META_CPU, "cpu";
        /// The group of the interface it came in by.
        IIFGROUP = NFT_META_IIFGROUP, "iifgroup";
        /// The group of the interface it leaves by.
        OIFGROUP = NFT_META_OIFGROUP, "oifgroup";
        /// The class of the control group of the socket it comes from.
        CGROUP = NFT_META_CGROUP, "cgroup";
        /// 32 random bits.
        PRANDOM = NFT_META_PRANDOM, "random";
        /// Whether it was transformed on its way in.
        SECPATH = NFT_META_SECPATH, "ipsec";
        /// The kind of the interface it came in by: `veth`.
        IIFKIND = NFT_META_IIFKIND, "iifkind";
        /// The kind of the interface it leaves by.
        OIFKIND = NFT_META_OIFKIND, "oifkind";
        /// The VLAN of the bridge port it came in by.
        BRI_IIFPVID = NFT_META_BRI_IIFPVID, "ibrpvid";
        /// The VLAN protocol of the bridge it came in by.
        BRI_IIFVPROTO = NFT_META_BRI_IIFVPROTO, "ibrvproto";
        /// The time in nanoseconds since 1970.
        TIME_NS = NFT_META_TIME_NS, "time";
        /// The day of the week, Sunday 0.
        TIME_DAY = NFT_META_TIME_DAY, "day";
        /// The second of the day.
        TIME_HOUR = NFT_META_TIME_HOUR, "hour";
        /// The index of the lower interface it came in by.
        SDIF = NFT_META_SDIF, "sdif";
        /// The name of the lower interface it came in by.
        SDIFNAME = NFT_META_SDIFNAME, "sdifname";
        /// Whether the bridge hands it to routing (Linux 6.5).
        BRI_BROUTE = NFT_META_BRI_BROUTE, "broute";
        /// The hardware address of the bridge it came in by (Linux 6.18).
        BRI_IIFHWADDR = NFT_META_BRI_IIFHWADDR, "ibrhwaddr";
    }
}

open! {
    /// What is known about a connection (`enum nft_ct_keys`).
    CtKey: u32 as Be32 {
        /// Its state as seen by this packet.
        STATE = NFT_CT_STATE, "state";
        /// The packet's direction within it.
        DIRECTION = NFT_CT_DIRECTION, "direction";
        /// What has happened to it.
        STATUS = NFT_CT_STATUS, "status";
        /// Its mark.
        MARK = NFT_CT_MARK, "mark";
        /// Its security mark.
        SECMARK = NFT_CT_SECMARK, "secmark";
        /// In how many milliseconds it is forgotten.
        EXPIRATION = NFT_CT_EXPIRATION, "expiration";
        /// The name of its helper: 16 bytes.
        HELPER = NFT_CT_HELPER, "helper";
        /// Its family.
        L3PROTOCOL = NFT_CT_L3PROTOCOL, "l3proto";
        /// Its source, of either family.
        SRC = NFT_CT_SRC, "saddr";
        /// Its destination, of either family.
        DST = NFT_CT_DST, "daddr";
        /// Its transport protocol.
        PROTOCOL = NFT_CT_PROTOCOL, "protocol";
        /// Its source port.
        PROTO_SRC = NFT_CT_PROTO_SRC, "proto-src";
        /// Its destination port.
        PROTO_DST = NFT_CT_PROTO_DST, "proto-dst";
        /// Its labels: 128 bits.
        LABELS = NFT_CT_LABELS, "label";
        /// How many packets it had.
        PKTS = NFT_CT_PKTS, "packets";
        /// How many bytes it had.
        BYTES = NFT_CT_BYTES, "bytes";
        /// Bytes for each packet.
        AVGPKT = NFT_CT_AVGPKT, "avgpkt";
        /// Its zone.
        ZONE = NFT_CT_ZONE, "zone";
        /// Which of its events are reported.
        EVENTMASK = NFT_CT_EVENTMASK, "event";
        /// Its number.
        ID = NFT_CT_ID, "id";
        /// Its IPv4 source.
        SRC_IP = NFT_CT_SRC_IP, "ip saddr";
        /// Its IPv4 destination.
        DST_IP = NFT_CT_DST_IP, "ip daddr";
        /// Its IPv6 source.
        SRC_IP6 = NFT_CT_SRC_IP6, "ip6 saddr";
        /// Its IPv6 destination.
        DST_IP6 = NFT_CT_DST_IP6, "ip6 daddr";
    }
}

open! {
    /// What the routing tables are asked for (`enum nft_fib_result`).
    FibResult: u32 as Be32 {
        /// The index of the outgoing interface.
        OIF = NFT_FIB_RESULT_OIF, "oif";
        /// The name of the outgoing interface.
        OIFNAME = NFT_FIB_RESULT_OIFNAME, "oifname";
        /// The kind of the address.
        ADDRTYPE = NFT_FIB_RESULT_ADDRTYPE, "type";
    }
}

open! {
    /// How numbers are made (`enum nft_ng_types`).
    NumgenType: u32 as Be32 {
        /// One after the other.
        INCREMENTAL = NFT_NG_INCREMENTAL, "inc";
        /// At random.
        RANDOM = NFT_NG_RANDOM, "random";
    }
}

open! {
    /// What is hashed (`enum nft_hash_types`).
    HashType: u32 as Be32 {
        /// A register.
        JENKINS = NFT_HASH_JENKINS, "jhash";
        /// The flow, the same for both directions.
        SYMMETRIC = NFT_HASH_SYM, "symhash";
    }
}

impl Default for HashType {
    fn default() -> Self {
        Self::JENKINS
    }
}
