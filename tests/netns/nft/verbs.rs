//! Single things, what was counted, `destroy` in its two ways.

use libtest_mimic::Trial;
use tapwire::Error;
use tapwire::nft::expr::{Counter, Expr};
use tapwire::nft::{Batch, Chain, DataType, Element, Family, NamedObject, ObjectType, Rule, Set};

use super::{addresses, begin, host, name, table};
use crate::support::trials;
use crate::world::{SOON, within};

pub(super) fn trials() -> Vec<Trial> {
    let resets = trials![needs ["Linux 6.5"]:
        reset_tells_what_was_counted_once,
    ];
    let alone = trials![
        single_things_are_found_by_their_names,
        destroy_works_without_its_messages,
        destroy_without_its_messages_meets_elements_that_go_by_themselves,
        emulated_destroy_blames_the_original_operation,
    ];
    [resets, alone].into_iter().flatten().collect()
}

fn single_things_are_found_by_their_names() {
    let mut nft = begin();
    let chain = Chain::new(&table(), name("c"));
    let object = NamedObject::new(&table(), name("seen"), Counter::new());
    let mut batch = Batch::new();
    batch
        .add(&chain)
        .add(&object)
        .add(&Rule::new(&chain).accept());
    nft.commit(&mut batch).unwrap();
    assert!(
        nft.table(Family::INET, &name("t"))
            .unwrap()
            .unwrap()
            .is_same(&table())
    );
    assert_eq!(nft.table(Family::IP, &name("t")).unwrap(), None);
    assert!(
        nft.chain(&table(), &name("c"))
            .unwrap()
            .unwrap()
            .is_same(&chain)
    );
    assert_eq!(nft.chain(&table(), &name("d")).unwrap(), None);
    assert!(nft.set(&table(), &name("addresses")).unwrap().is_some());
    assert_eq!(nft.set(&table(), &name("none")).unwrap(), None);
    let found = nft
        .object(&table(), ObjectType::COUNTER, &name("seen"))
        .unwrap();
    assert!(found.unwrap().is_same(&object));
    assert_eq!(
        nft.object(&table(), ObjectType::QUOTA, &name("seen"))
            .unwrap(),
        None
    );
    let rule = nft.rules(&chain).unwrap().remove(0);
    let handle = rule.handle().unwrap();
    assert!(nft.rule(&chain, handle).unwrap().unwrap().is_same(&rule));
    assert_eq!(nft.rule(&chain, handle + 1000).unwrap(), None);
}

fn reset_tells_what_was_counted_once() {
    let mut nft = begin();
    let chain = Chain::new(&table(), name("c"));
    let counter = || Counter::new().with_packets(5).with_bytes(6);
    let object = NamedObject::new(&table(), name("seen"), counter());
    let counts = tapwire::nft::Counts::new(5, 6);
    let mut batch = Batch::new();
    batch
        .add(&chain)
        .add(&object)
        .add(&Rule::new(&chain).expression(counter()));
    batch.add_elements(
        &addresses(),
        [1, 2].map(|number| Element::new(host(number)).counter(counts)),
    );
    nft.commit(&mut batch).unwrap();

    let found = |object: Option<NamedObject>| object.unwrap().state().clone();
    let state = found(
        nft.reset_object(&table(), ObjectType::COUNTER, &name("seen"))
            .unwrap(),
    );
    assert_eq!(state, counter().into());
    let state = nft.reset_objects(&table(), None).unwrap().remove(0);
    assert_eq!(*state.state(), Counter::new().into());
    let expressions = |rules: Vec<Rule>| rules[0].expressions().to_vec();
    assert_eq!(
        expressions(nft.reset_rules(&chain).unwrap()),
        [Expr::from(counter())]
    );
    assert_eq!(
        expressions(nft.rules(&chain).unwrap()),
        [Expr::from(Counter::new())]
    );
    let one = nft.reset_element(&addresses(), host(1)).unwrap().unwrap();
    assert_eq!(one.counts(), Some(counts));
    let mut packets: Vec<u64> = nft
        .reset_elements(&addresses())
        .unwrap()
        .iter()
        .map(|element| element.counts().unwrap().packets)
        .collect();
    packets.sort_unstable();
    assert_eq!(packets, [0, 5]);
    let element = nft.get_element(&addresses(), host(2)).unwrap().unwrap();
    assert_eq!(element.counts().unwrap().packets, 0);
}

