//! What the kernel listed for many rulesets prints as `nft` printed it.
//!
//! `testdata/nft/NAME.bin` is what Linux 6.18 answered to `nft list ruleset`,
//! `NAME.txt` what `nft --stateless list ruleset` printed then (1.0.6, and a
//! newer one where that cannot read the ruleset).
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

use std::fs;
use std::path::Path;

use tapwire::nft::{Content, Ruleset};
use tapwire::wire::Messages;

/// Whose text is another, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("meta_if", "a group of interfaces has its name from a file"),
    ("payload_vlan", "a VLAN inside of another stands as bits"),
    (
        "reject_ip",
        "a condition is kept that nft would write otherwise",
    ),
    (
        "reject_netdev",
        "a condition is kept that nft would write otherwise",
    ),
];

#[test]
fn recorded_rulesets_print_as_nft_printed_them() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata/nft"));
    let mut differing = Vec::new();
    let mut count = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        count += 1;
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let wanted = fs::read_to_string(&path).unwrap();
        let found = printed(&path.with_extension("bin"));
        let known = EXCEPTIONS.iter().any(|(known, _)| *known == name);
        if (wanted == found) == known {
            eprintln!("{name}: wanted\n{wanted}\nfound\n{found}");
            differing.push(name);
        }
    }
    assert!(count > 100, "only {count} listings");
    assert!(differing.is_empty(), "{differing:?}");
}

/// What a newer `nft` sent for rules that 1.0.6 cannot read (`NAME.load.bin`)
/// prints as the rules (`NAME.nft`).
#[test]
fn rules_that_a_newer_nft_sent_print_as_they_were_written() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata/rulesets");
    for name in ["inner_vxlan", "inner_geneve", "inner_gre"] {
        let file = |end| Path::new(folder).join(format!("{name}.{end}"));
        let rules = |text: &str| {
            let lines = text.lines().map(|line| line.trim().to_owned());
            lines
                .filter(|line| line.ends_with("counter"))
                .collect::<Vec<_>>()
        };
        let wanted = rules(&fs::read_to_string(file("nft")).unwrap());
        assert!(wanted.len() >= 3, "{name} has no rules");
        assert_eq!(rules(&printed(&file("load.bin"))), wanted);
    }
}

#[test]
fn anything_prints_whatever_its_bytes() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata/nft"));
    for name in ["set_concat5", "numgen_hash", "payload_set_ll", "nat_snat6"] {
        let bytes = fs::read(folder.join(name).with_extension("bin")).unwrap();
        for place in (0..bytes.len()).step_by(3) {
            let mut altered = bytes.clone();
            if let Some(byte) = altered.get_mut(place) {
                *byte ^= 0x15;
            }
            drop(read(&altered).to_string());
        }
    }
}

fn printed(path: &Path) -> String {
    read(&fs::read(path).unwrap()).stateless().to_string()
}

fn read(bytes: &[u8]) -> Ruleset {
    Messages::new(bytes)
        .filter_map(Result::ok)
        .filter_map(|message| Content::decode(&message).ok())
        .collect()
}
