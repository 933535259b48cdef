//! Tables of many rulesets are read, written under another name, and listed
//! by `nft` as the same.
//!
//! `NAME.load.bin` is what a newer `nft -f NAME.nft` sent, for those that
//! older ones cannot read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use tapwire::conn::Requests;
use tapwire::nft::{Batch, Element, Name, Nft, Snapshot, Table};
use tapwire::sys::NetNs;
use tapwire::wire::uapi::nfnetlink::{NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END};
use tapwire::wire::{Flags, Messages, Writer};

use super::{lines, listing};
use crate::support::run;

pub(super) const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata/rulesets");

/// What became of a ruleset.
enum Outcome {
    Same,
    /// `nft` or the kernel does not load it.
    NotLoaded(String),
    Differs(String),
}

pub(super) fn copied_tables_are_listed_as_the_same() {
    let mut outcomes = BTreeMap::new();
    for file in fs::read_dir(FOLDER).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "nft") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let netns = NetNs::new().unwrap();
        let outcome = netns.run(|| copy(&path)).unwrap();
        outcomes.insert(name, outcome);
    }
    report(&outcomes);
}

/// Panics unless a ruleset loads here and is copied as it is.
pub(super) fn must_be_copied(path: &Path) {
    match copy(path) {
        Outcome::Same => {}
        Outcome::NotLoaded(why) => panic!("{} is not loaded: {why}", path.display()),
        Outcome::Differs(how) => panic!("{}: {how}", path.display()),
    }
}

fn report(outcomes: &BTreeMap<String, Outcome>) {
    let (mut same, mut loaded) = (0, 0);
    let mut text = String::new();
    let mut differing = Vec::new();
    for (name, outcome) in outcomes {
        match outcome {
            Outcome::Same => (same, loaded) = (same + 1, loaded + 1),
            Outcome::NotLoaded(why) => writeln!(text, "{name}: not loaded: {why}").unwrap(),
            Outcome::Differs(how) => {
                loaded += 1;
                writeln!(text, "{name}: {how}").unwrap();
                differing.push(name);
            }
        }
    }
    eprintln!(
        "{text}{same} of {loaded} rulesets that load are copied as they are ({} in all)",
        outcomes.len()
    );
    assert!(loaded > 150, "only {loaded} rulesets load");
    assert!(differing.is_empty(), "{differing:?}");
}

fn copy(path: &Path) -> Outcome {
    for device in ["zd0", "zd1"] {
        run("ip", &["link", "add", device, "type", "veth"]);
        run("ip", &["link", "set", device, "up"]);
    }
    let mut nft = Nft::open().unwrap();
    let readable = match load(path, &mut nft) {
        Ok(readable) => readable,
        Err(why) => return Outcome::NotLoaded(why),
    };
    for (number, table) in nft.tables().unwrap().iter().enumerate() {
        if let Err(how) = copy_table(&mut nft, table, &format!("zcopy{number}"), readable) {
            return Outcome::Differs(how);
        }
    }
    Outcome::Same
}

/// `readable` says whether this `nft` can list it; else what is read again
/// must be what was written.
fn copy_table(nft: &mut Nft, table: &Table, name: &str, readable: bool) -> Result<(), String> {
    let family = table.family().to_string();
    let snapshot = nft
        .snapshot(table.family(), table.name())
        .map_err(|error| tell(&error))?;
    let copy = snapshot.ok_or("gone")?.renamed(Name::new(name).unwrap());
    let mut batch = Batch::new();
    copy.add_to(&mut batch);
    nft.commit(&mut batch).map_err(|error| tell(&error))?;
    let again = nft.snapshot(copy.table().family(), copy.table().name());
    same_values(&copy, &again.map_err(|error| tell(&error))?.ok_or("gone")?)?;
    if !readable {
        return Ok(());
    }
    let head = format!("table {family} {name} {{");
    let old = format!("table {family} {} {{", table.name());
    let both = || {
        let wanted = listing(&family, table.name().as_str());
        let wanted = settled(&wanted.replacen(&old, &head, 1));
        (wanted, settled(&listing(&family, name)))
    };
    let (mut wanted, mut found) = both();
    for _ in 0..20 {
        if wanted == found {
            return Ok(());
        }
        // A hash that grows is moved meanwhile, and `nft` then lists some
        // elements twice.
        thread::sleep(Duration::from_millis(20));
        (wanted, found) = both();
    }
    let line = wanted
        .iter()
        .zip(&found)
        .find(|(wanted, found)| wanted != found);
    let how = format!(
        "{} lines became {}, first {line:?}",
        wanted.len(),
        found.len()
    );
    Err(how.chars().take(400).collect())
}

