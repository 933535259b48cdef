//! Expressions that load what lies beside the packet: its socket, its route,
//! its tunnel.

use super::{Expr, expression};
use crate::nft::Register;
use crate::nft::carried::open;
use crate::wire::uapi::nf_tables_stmt::{
    NFT_INNER_GENEVE, NFT_INNER_VXLAN, NFT_RT_CLASSID, NFT_RT_NEXTHOP4, NFT_RT_NEXTHOP6,
    NFT_RT_TCPMSS, NFT_RT_XFRM, NFT_SOCKET_CGROUPV2, NFT_SOCKET_MARK, NFT_SOCKET_TRANSPARENT,
    NFT_SOCKET_WILDCARD, NFT_TUNNEL_ID, NFT_TUNNEL_MODE_NONE, NFT_TUNNEL_MODE_RX,
    NFT_TUNNEL_MODE_TX, NFT_TUNNEL_PATH, NFT_XFRM_KEY_DADDR_IP4, NFT_XFRM_KEY_DADDR_IP6,
    NFT_XFRM_KEY_REQID, NFT_XFRM_KEY_SADDR_IP4, NFT_XFRM_KEY_SADDR_IP6, NFT_XFRM_KEY_SPI,
    NFTA_INNER_EXPR, NFTA_INNER_FLAGS, NFTA_INNER_HDRSIZE, NFTA_INNER_NUM, NFTA_INNER_TYPE,
    NFTA_OSF_DREG, NFTA_OSF_FLAGS, NFTA_OSF_TTL, NFTA_RT_DREG, NFTA_RT_KEY, NFTA_SOCKET_DREG,
    NFTA_SOCKET_KEY, NFTA_SOCKET_LEVEL, NFTA_TUNNEL_DREG, NFTA_TUNNEL_KEY, NFTA_TUNNEL_MODE,
    NFTA_XFRM_DIR, NFTA_XFRM_DREG, NFTA_XFRM_KEY, NFTA_XFRM_SPNUM,
};

expression! {
    /// Loads what the packet's route says.
    Rt = "rt";
    need {
        /// Where it goes.
        to: Register = NFTA_RT_DREG;
        /// What.
        key: RtKey = NFTA_RT_KEY;
    }
    maybe {}
    zero {}
}

expression! {
    /// Loads what is known about the socket that the packet is for.
    Socket = "socket";
    need {
        /// Where it goes.
        to: Register = NFTA_SOCKET_DREG;
        /// What.
        key: SocketKey = NFTA_SOCKET_KEY;
    }
    maybe {
        /// Of a control group: how far below the root.
        level / with_level: u32 = NFTA_SOCKET_LEVEL;
    }
    zero {}
}

impl Socket {
    /// Without the level where it says nothing, and is not listed.
    pub(super) fn canonical(mut self) -> Self {
        self.level = self.level.filter(|_| self.key == SocketKey::CGROUPV2);
        self
    }
}

expression! {
    /// Loads the name of the operating system that a SYN comes from.
    Osf = "osf";
    need {
        /// Where it goes: 16 bytes.
        to: Register = NFTA_OSF_DREG;
    }
    maybe {}
    zero {
        /// How the time to live counts: 0 as it is, 1 less than the
        /// fingerprint's, 2 not at all.
        ttl / with_ttl: u8 = NFTA_OSF_TTL;
        /// `NFT_OSF_F_VERSION`: with the version.
        flags / with_flags: u32 = NFTA_OSF_FLAGS;
    }
}

expression! {
    /// Loads what is known about the packet's `IPsec` transformation.
    Xfrm = "xfrm";
    need {
        /// Where it goes.
        to: Register = NFTA_XFRM_DREG;
        /// What.
        key: XfrmKey = NFTA_XFRM_KEY;
        /// 0 of the way in, 1 of the way out (`XFRM_POLICY_*`).
        direction: u8 = NFTA_XFRM_DIR;
    }
    maybe {}
    zero {
        /// Which of several transformations, counted from 0.
        number / with_number: u32 = NFTA_XFRM_SPNUM;
    }
}

