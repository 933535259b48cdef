//! Things are sent together, and again without what the kernel refused.

use std::cell::RefCell;

use tapwire::Error;
use tapwire::conn::Requests;
use tapwire::nft::{Batch, Chain, Element, NamedObject, Nft, Rule, Set, Table};
use tapwire::wire::Flags;

use super::values::Wanted;

/// Sends all that is wanted until nothing of the rest is refused; returns what
/// was taken, `None` if not even the table was.
pub(crate) fn send(nft: &mut Nft, wanted: &Wanted) -> Option<Wanted> {
    let things = things(wanted);
    let mut left: Vec<usize> = (0..things.len())
        .filter(|&place| can_be_sent(&things[place]))
        .collect();
    let offered = left.clone();
    loop {
        let mut batch = Batch::new();
        let mut ends = Vec::new();
        for &place in &left {
            things[place].add_to(&mut batch);
            ends.push(batch.len());
        }
        let refused = commit(nft, &mut batch);
        if refused.is_empty() {
            break;
        }
        // All of them are told, so that there are few attempts: the kernel
        // waits long after each that fails.
        let refused: Vec<usize> = refused
            .into_iter()
            .map(|operation| ends.partition_point(|end| *end <= operation))
            .collect();
        if refused.contains(&0) {
            left.clear();
            break;
        }
        let kept = left.iter().enumerate();
        left = kept
            .filter(|(number, _)| !refused.contains(number))
            .map(|(_, place)| *place)
            .collect();
    }
    COUNTS.with_borrow_mut(|counts| {
        counts.inputs += 1;
        for place in &offered {
            counts.of(&things[*place]).0 += 1;
        }
        for place in &left {
            counts.of(&things[*place]).1 += 1;
        }
    });
    if left.is_empty() {
        return None;
    }
    let mut taken = Wanted::empty(&wanted.table);
    for place in left {
        match things[place] {
            Thing::Table(_) => {}
            Thing::Chain(chain) => taken.chains.push(chain.clone()),
            Thing::Object(object) => taken.objects.push(object.clone()),
            Thing::Set(set) => taken.sets.push((set.clone(), Vec::new())),
            Thing::Elements(_, elements) => {
                // Without their set they would have been refused.
                taken.sets.last_mut().unwrap().1 = elements.to_vec();
            }
            Thing::Rule(rule) => taken.rules.push(rule.clone()),
        }
    }
    Some(taken)
}

/// What is taken or refused by itself.
enum Thing<'a> {
    Table(&'a Table),
    Chain(&'a Chain),
    Object(&'a NamedObject),
    Set(&'a Set),
    Elements(&'a Set, &'a [Element]),
    Rule(&'a Rule),
}

impl Thing<'_> {
    fn add_to(&self, batch: &mut Batch) {
        match self {
            Self::Table(table) => batch.add(*table),
            Self::Chain(chain) => batch.add(*chain),
            Self::Object(object) => batch.add(*object),
            Self::Set(set) => batch.add(*set),
            Self::Elements(set, elements) => batch.add_elements(set, *elements),
            Self::Rule(rule) => batch.add(*rule),
        };
    }
}

/// The table first, everything behind what it refers to.
fn things(wanted: &Wanted) -> Vec<Thing<'_>> {
    let mut things = vec![Thing::Table(&wanted.table)];
    things.extend(wanted.chains.iter().map(Thing::Chain));
    things.extend(wanted.objects.iter().map(Thing::Object));
    for (set, elements) in &wanted.sets {
        things.push(Thing::Set(set));
        if !elements.is_empty() {
            things.push(Thing::Elements(set, elements));
        }
    }
    things.extend(wanted.rules.iter().map(Thing::Rule));
    things
}

/// That something cannot be sent is no refusal.
fn can_be_sent(thing: &Thing<'_>) -> bool {
    let mut batch = Batch::new();
    thing.add_to(&mut batch);
    drop(batch.to_string());
    match batch.messages() {
        Ok(_) => true,
        Err(Error::Invalid(_)) => false,
        Err(error) => panic!("{batch}{error:?}"),
    }
}

/// The operations that the kernel refuses; it takes all or nothing.
fn commit(nft: &mut Nft, batch: &mut Batch) -> Vec<usize> {
    let mut requests = Requests::new();
    for message in batch.messages().unwrap() {
        let (body, flags) = (message.body(), Flags::from_bits_retain(message.flags()));
        requests
            .push(message.kind(), flags, |out| out.fixed(body))
            .unwrap();
    }
    let refused = nft.connection_mut().commit(&mut requests).unwrap();
    let places = refused.iter().map(|(place, _)| place.checked_sub(1));
    places
        .map(|operation| operation.expect("no batch is refused as a whole"))
        .collect()
}

thread_local! {
    /// Told when the run ends: what was sent, and what was taken.
    static COUNTS: RefCell<Counts> = RefCell::default();
}

#[derive(Default)]
struct Counts {
    inputs: u64,
    tables: (u64, u64),
    chains: (u64, u64),
    objects: (u64, u64),
    sets: (u64, u64),
    elements: (u64, u64),
    rules: (u64, u64),
}

impl Counts {
    fn of(&mut self, thing: &Thing<'_>) -> &mut (u64, u64) {
        match thing {
            Thing::Table(_) => &mut self.tables,
            Thing::Chain(_) => &mut self.chains,
            Thing::Object(_) => &mut self.objects,
            Thing::Set(_) => &mut self.sets,
            Thing::Elements(..) => &mut self.elements,
            Thing::Rule(_) => &mut self.rules,
        }
    }
}

impl Drop for Counts {
    fn drop(&mut self) {
        let all = [
            ("tables", self.tables),
            ("chains", self.chains),
            ("objects", self.objects),
            ("sets", self.sets),
            ("lists of elements", self.elements),
            ("rules", self.rules),
        ];
        eprint!("the kernel took, of {} inputs:", self.inputs);
        for (what, (offered, taken)) in all {
            eprint!(" {taken} of {offered} {what};");
        }
        eprintln!();
    }
}
