//! Arbitrary tables are sent to the kernel, and what it lists is what was
//! sent.
//!
//! It may refuse a thing: that is left out. What it takes must be listed, be
//! read, and be the same, and a copy of it under another name must be taken
//! and listed as the same. All happens in a network namespace of its own.
#![no_main]

mod expressions;
mod send;
mod values;

use std::sync::{Mutex, OnceLock, PoisonError};

use libfuzzer_sys::fuzz_target;
use tapwire::Error;
use tapwire::nft::{Batch, Element, Family, Name, NamedObject, Nft, Rule, Set, Snapshot, Table};
use tapwire::sys::{NetNs, enter_user_namespace, has_net_admin};

use send::send;
use values::{Input, Wanted};

const TABLE: Name = Name::constant("fuzz");
const COPY: Name = Name::constant("copy");

fuzz_target!(
    init: {
        NFT.set(Mutex::new(open().unwrap())).unwrap();
    },
    |input: Input| {
        let nft = NFT.get().unwrap();
        let mut nft = nft.lock().unwrap_or_else(PoisonError::into_inner);
        judge(&mut nft, &input.wanted(&TABLE));
    }
);

static NFT: OnceLock<Mutex<Nft>> = OnceLock::new();

/// A socket in a namespace that nobody else sees and that ends with it.
fn open() -> Result<Nft, Error> {
    if !has_net_admin()? {
        enter_user_namespace()?;
    }
    NetNs::new()?.run(Nft::open)?
}

fn judge(nft: &mut Nft, wanted: &Wanted) {
    let table = &wanted.table;
    let Some(taken) = send(nft, wanted) else {
        return;
    };
    let listed = nft.snapshot(table.family(), &TABLE).unwrap().unwrap();
    compare(&taken, &listed);

    let mut batch = Batch::new();
    listed.renamed(COPY).add_to(&mut batch);
    match nft.commit(&mut batch) {
        Ok(()) => {
            let copy = nft.snapshot(table.family(), &COPY).unwrap().unwrap();
            same_snapshots(&listed, &copy.renamed(TABLE));
            remove(nft, table.family(), COPY);
        }
        // Hooks have limits that two tables reach together.
        Err(error) => assert!(
            matches!(error.raw_os_error(), Some(libc::E2BIG | libc::EBUSY)),
            "a copy was refused: {error:?}\n{listed:#?}"
        ),
    }
    remove(nft, table.family(), TABLE);
    assert_eq!(nft.tables().unwrap(), [], "something is left");
}

fn remove(nft: &mut Nft, family: Family, name: Name) {
    let mut batch = Batch::new();
    batch.delete(&Table::new(family, name));
    nft.commit(&mut batch).unwrap();
}

fn compare(sent: &Wanted, listed: &Snapshot) {
    assert!(sent.table.is_same(listed.table()), "{sent:#?}\n{listed:#?}");
    assert_eq!(sent.chains.len(), listed.chains().len());
    for (sent, listed) in sent.chains.iter().zip(listed.chains()) {
        assert!(sent.is_same(listed), "{sent:#?}\n{listed:#?}");
    }
    assert_eq!(sent.objects.len(), listed.objects().len());
    for object in &sent.objects {
        let name =
            |other: &&NamedObject| other.name() == object.name() && other.kind() == object.kind();
        let listed = listed.objects().iter().find(name).unwrap();
        assert!(object.is_same(listed), "{object:#?}\n{listed:#?}");
    }
    assert_eq!(sent.sets.len(), listed.sets().count());
    for ((one, elements), (other, there)) in sent.sets.iter().zip(listed.sets()) {
        // A rule that adds to it gives a set without a size one.
        let bounded = one.capacity().is_none() && other.capacity().is_some();
        let one = if bounded {
            &one.clone().size(other.capacity().unwrap_or_default())
        } else {
            one
        };
        assert!(one.is_same(other), "{one:#?}\n{other:#?}");
        same_elements(one, elements, there);
    }
    same_rules(&sent.rules, listed.rules());
}

fn same_snapshots(one: &Snapshot, other: &Snapshot) {
    assert!(one.table().is_same(other.table()));
    let chains = one.chains().iter().zip(other.chains());
    assert!(chains.into_iter().all(|(one, other)| one.is_same(other)));
    for ((one, elements), (other, there)) in one.sets().zip(other.sets()) {
        assert!(one.is_same(other), "{one:#?}\n{other:#?}");
        same_elements(one, elements, there);
    }
    same_rules(one.rules(), other.rules());
}

fn same_elements(set: &Set, wanted: &[Element], listed: &[Element]) {
    let plain = |elements: &[Element]| {
        let mut plain: Vec<Plain> = elements.iter().map(Plain::of).collect();
        plain.sort();
        plain
    };
    assert_eq!(plain(wanted), plain(listed), "{set:#?}");
}

/// An element without what time does to it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Plain {
    key: Vec<u8>,
    end: Option<Vec<u8>>,
    closes: bool,
    all: bool,
    value: String,
    comment: String,
}

impl Plain {
    fn of(element: &Element) -> Self {
        Self {
            key: element.key().as_bytes().to_vec(),
            end: element.key_end().map(|end| end.as_bytes().to_vec()),
            closes: element.is_interval_end(),
            all: element.is_catch_all(),
            value: format!("{:?} {:?}", element.value(), element.current_object()),
            comment: format!("{:?}", element.current_comment()),
        }
    }
}

fn same_rules(sent: &[Rule], listed: &[Rule]) {
    assert_eq!(sent.len(), listed.len());
    for sent in sent {
        let there = |rule: &&Rule| sent.is_same(rule);
        assert!(
            listed.iter().any(|rule| there(&rule)),
            "{sent:#?}\nis not among\n{listed:#?}"
        );
    }
}