/// Loads a ruleset by `nft`, or as a newer `nft` would; says which.
fn load(path: &Path, nft: &mut Nft) -> Result<bool, String> {
    let output = Command::new("nft").arg("-f").arg(path).output().unwrap();
    if output.status.success() {
        return Ok(true);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let why = words.lines().next().unwrap_or_default();
    let why = why.rsplit_once("Error: ").map_or(why, |(_, why)| why);
    let Ok(bytes) = fs::read(path.with_extension("load.bin")) else {
        return Err(why.to_owned());
    };
    let mut batch = Requests::new();
    // `NFT_MSG_NEW…` of all that a file holds.
    let adds = [0, 3, 6, 9, 12, 18, 22].map(|operation| 0x0a00 | operation);
    batch
        .push(NFNL_MSG_BATCH_BEGIN, Flags::empty(), put_begin)
        .unwrap();
    for message in Messages::new(&bytes).map(Result::unwrap) {
        let flags = message.header().flags.difference(Flags::ACK | Flags::ECHO);
        if adds.contains(&message.kind()) {
            batch
                .push(message.kind(), flags, |out| out.fixed(message.body()))
                .unwrap();
        }
    }
    batch
        .push(NFNL_MSG_BATCH_END, Flags::empty(), put_begin)
        .unwrap();
    let refused = nft
        .connection_mut()
        .commit(&mut batch)
        .map_err(|error| tell(&error))?;
    match refused.first() {
        None => Ok(false),
        Some((place, refusal)) => Err(format!("{why}; operation {place}: {refusal}")),
    }
}

fn put_begin(out: &mut Writer<'_>) {
    out.fixed(&[0, 0, 0, 10]);
}

/// Whether what was written reads as what was meant.
fn same_values(wanted: &Snapshot, found: &Snapshot) -> Result<(), String> {
    let fail = |what: &str, name: &Name| Err(format!("{what} {name} reads otherwise"));
    if !wanted.table().is_same(found.table()) {
        return fail("table", wanted.table().name());
    }
    let bound = |snapshot: &Snapshot| {
        snapshot
            .chains()
            .iter()
            .filter(|chain| chain.is_bound())
            .count()
    };
    if bound(wanted) != bound(found) || wanted.rules().len() != found.rules().len() {
        return fail("number of chains or rules of", wanted.table().name());
    }
    for chain in wanted.chains().iter().filter(|chain| !chain.is_bound()) {
        if !found.chains().iter().any(|other| other.is_same(chain)) {
            return fail("chain", chain.name());
        }
        let pairs = wanted
            .rules_of(chain.name())
            .zip(found.rules_of(chain.name()));
        for (one, other) in pairs {
            if bound(wanted) == 0 && !one.is_same(other) {
                return Err(format!("{one:?} reads as {other:?}"));
            }
        }
    }
    for (set, elements) in wanted.sets() {
        let other = found.sets().find(|(other, _)| other.name() == set.name());
        let Some((_, others)) = other.filter(|(other, _)| other.is_same(set)) else {
            return Err(format!("{set:?} reads as {other:?}"));
        };
        let keys = |elements: &[Element]| -> BTreeSet<Vec<u8>> {
            elements
                .iter()
                .map(|element| element.key().as_bytes().to_vec())
                .collect()
        };
        if keys(elements) != keys(others) {
            return fail("elements of", set.name());
        }
    }
    for object in wanted.objects() {
        if !found.objects().iter().any(|other| other.is_same(object)) {
            return fail("object", object.name());
        }
    }
    Ok(())
}

/// The lines of a listing without what time changes, each list on one line.
fn settled(listing: &str) -> Vec<String> {
    let mut whole = String::new();
    for line in listing.lines() {
        if whole.ends_with(',') {
            whole.push(' ');
            whole.push_str(line.trim_start());
        } else {
            whole.push('\n');
            whole.push_str(line);
        }
    }
    lines(&whole).iter().map(|line| timeless(line)).collect()
}

/// A line without the words behind `expires` and `last used`.
fn timeless(line: &str) -> String {
    let mut kept = Vec::new();
    let mut words = line.split(' ');
    while let Some(word) = words.next() {
        kept.push(word);
        if word == "expires" || (word == "used" && kept.iter().rev().nth(1) == Some(&"last")) {
            words.next();
        }
    }
    kept.join(" ")
}

fn tell(error: &tapwire::Error) -> String {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    format!("{error}: {}", cause.unwrap_or_default())
}
