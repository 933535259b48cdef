//! What the kernel refuses, and how it is told.

use libtest_mimic::Trial;
use tapwire::Error;
use tapwire::error::Part;
use tapwire::nft::{Batch, Chain, DataType, Element, Name, Port, Register, Rule, Set};

use super::{addresses, begin, exposed, host, ports, table};
use crate::support::trials;

pub(super) fn trials() -> Vec<Trial> {
    trials![
        bad_operation_is_named_and_nothing_is_changed,
        bad_element_is_named,
        clash_of_an_element_is_named,
        stale_generation_is_refused,
        latched_fault_is_reported_and_nothing_is_sent,
        failed_batch_can_be_committed_again,
    ]
}

fn bad_operation_is_named_and_nothing_is_changed() {
    let mut nft = begin();
    let chain = Chain::new(&table(), Name::constant("c"));
    let bad = Rule::new(&chain)
        .expression(tapwire::nft::expr::Meta::new(
            Register::FIRST,
            tapwire::nft::expr::MetaKey::MARK,
        ))
        .expression(tapwire::nft::expr::Lookup::new(
            Name::constant("nowhere"),
            Register::FIRST,
        ));
    let mut batch = Batch::new();
    batch.add(&chain).add(&Rule::new(&chain).accept()).add(&bad);
    let error = nft.commit(&mut batch).unwrap_err();
    let Error::Refused { operation, source } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(operation.what(), "add rule inet t c");
    assert_eq!(operation.index(), Some(2));
    assert_eq!(operation.failing_part(), Some(Part::Expression(1)));
    assert!(source.offset().is_some());
    assert!(error.is_not_found());
    assert!(nft.chains(&table()).unwrap().is_empty());
}

fn bad_element_is_named() {
    let mut nft = begin();
    let gone = Set::new(
        &table(),
        Name::constant("addresses"),
        &[DataType::IPV4_ADDR],
    );
    let mut batch = Batch::new();
    batch.add_elements(&gone, [Element::new(host(1))]);
    nft.commit(&mut batch).unwrap();
    batch.add_elements(&gone, [Element::new(host(2))]);
    batch.delete_elements(&gone, [host(1), host(2), host(9)].map(Element::new));
    let error = nft.commit(&mut batch).unwrap_err();
    let Error::Refused { operation, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(
        operation.to_string(),
        "operation 1: delete element inet t addresses, element 2"
    );
    assert_eq!(nft.elements(&gone).unwrap().len(), 1);
}

fn clash_of_an_element_is_named() {
    let mut nft = begin();
    let mut batch = Batch::new();
    batch.add_elements(&ports(), [exposed(80, 2), exposed(81, 2)]);
    nft.commit(&mut batch).unwrap();
    batch.add_elements(&ports(), [exposed(80, 2)]);
    nft.commit(&mut batch).unwrap();
    batch.add_elements(&ports(), [exposed(82, 3), exposed(80, 3)]);
    let error = nft.commit(&mut batch).unwrap_err();
    assert!(error.is_exists());
    assert_eq!(
        error.to_string(),
        "operation 0: add element inet t ports, element 1"
    );
}

fn stale_generation_is_refused() {
    let mut nft = begin();
    let generation = nft.generation().unwrap();
    let mut batch = Batch::new();
    batch
        .based_on(generation)
        .add_elements(&addresses(), [Element::new(host(1))]);
    nft.commit(&mut batch).unwrap();
    batch
        .add_elements(&addresses(), [Element::new(host(2))])
        .based_on(generation);
    let error = nft.commit(&mut batch).unwrap_err();
    assert!(
        matches!(error, Error::Stale { generation: stale } if stale == generation),
        "{error:?}"
    );
    assert_eq!(nft.elements(&addresses()).unwrap().len(), 1);
    let generation = nft.generation().unwrap();
    batch.based_on(generation);
    nft.commit(&mut batch).unwrap();
    assert_eq!(nft.elements(&addresses()).unwrap().len(), 2);
}

fn latched_fault_is_reported_and_nothing_is_sent() {
    let mut nft = begin();
    let generation = nft.generation().unwrap();
    let mut batch = Batch::new();
    batch.add_elements(&addresses(), [Element::new(host(1))]);
    batch.add_elements(&addresses(), [Element::new(Port(1))]);
    assert!(matches!(
        nft.commit(&mut batch).unwrap_err(),
        Error::Invalid(_)
    ));
    batch.clear();
    let chain = Chain::new(&table(), Name::constant("c"));
    batch
        .add(&chain)
        .add(&Rule::new(&chain).lookup(&[tapwire::nft::ip6::saddr()], &addresses()));
    assert!(matches!(
        nft.commit(&mut batch).unwrap_err(),
        Error::Invalid(_)
    ));
    assert_eq!(nft.generation().unwrap(), generation);
}

fn failed_batch_can_be_committed_again() {
    let mut nft = begin();
    let mut batch = Batch::new();
    batch.delete_elements(&addresses(), [Element::new(host(1))]);
    nft.commit(&mut batch).unwrap_err();
    let mut other = Batch::new();
    other.add_elements(&addresses(), [Element::new(host(1)), Element::new(host(2))]);
    nft.commit(&mut other).unwrap();
    batch.delete_elements(&addresses(), [Element::new(host(2))]);
    assert_eq!(batch.len(), 2);
    nft.commit(&mut batch).unwrap();
    assert!(nft.elements(&addresses()).unwrap().is_empty());
}
