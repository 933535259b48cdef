//! Rulesets are printed as `nft` lists them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use tapwire::nft::Nft;
use tapwire::sys::NetNs;

use super::lines;
use crate::support::{feed, run};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata/rulesets");

/// What became of a ruleset.
enum Outcome {
    /// The text is that of `nft`.
    Exact,
    /// The text is another, but `nft` loads it to the same listing.
    Equal(String),
    /// `nft` cannot load the text, or lists it otherwise.
    Differs(String),
    /// `nft` or the kernel does not load the ruleset.
    NotLoaded,
}

/// Rulesets whose printed form cannot be loaded, and why.
const EXCEPTIONS: &[(&str, &str)] = &[];

pub(super) fn rulesets_print_as_nft_lists_them() {
    let mut outcomes = BTreeMap::new();
    for file in fs::read_dir(FOLDER).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "nft") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let netns = NetNs::new().unwrap();
        let outcome = netns.run(|| judge(&path)).unwrap();
        outcomes.insert(name, outcome);
    }
    report(&outcomes);
}

/// Panics unless a ruleset loads here and prints as what it means.
pub(super) fn must_print(path: &Path) {
    match judge(path) {
        Outcome::Exact | Outcome::Equal(_) => {}
        Outcome::NotLoaded => panic!("{} is not loaded", path.display()),
        Outcome::Differs(how) => panic!("{}: {how}", path.display()),
    }
}

fn report(outcomes: &BTreeMap<String, Outcome>) {
    let (mut exact, mut equal, mut loaded) = (0, 0, 0);
    let mut text = String::new();
    let mut differing = Vec::new();
    for (name, outcome) in outcomes {
        match outcome {
            Outcome::Exact => (exact, loaded) = (exact + 1, loaded + 1),
            Outcome::Equal(how) => {
                (equal, loaded) = (equal + 1, loaded + 1);
                writeln!(text, "{name}: other text, same meaning\n{how}").unwrap();
            }
            Outcome::Differs(how) => {
                loaded += 1;
                let known = EXCEPTIONS.iter().find(|(known, _)| known == name);
                writeln!(
                    text,
                    "{name}: {}\n{how}",
                    known.map_or("DIFFERS", |(_, why)| why)
                )
                .unwrap();
                if known.is_none() {
                    differing.push(name);
                }
            }
            Outcome::NotLoaded => {}
        }
    }
    eprintln!(
        "{text}{exact} of {loaded} rulesets that load print exactly as nft lists them, {equal} otherwise but with the same meaning ({} in all)",
        outcomes.len()
    );
    assert!(loaded > 150, "only {loaded} rulesets load");
    assert!(exact > 140, "only {exact} rulesets print exactly");
    assert!(differing.is_empty(), "{differing:?}");
}

fn judge(path: &Path) -> Outcome {
    for device in ["zd0", "zd1"] {
        run("ip", &["link", "add", device, "type", "veth"]);
        run("ip", &["link", "set", device, "up"]);
    }
    let output = Command::new("nft").arg("-f").arg(path).output().unwrap();
    if !output.status.success() {
        return Outcome::NotLoaded;
    }
    let wanted = list();
    let printed = Nft::open().unwrap().ruleset().unwrap();
    let (found, full) = (printed.stateless().to_string(), printed.to_string());
    if found == wanted {
        let wanted = timeless(&run("nft", &["list", "ruleset"]));
        let full = timeless(&full);
        return if full == wanted {
            Outcome::Exact
        } else {
            Outcome::Differs(difference(&wanted, &full))
        };
    }
    let how = difference(&wanted, &found);
    run("nft", &["flush", "ruleset"]);
    if let Err(why) = reload(&full) {
        return Outcome::Differs(format!("{how}  {why}"));
    }
    let again = list();
    if lines(&again) == lines(&wanted) {
        Outcome::Equal(how)
    } else {
        Outcome::Differs(format!("{how}  loaded:\n{}", difference(&wanted, &again)))
    }
}

fn list() -> String {
    run("nft", &["-s", "list", "ruleset"])
}

/// A listing without the words behind `expires`.
fn timeless(text: &str) -> String {
    let mut parts = text.split(" expires ");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find([' ', ',']).unwrap_or(part.len());
        kept.push_str(&part[end..]);
    }
    kept
}

fn reload(text: &str) -> Result<(), String> {
    let file =
        std::env::temp_dir().join(format!("tapwire-print-{:?}", std::thread::current().id()));
    fs::write(&file, text).unwrap();
    let output = Command::new("nft").arg("-f").arg(&file).output().unwrap();
    fs::remove_file(&file).unwrap();
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(words.lines().take(2).collect::<Vec<_>>().join("\n"))
}

/// The lines that are only in one of the texts.
fn difference(wanted: &str, found: &str) -> String {
    let (wanted, found): (Vec<_>, Vec<_>) = (wanted.lines().collect(), found.lines().collect());
    let mut text = String::new();
    for line in wanted.iter().filter(|line| !found.contains(line)).take(4) {
        writeln!(text, "  - {}", line.trim()).unwrap();
    }
    for line in found.iter().filter(|line| !wanted.contains(line)).take(4) {
        writeln!(text, "  + {}", line.trim()).unwrap();
    }
    text
}

/// What the listing of another tool holds is kept: counts, comments.
pub(super) fn printed_ruleset_loads_with_its_counts() {
    let text = "table ip t {\n\tcounter c {\n\t\tpackets 5 bytes 6\n\t}\n\n\tset s {\n\t\ttype ipv4_addr\n\t\tcounter\n\t\telements = { 192.0.2.1 counter packets 7 bytes 8 comment \"one\" }\n\t}\n\n\tchain x {\n\t\tip saddr @s counter packets 1 bytes 2 drop comment \"two\"\n\t}\n}\n";
    feed("nft", &["-f", "-"], text);
    let printed = Nft::open().unwrap().ruleset().unwrap().to_string();
    assert_eq!(printed, text);
    assert_eq!(printed, run("nft", &["list", "ruleset"]));
}
