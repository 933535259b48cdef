//! What the kernel refuses, and how it is told.

use libtest_mimic::Trial;
use tapwire::Error;
use tapwire::error::Part;
use tapwire::nft::expr::Counter;
use tapwire::nft::{
    Batch, Chain, DataType, Element, Family, Name, NamedObject, Port, Register, Rule, Set, Table,
};

use super::{addresses, begin, exposed, host, ports, table};
use crate::support::trials;

pub(super) fn trials() -> Vec<Trial> {
    // Linux 6.1 does not say that the set of an element is what is missing.
    let blames = trials![needs ["Linux 6.18"]:
        each_operation_names_what_the_kernel_blames,
    ];
    let others = trials![
        bad_operation_is_named_and_nothing_is_changed,
        bad_element_is_named,
        clash_of_an_element_is_named,
        stale_generation_is_refused,
        latched_fault_is_reported_and_nothing_is_sent,
        failed_batch_can_be_committed_again,
    ];
    [blames, others].into_iter().flatten().collect()
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

/// The part is a name, a handle, an expression or an element of the one
/// operation that is refused.
fn each_operation_names_what_the_kernel_blames() {
    let mut nft = begin();
    let absent = Name::constant("absent");
    let other = Table::new(Family::INET, absent.clone());
    let chain = Chain::new(&table(), absent.clone());
    let set = Set::new(&table(), absent.clone(), &[DataType::IPV4_ADDR]);
    let object = NamedObject::new(&table(), absent, Counter::new());
    let element = Element::new(host(1));
    let (name, handle) = (Part::Attribute, Part::Attribute);
    let unknown = Rule::new(&chain).accept();
    let mut judge = |what: &str, part: Part, write: &dyn Fn(&mut Batch)| {
        let mut batch = Batch::new();
        write(&mut batch);
        let error = nft.commit(&mut batch).unwrap_err();
        let Error::Refused { operation, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(operation.what(), what);
        assert_eq!(operation.failing_part(), Some(part), "{what}");
    };
    judge("delete table inet absent", name(1), &|batch| {
        batch.delete(&other);
    });
    judge("add chain inet absent c", name(1), &|batch| {
        batch.add(&Chain::new(&other, Name::constant("c")));
    });
    judge("delete chain inet t absent", name(3), &|batch| {
        batch.delete(&chain);
    });
    judge(
        "delete chain inet t absent handle 99",
        handle(2),
        &|batch| {
            batch.delete_by_handle(&chain.clone().with_handle(99));
        },
    );
    judge("add rule inet t absent", name(2), &|batch| {
        batch.add(&unknown);
    });
    judge("delete set inet t absent", name(2), &|batch| {
        batch.delete(&set);
    });
    judge("delete set inet t absent handle 99", handle(16), &|batch| {
        batch.delete_by_handle(&set.clone().with_handle(99));
    });
    judge("create set inet t ports", name(2), &|batch| {
        batch.create(&ports());
    });
    judge("delete counter inet t absent", name(2), &|batch| {
        batch.delete(&object);
    });
    judge(
        "delete counter inet t absent handle 99",
        handle(6),
        &|batch| {
            batch.delete_by_handle(&object.clone().with_handle(99));
        },
    );
    judge("add element inet t absent", name(2), &|batch| {
        batch.add_elements(&set, [&element]);
    });
    judge(
        "delete element inet t addresses",
        Part::Element(0),
        &|batch| {
            batch.delete_elements(&addresses(), [&element]);
        },
    );
    judge(
        "create element inet t addresses",
        Part::Element(2),
        &|batch| {
            let twice = [host(2), host(3), host(2)].map(Element::new);
            batch.create_elements(&addresses(), twice);
        },
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