expression! {
    /// Loads what is known about the tunnel that the packet goes through.
    Tunnel = "tunnel";
    need {
        /// Where it goes.
        to: Register = NFTA_TUNNEL_DREG;
        /// What.
        key: TunnelKey = NFTA_TUNNEL_KEY;
    }
    maybe {}
    zero {
        /// Which way the tunnel leads.
        mode / with_mode: TunnelMode = NFTA_TUNNEL_MODE;
    }
}

expression! {
    /// Loads from the packet inside of a tunnel's packet (Linux 6.2).
    Inner = "inner";
    need {
        /// Which of several tunnels, one inside the other: 0.
        number: u32 = NFTA_INNER_NUM;
        /// The kind of tunnel.
        kind: InnerType = NFTA_INNER_TYPE;
        /// Which headers the tunnel's packet has: `NFT_INNER_*`.
        flags: u32 = NFTA_INNER_FLAGS;
        /// Bytes of the tunnel's own header.
        header_size: u32 = NFTA_INNER_HDRSIZE;
        /// What is loaded: a payload or a meta expression.
        expression: Box<Expr> = NFTA_INNER_EXPR;
    }
    maybe {}
    zero {}
}

open! {
    /// What a route says (`enum nft_rt_keys`).
    RtKey: u32 as Be32 {
        /// The realm.
        CLASSID = NFT_RT_CLASSID, "classid";
        /// The next hop of IPv4.
        NEXTHOP4 = NFT_RT_NEXTHOP4, "ip nexthop";
        /// The next hop of IPv6.
        NEXTHOP6 = NFT_RT_NEXTHOP6, "ip6 nexthop";
        /// The largest TCP segment that fits.
        TCP_MSS = NFT_RT_TCPMSS, "mtu";
        /// Whether the packet is going to be transformed.
        XFRM = NFT_RT_XFRM, "ipsec";
    }
}

open! {
    /// What is known about a socket (`enum nft_socket_keys`).
    SocketKey: u32 as Be32 {
        /// Whether it takes packets for foreign addresses.
        TRANSPARENT = NFT_SOCKET_TRANSPARENT, "transparent";
        /// Its mark.
        MARK = NFT_SOCKET_MARK, "mark";
        /// Whether it takes packets for any address.
        WILDCARD = NFT_SOCKET_WILDCARD, "wildcard";
        /// Its control group.
        CGROUPV2 = NFT_SOCKET_CGROUPV2, "cgroupv2";
    }
}

open! {
    /// What is known about a transformation (`enum nft_xfrm_keys`).
    XfrmKey: u32 as Be32 {
        /// The IPv4 address that it goes to.
        DADDR_IP4 = NFT_XFRM_KEY_DADDR_IP4, "ip daddr";
        /// The IPv6 address that it goes to.
        DADDR_IP6 = NFT_XFRM_KEY_DADDR_IP6, "ip6 daddr";
        /// The IPv4 address that it comes from.
        SADDR_IP4 = NFT_XFRM_KEY_SADDR_IP4, "ip saddr";
        /// The IPv6 address that it comes from.
        SADDR_IP6 = NFT_XFRM_KEY_SADDR_IP6, "ip6 saddr";
        /// The number of its request.
        REQID = NFT_XFRM_KEY_REQID, "reqid";
        /// Its parameter index.
        SPI = NFT_XFRM_KEY_SPI, "spi";
    }
}

open! {
    /// What is known about a tunnel (`enum nft_tunnel_keys`).
    TunnelKey: u32 as Be32 {
        /// Whether there is one.
        PATH = NFT_TUNNEL_PATH, "path";
        /// Its number.
        ID = NFT_TUNNEL_ID, "id";
    }
}

open! {
    /// Which way a tunnel leads (`enum nft_tunnel_mode`).
    TunnelMode: u32 as Be32 {
        /// Either.
        NONE = NFT_TUNNEL_MODE_NONE, "none";
        /// In.
        RX = NFT_TUNNEL_MODE_RX, "rx";
        /// Out.
        TX = NFT_TUNNEL_MODE_TX, "tx";
    }
}

impl Default for TunnelMode {
    fn default() -> Self {
        Self::NONE
    }
}

open! {
    /// A kind of tunnel that can be looked into (`enum nft_inner_type`).
    InnerType: u32 as Be32 {
        /// VXLAN.
        VXLAN = NFT_INNER_VXLAN, "vxlan";
        /// Geneve.
        GENEVE = NFT_INNER_GENEVE, "geneve";
    }
}
