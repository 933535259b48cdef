//! What the kernel or the batch numbers: objects deleted by their handles,
//! rules placed and deleted by their numbers within the batch.

use libtest_mimic::Trial;
use tapwire::nft::expr::Counter;
use tapwire::nft::{
    Batch, Chain, Comment, DataType, Family, Flowtable, Name, NamedObject, Nft, Rule, Set, Table,
};
use tapwire::{Error, IfName};

use super::{addresses, begin, table};
use crate::support::trials;

pub(super) fn trials() -> Vec<Trial> {
    trials![
        each_kind_is_deleted_by_its_handle,
        object_of_the_same_name_is_not_deleted_by_the_old_handle,
        deletion_by_handle_wants_one,
        rules_are_placed_next_to_others_of_their_batch,
        rule_of_the_same_batch_is_deleted_by_its_number,
        number_of_no_rule_is_refused,
    ]
}

fn each_kind_is_deleted_by_its_handle() {
    let mut nft = begin();
    let chain = Chain::new(&table(), Name::constant("c"));
    let object = NamedObject::new(&table(), Name::constant("o"), Counter::new());
    let lo = IfName::new("lo").unwrap();
    let flowtable = Flowtable::new(&table(), Name::constant("f"), 0).device(lo);
    let mut batch = Batch::new();
    batch.add(&chain).add(&object).add(&flowtable);
    let rule = Rule::new(&chain).counter();
    batch.add(&rule);
    let offloads = nft.commit(&mut batch).is_ok();
    if !offloads {
        // Not every kernel has flowtables.
        batch.clear();
        batch.add(&chain).add(&object).add(&rule);
        nft.commit(&mut batch).unwrap();
    }
    let rules = nft.rules(&chain).unwrap();
    let chains = nft.chains(&table()).unwrap();
    let set = nft.set(&table(), addresses().name()).unwrap().unwrap();
    let objects = nft.objects(&table(), None).unwrap();
    let flowtables = nft.flowtables(&table()).unwrap();
    assert_eq!(flowtables.len(), usize::from(offloads));
    batch.clear();
    // The number counts, whatever the name says.
    let renamed = Set::new(&table(), Name::constant("no_such"), &[DataType::IPV4_ADDR]);
    batch
        .delete_by_handle(&rules[0])
        .delete_by_handle(&chains[0])
        .delete_by_handle(&renamed.with_handle(set.handle().unwrap()))
        .delete_by_handle(&objects[0]);
    for flowtable in &flowtables {
        batch.delete_by_handle(flowtable);
    }
    let words = batch.describe(1).unwrap();
    let handle = chains[0].handle().unwrap();
    assert_eq!(words, format!("delete chain inet t c handle {handle}"));
    nft.commit(&mut batch).unwrap();
    assert!(nft.chains(&table()).unwrap().is_empty());
    assert!(nft.objects(&table(), None).unwrap().is_empty());
    assert!(nft.flowtables(&table()).unwrap().is_empty());
    assert_eq!(nft.sets(&table()).unwrap().len(), 1, "only the map is left");
    let listed = nft.table(Family::INET, table().name()).unwrap().unwrap();
    let other = Table::new(Family::INET, Name::constant("no_such"));
    batch.clear();
    batch.delete_by_handle(&other.with_handle(listed.handle().unwrap()));
    nft.commit(&mut batch).unwrap();
    assert!(nft.tables().unwrap().is_empty());
}

fn object_of_the_same_name_is_not_deleted_by_the_old_handle() {
    let mut nft = begin();
    let chain = Chain::new(&table(), Name::constant("c"));
    let mut batch = Batch::new();
    nft.commit(batch.add(&chain)).unwrap();
    let old = nft.chain(&table(), chain.name()).unwrap().unwrap();
    batch.clear();
    nft.commit(batch.delete(&chain).add(&chain)).unwrap();
    batch.clear();
    let error = nft.commit(batch.delete_by_handle(&old)).unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(nft.chain(&table(), chain.name()).unwrap().is_some());
}

fn deletion_by_handle_wants_one() {
    let mut nft = begin();
    let mut batch = Batch::new();
    batch.delete_by_handle(&addresses());
    let error = nft.commit(&mut batch).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
}

fn rules_are_placed_next_to_others_of_their_batch() {
    let mut nft = begin();
    let chain = Chain::new(&table(), Name::constant("c"));
    let rule = |text| {
        let comment = Comment::constant(text);
        Rule::new(&chain).counter().comment(comment)
    };
    let mut batch = Batch::new();
    batch
        .add(&chain)
        .add(&rule("one").with_id(7))
        .add(&rule("four").with_id(8))
        .add(&rule("two").at_id(7))
        .insert(&rule("three").at_id(8));
    nft.commit(&mut batch).unwrap();
    assert_eq!(comments(&mut nft, &chain), ["one", "two", "three", "four"]);
    // A rule that replaces another has a number as well.
    let first = nft.rules(&chain).unwrap()[0].handle().unwrap();
    batch.clear();
    batch
        .replace(&rule("first").with_handle(first).with_id(9))
        .add(&rule("second").at_id(9));
    nft.commit(&mut batch).unwrap();
    let wanted = ["first", "second", "two", "three", "four"];
    assert_eq!(comments(&mut nft, &chain), wanted);
}

fn rule_of_the_same_batch_is_deleted_by_its_number() {
    let mut nft = begin();
    let chain = Chain::new(&table(), Name::constant("c"));
    let rule = |text| Rule::new(&chain).comment(Comment::constant(text));
    let mut batch = Batch::new();
    batch
        .add(&chain)
        .add(&rule("kept"))
        .add(&rule("gone").with_id(7))
        .delete(&rule("gone").with_id(7));
    assert_eq!(batch.describe(3).as_deref(), Some("delete rule inet t c"));
    nft.commit(&mut batch).unwrap();
    assert_eq!(comments(&mut nft, &chain), ["kept"]);
}

fn number_of_no_rule_is_refused() {
    let mut nft = begin();
    let chain = Chain::new(&table(), Name::constant("c"));
    let mut batch = Batch::new();
    batch.add(&chain).add(&Rule::new(&chain).at_id(7));
    let error = nft.commit(&mut batch).unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert!(nft.chains(&table()).unwrap().is_empty());
}

fn comments(nft: &mut Nft, chain: &Chain) -> Vec<String> {
    let rules = nft.rules(chain).unwrap();
    let comment = |rule: &Rule| rule.current_comment().map(ToString::to_string);
    rules.iter().filter_map(comment).collect()
}