/// What times out while it is looked for does so in no generation.
fn destroy_without_its_messages_meets_elements_that_go_by_themselves() {
    let mut nft = begin();
    nft.without_destroy();
    let waning = Set::new(&table(), name("waning"), &[DataType::IPV4_ADDR]).timeout(60_000);
    let mut batch = Batch::new();
    batch.add(&waning);
    nft.commit(&mut batch).unwrap();
    for _ in 0..40 {
        let hosts = || (0..100).map(|number| Element::new(host(number)));
        let waning_hosts = || {
            (0..100).map(|number| Element::new(host(number)).timeout(u64::from(number % 20) + 1))
        };
        // A set without a size is busy while the kernel lays out a larger one.
        let added = within(SOON, |_| {
            batch.clear();
            batch.add_elements(&waning, waning_hosts());
            let added = nft.commit(&mut batch);
            Some(added).filter(|it| !it.as_ref().is_err_and(Error::is_busy))
        });
        added.expect("not busy for ever").unwrap();
        batch.destroy_elements(&waning, hosts());
        nft.commit(&mut batch).unwrap();
    }
}

fn destroy_works_without_its_messages() {
    for emulated in [false, true] {
        let mut nft = begin();
        if emulated {
            nft.without_destroy();
        }
        let chain = Chain::new(&table(), name("c"));
        let object = NamedObject::new(&table(), name("seen"), Counter::new());
        // One that is there, one that is not, and the first again.
        let elements = [1, 2, 1].map(|number| Element::new(host(number)));
        let mut batch = Batch::new();
        batch
            .add(&chain)
            .add(&object)
            .add(&Rule::new(&chain).accept());
        batch.add_elements(&addresses(), &elements[..1]);
        nft.commit(&mut batch).unwrap();
        let rule = nft.rules(&chain).unwrap().remove(0);
        // Twice: all there, and all gone.
        for _ in 0..2 {
            batch.destroy(&rule).destroy(&object);
            batch.destroy_elements(&addresses(), &elements);
            nft.commit(&mut batch).unwrap();
            assert!(nft.rules(&chain).unwrap().is_empty());
            assert!(nft.objects(&table(), None).unwrap().is_empty());
            assert!(nft.elements(&addresses()).unwrap().is_empty());
        }
        for _ in 0..2 {
            batch.destroy(&addresses()).destroy(&chain);
            nft.commit(&mut batch).unwrap();
            assert!(nft.chains(&table()).unwrap().is_empty());
            assert_eq!(nft.sets(&table()).unwrap().len(), 1);
        }
        for _ in 0..2 {
            batch.destroy(&table());
            nft.commit(&mut batch).unwrap();
            assert!(nft.tables().unwrap().is_empty());
        }
    }
}

fn emulated_destroy_blames_the_original_operation() {
    let mut nft = begin();
    nft.without_destroy();
    let mut batch = Batch::new();
    batch
        .destroy(&Chain::new(&table(), name("c")))
        .destroy(&addresses());
    batch.delete(&Chain::new(&table(), name("absent")));
    let error = nft.commit(&mut batch).unwrap_err();
    let Error::Refused { operation, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(operation.what(), "delete chain inet t absent");
    assert_eq!(operation.index(), Some(2));
    assert!(
        nft.set(&table(), addresses().name()).unwrap().is_some(),
        "nothing has changed"
    );
}
