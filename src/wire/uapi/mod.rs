//! The kernel's numbers, each written once and compared with the kernel's
//! headers by a test.

pub mod bpf;
pub mod conntrack;
pub mod if_bridge;
pub mod if_link;
pub mod inet_diag;
pub mod ip;
pub mod ip6_tables;
pub mod neighbour;
pub mod netfilter;
pub mod netlink;
pub mod nf_log;
pub mod nf_nat;
pub mod nf_tables;
pub mod nf_tables_compat;
pub mod nf_tables_expr;
pub mod nf_tables_obj;
pub mod nf_tables_stmt;
pub mod nfnetlink;
pub mod pkt_cls;
pub mod pkt_sched;
pub mod rtnetlink;
pub mod sock_diag;
pub mod tc_mirred;
pub mod xt_addrtype;
pub mod xt_conntrack;
pub mod xt_multiport;
pub mod xt_tcpudp;
pub mod xtables;

/// A number as the kernel's header has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Number {
    /// The header that defines it: `linux/netlink.h`.
    pub header: &'static str,
    /// Its name there.
    pub name: &'static str,
    /// Its value here.
    pub value: i64,
}

impl Number {
    /// One entry of a header's table.
    pub(crate) const fn new(header: &'static str, name: &'static str, value: i64) -> Self {
        Self {
            header,
            name,
            value,
        }
    }
}

/// Every number of this crate, header by header.
pub const ALL: &[&[Number]] = &[
    bpf::NUMBERS,
    conntrack::NUMBERS,
    if_bridge::NUMBERS,
    if_link::NUMBERS,
    inet_diag::NUMBERS,
    ip::NUMBERS,
    ip6_tables::NUMBERS,
    neighbour::NUMBERS,
    netfilter::NUMBERS,
    netlink::NUMBERS,
    nf_log::NUMBERS,
    nf_nat::NUMBERS,
    nf_tables::NUMBERS,
    nf_tables_compat::NUMBERS,
    nf_tables_expr::NUMBERS,
    nf_tables_obj::NUMBERS,
    nf_tables_stmt::NUMBERS,
    nfnetlink::NUMBERS,
    pkt_cls::NUMBERS,
    pkt_sched::NUMBERS,
    rtnetlink::NUMBERS,
    sock_diag::NUMBERS,
    tc_mirred::NUMBERS,
    xt_addrtype::NUMBERS,
    xt_conntrack::NUMBERS,
    xt_multiport::NUMBERS,
    xt_tcpudp::NUMBERS,
    xtables::NUMBERS,
];

/// Defines a header's numbers and their table.
///
/// `NAME: Payload = n;` defines an attribute, `const NAME: type = n;` a plain
/// number.
macro_rules! uapi {
    ($header:literal; $($($word:ident)+: $kind:ident = $value:expr;)*) => {
        $($crate::wire::uapi::uapi!(@define $header ($($word)+) $kind $value);)*

        /// Each number of this module, to be compared with the header.
        pub const NUMBERS: &[$crate::wire::uapi::Number] = &[
            $($crate::wire::uapi::uapi!(@number $header ($($word)+) $value)),*
        ];
    };
    (@define $header:literal (const $name:ident) $int:ident $value:expr) => {
        #[doc = concat!("`", stringify!($name), "` of `", $header, "`.")]
        pub const $name: $int = $value;
    };
    (@define $header:literal ($name:ident) $payload:ident $value:expr) => {
        #[doc = concat!("`", stringify!($name), "` of `", $header, "`.")]
        pub const $name: $crate::wire::Attr<$crate::wire::$payload> = $crate::wire::Attr::new($value);
    };
    (@number $header:literal (const $name:ident) $value:expr) => {
        $crate::wire::uapi::Number::new($header, stringify!($name), $value)
    };
    (@number $header:literal ($name:ident) $value:expr) => {
        $crate::wire::uapi::Number::new($header, stringify!($name), $value)
    };
}

pub(crate) use uapi;
