//! Each of the kernel's numbers equals the one in the kernel's headers, by
//! the judgement of the C compiler that Rust links with.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed, and says what it left out"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use tapwire::wire::uapi;

/// Numbers that only newer headers than those of Linux 6.1 have. Where the
/// machine's headers lack one it is left out, and said so.
const NEWER: &[&str] = &[
    "NFT_MSG_GETRULE_RESET",
    "NFT_MSG_DESTROYTABLE",
    "NFT_MSG_DESTROYCHAIN",
    "NFT_MSG_DESTROYRULE",
    "NFT_MSG_DESTROYSET",
    "NFT_MSG_DESTROYSETELEM",
    "NFT_MSG_DESTROYOBJ",
    "NFT_MSG_DESTROYFLOWTABLE",
    "NFT_MSG_GETSETELEM_RESET",
    "NFT_TABLE_F_PERSIST",
    "NFTA_SET_TYPE",
    "NFTA_SET_COUNT",
    "NFT_BITWISE_AND",
    "NFT_BITWISE_OR",
    "NFT_BITWISE_XOR",
    "NFTA_BITWISE_SREG2",
    "NFT_PAYLOAD_TUN_HEADER",
    "NFT_META_BRI_BROUTE",
    "NFT_META_BRI_IIFHWADDR",
    "NFTA_DEVICE_PREFIX",
    "NFT_INNER_VXLAN",
    "NFT_INNER_GENEVE",
    "NFT_INNER_HDRSIZE",
    "NFT_INNER_LL",
    "NFT_INNER_NH",
    "NFT_INNER_TH",
    "NFTA_INNER_NUM",
    "NFTA_INNER_TYPE",
    "NFTA_INNER_FLAGS",
    "NFTA_INNER_HDRSIZE",
    "NFTA_INNER_EXPR",
    "NFTA_TRACE_CT_ID",
    "NFTA_TRACE_CT_DIRECTION",
    "NFTA_TRACE_CT_STATUS",
    "NFTA_TRACE_CT_STATE",
];

#[test]
fn every_number_equals_the_kernels_header() {
    let complaints = compile(|_| true);
    let absent: BTreeSet<&str> = NEWER
        .iter()
        .copied()
        .filter(|name| {
            complaints.contains(&format!("‘{name}’ undeclared"))
                || complaints.contains(&format!("'{name}' undeclared"))
        })
        .collect();
    if !absent.is_empty() {
        eprintln!("not in this machine's headers, left out: {absent:?}");
    }
    let complaints = compile(|name| !absent.contains(name));
    assert!(complaints.is_empty(), "{complaints}");
}

#[test]
fn wrong_number_would_be_noticed() {
    let source = "#include <linux/netlink.h>\n_Static_assert(NLMSG_DONE == 4, \"NLMSG_DONE\");\n";
    assert!(check(source).contains("NLMSG_DONE"));
}

/// What the compiler says to an assertion for each number that is `wanted`.
fn compile(wanted: impl Fn(&str) -> bool) -> String {
    let mut source = String::from("#include <sys/socket.h>\n");
    for number in uapi::ALL
        .iter()
        .copied()
        .flatten()
        .filter(|number| wanted(number.name))
    {
        let uapi::Number {
            header,
            name,
            value,
            ..
        } = number;
        writeln!(
            source,
            "#include <{header}>\n_Static_assert({name} == {value}, \"{name}\");"
        )
        .unwrap();
    }
    check(&source)
}

fn check(source: &str) -> String {
    let mut compiler = Command::new("cc")
        .args([
            "-std=c11",
            "-fsyntax-only",
            "-fmax-errors=0",
            "-x",
            "c",
            "-",
        ])
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    compiler
        .stdin
        .take()
        .unwrap()
        .write_all(source.as_bytes())
        .unwrap();
    let output = compiler.wait_with_output().unwrap();
    String::from_utf8(output.stderr).unwrap()
}
