//! Batches against the kernel, with `nft` as the judge.

mod corpus;
mod events;
mod kinds;
mod numbers;
mod objects;
mod print;
mod refusals;
mod ruleset;
pub(crate) mod stock;
mod verbs;

use std::collections::HashSet;
use std::net::Ipv4Addr;

use libtest_mimic::Trial;
use netlink_packet_core::NetlinkSerializable;
use tapwire::conn::{Connection, Requests};
use tapwire::nft::expr::Limit;
use tapwire::nft::{
    Batch, Chain, Comment, Counts, DataType, Element, Expr, Family, L4Proto, Name, Nft, Port, Rule,
    Set, Table, Verdict,
};
use tapwire::wire::Flags;
use tapwire::wire::uapi::nf_tables_expr::NFT_LIMIT_F_INV;

use self::ruleset::Layout;
use crate::support::{feed, run, trials};

pub(crate) fn trials() -> Vec<Trial> {
    let judged = trials![needs ["nft"]:
        ruleset_reads_in_nft_as_its_text_does,
        listing_loads_again_unchanged,
        listed_rules_are_the_ones_that_were_added,
        comments_and_counters_of_elements_are_seen_by_nft,
        verdict_maps_hold_chains,
        ranges_and_limits_are_seen_by_nft,
        handed_over_messages_commit_as_well,
        foreign_names_are_listed,
        printed_ruleset_loads_with_its_counts,
    ];
    let corpus =
        trials![needs ["nft", "ip"]: corpus_tables_are_copied, corpus_prints_as_nft_lists_it];
    let alone = trials![
        hundred_thousand_elements_go_through,
        element_is_found_by_its_key,
        destroy_of_the_absent_is_no_error,
    ];
    [
        judged,
        corpus,
        alone,
        events::trials(),
        kinds::trials(),
        numbers::trials(),
        objects::trials(),
        refusals::trials(),
        verbs::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn corpus_prints_as_nft_lists_it() {
    print::rulesets_print_as_nft_lists_them();
}

fn printed_ruleset_loads_with_its_counts() {
    print::printed_ruleset_loads_with_its_counts();
}

fn corpus_tables_are_copied() {
    corpus::copied_tables_are_listed_as_the_same();
}

const TEXT: &str = include_str!("../../testdata/ruleset.nft");

fn table() -> Table {
    Table::new(Family::INET, Name::constant("t"))
}

fn name(name: &'static str) -> Name {
    Name::constant(name)
}

fn addresses() -> Set {
    Set::new(
        &table(),
        Name::constant("addresses"),
        &[DataType::IPV4_ADDR],
    )
    .counter()
}

fn ports() -> Set {
    let key = [DataType::INET_PROTO, DataType::INET_SERVICE];
    Set::map(
        &table(),
        Name::constant("ports"),
        &key,
        &[DataType::IPV4_ADDR, DataType::INET_SERVICE],
    )
}

fn exposed(port: u16, guest: u8) -> Element {
    Element::new((L4Proto::TCP, Port(port))).data((Ipv4Addr::new(172, 16, 0, guest), Port(80)))
}

fn host(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 | number)
}

/// Commits a table with [`addresses`] and [`ports`].
fn begin() -> Nft {
    let mut nft = Nft::open().unwrap();
    let mut batch = Batch::new();
    batch.add(&table()).add(&addresses()).add(&ports());
    nft.commit(&mut batch).unwrap();
    nft
}

fn listing(family: &str, table: &str) -> String {
    run("nft", &["list", "table", family, table])
}

/// The lines of a listing, those of a list in braces in one order: the kernel
/// lists a hash in any.
fn lines(listing: &str) -> Vec<String> {
    let sorted = |line: &str| match (line.split_once("{ "), line.rsplit_once(" }")) {
        (Some((head, rest)), Some((_, tail))) if rest.contains(", ") => {
            let inside = rest
                .strip_suffix(tail)
                .and_then(|rest| rest.strip_suffix(" }"))
                .unwrap();
            let mut items: Vec<_> = inside.split(", ").collect();
            items.sort_unstable();
            format!("{head}{{ {} }}{tail}", items.join(", "))
        }
        _ => line.to_owned(),
    };
    listing.lines().map(sorted).collect()
}

fn ruleset_reads_in_nft_as_its_text_does() {
    feed("nft", &["-f", "-"], TEXT);
    let mut layout = Layout::new("built");
    Nft::open().unwrap().commit(&mut layout.batch).unwrap();
    for family in ["inet", "arp"] {
        let wanted = listing(family, "judge").replace("judge", "built");
        let found = listing(family, "built");
        for (wanted, found) in lines(&wanted).iter().zip(lines(&found)) {
            assert_eq!(*wanted, found);
        }
        assert_eq!(wanted.lines().count(), found.lines().count());
    }
}

fn listing_loads_again_unchanged() {
    let mut layout = Layout::new("built");
    Nft::open().unwrap().commit(&mut layout.batch).unwrap();
    let before = run("nft", &["list", "ruleset"]);
    run("nft", &["flush", "ruleset"]);
    feed("nft", &["-f", "-"], &before);
    assert_eq!(lines(&run("nft", &["list", "ruleset"])), lines(&before));
}

fn listed_rules_are_the_ones_that_were_added() {
    let mut nft = Nft::open().unwrap();
    let mut layout = Layout::new("built");
    let sent = layout.batch.to_string();
    nft.commit(&mut layout.batch).unwrap();
    let inet = nft
        .tables()
        .unwrap()
        .into_iter()
        .find(|table| table.family() == Family::INET)
        .unwrap();
    let chains = nft.chains(&inet).unwrap();
    let before = run("nft", &["list", "table", "inet", "built"]);
    // What was listed is written once more, into emptied chains.
    let mut batch = Batch::new();
    let mut rules = Vec::new();
    for chain in &chains {
        let listed = nft.rules(chain).unwrap();
        assert!(!listed.is_empty(), "{chain:?}");
        rules.extend(listed);
    }
    let sent_rules = sent
        .lines()
        .filter(|line| line.starts_with("add rule inet"))
        .count();
    assert_eq!(rules.len(), sent_rules);
    let plain = |rule: &Rule| {
        rule.expressions().iter().all(|expression| !matches!(expression, Expr::Lookup(lookup) if lookup.set().as_str().starts_with("__")))
    };
    for rule in rules.iter().filter(|rule| plain(rule)) {
        batch.replace(rule);
    }
    nft.commit(&mut batch).unwrap();
    assert_eq!(
        lines(&run("nft", &["list", "table", "inet", "built"])),
        lines(&before)
    );
}

fn comments_and_counters_of_elements_are_seen_by_nft() {
    let mut nft = begin();
    let mut batch = Batch::new();
    let element = Element::new(host(1))
        .comment(Comment::new("first; host").unwrap())
        .counter(Counts::new(7, 420));
    batch.add_elements(&addresses(), [&element]);
    batch.add_elements(
        &ports(),
        [exposed(8080, 2).comment(Comment::new("web").unwrap())],
    );
    nft.commit(&mut batch).unwrap();
    let text = listing("inet", "t");
    assert!(
        text.contains("10.0.0.1 counter packets 7 bytes 420 comment \"first; host\""),
        "{text}"
    );
    assert!(
        text.contains("tcp . 8080 comment \"web\" : 172.16.0.2 . 80"),
        "{text}"
    );
    assert_eq!(nft.elements(&addresses()).unwrap(), [element]);
}

fn verdict_maps_hold_chains() {
    let mut nft = begin();
    let chain = Chain::new(&table(), Name::constant("slow"));
    let map = Set::verdict_map(&table(), Name::constant("limits"), &[DataType::IPV4_ADDR]);
    let mut batch = Batch::new();
    let element = Element::new(host(1)).data(Verdict::Goto(chain.name().clone()));
    batch.add(&chain).add(&map).add_elements(&map, [&element]);
    nft.commit(&mut batch).unwrap();
    assert!(listing("inet", "t").contains("elements = { 10.0.0.1 : goto slow }"));
    assert_eq!(nft.elements(&map).unwrap(), [element]);
}

fn ranges_and_limits_are_seen_by_nft() {
    let mut nft = begin();
    let key = [DataType::INET_PROTO, DataType::INET_SERVICE];
    let ranges = Set::new(&table(), Name::constant("ranges"), &key).interval();
    let nets = Set::new(&table(), Name::constant("nets"), &[DataType::IPV4_ADDR]).interval();
    let rates = Set::new(&table(), Name::constant("rates"), &[DataType::IPV4_ADDR])
        .dynamic()
        .size(64);
    let limit = Limit::new(10, 1).with_burst(5).with_flags(NFT_LIMIT_F_INV);
    let range = Element::new((L4Proto::TCP, Port(1000))).to((L4Proto::TCP, Port(2000)));
    let rate = Element::new(host(1)).expression(limit);
    let mut batch = Batch::new();
    batch.add(&ranges).add(&nets).add(&rates);
    batch.add_elements(&ranges, [&range]);
    batch.add_elements(&rates, [&rate]);
    let wanted = ["10.0.0.0/8", "255.0.0.0/8", "0.0.0.0/8"].map(|net| net.parse().unwrap());
    batch.add_elements(&nets, Element::networks(wanted));
    nft.commit(&mut batch).unwrap();
    let text = listing("inet", "t");
    assert!(text.contains("{ tcp . 1000-2000 }"), "{text}");
    assert!(
        text.contains("10.0.0.1 limit rate over 10/second"),
        "{text}"
    );
    let items = text.replace(char::is_whitespace, "");
    assert!(
        items.contains("elements={0.0.0.0/8,10.0.0.0/8,255.0.0.0/8}"),
        "{text}"
    );
    assert_eq!(nft.elements(&ranges).unwrap(), [range]);
    assert_eq!(nft.elements(&rates).unwrap(), [rate]);
}

fn handed_over_messages_commit_as_well() {
    let mut connection = Connection::netfilter().unwrap();
    let mut batch = Batch::new();
    batch.add(&table()).add(&addresses());
    let mut requests = Requests::new();
    for message in batch.messages().unwrap() {
        let flags = Flags::from_bits_retain(message.flags());
        let pushed = requests.push(message.message_type(), flags, |out| {
            out.fill(message.buffer_len(), |bytes| message.serialize(bytes));
        });
        pushed.unwrap();
    }
    assert!(connection.commit(&mut requests).unwrap().is_empty());
    assert!(listing("inet", "t").contains("set addresses"));
}

fn foreign_names_are_listed() {
    let mut nft = begin();
    feed(
        "nft",
        &["-f", "-"],
        "table ip6 other { set s { type mark; elements = { 0x7 }; }; chain c { }; }",
    );
    let tables = nft.tables().unwrap();
    let other = tables
        .iter()
        .find(|table| *table.name() == "other")
        .unwrap();
    assert_eq!(other.family(), Family::IP6);
    let sets = nft.sets(other).unwrap();
    assert_eq!(sets.len(), 1);
    assert_eq!(sets[0].key().to_string(), "mark");
    assert_eq!(nft.elements(&sets[0]).unwrap().len(), 1);
    assert_eq!(nft.chains(other).unwrap().len(), 1);
}

fn hundred_thousand_elements_go_through() {
    let mut nft = begin();
    let mut batch = Batch::new();
    let comment = Comment::constant("one of many");
    batch.add_elements(
        &addresses(),
        (1..=100_000).map(|number| Element::new(host(number)).comment(comment)),
    );
    assert!(batch.len() > 10, "{} messages", batch.len());
    nft.commit(&mut batch).unwrap();
    let elements = nft.elements(&addresses()).unwrap();
    assert_eq!(elements.len(), 100_000);
    let distinct: HashSet<_> = elements.iter().map(Element::key).collect();
    assert_eq!(distinct.len(), 100_000);
    assert!(
        elements
            .iter()
            .all(|element| element.current_comment() == Some(&comment))
    );
    batch.destroy_elements(&addresses(), &elements);
    nft.commit(&mut batch).unwrap();
    assert_eq!(nft.elements(&addresses()).unwrap().len(), 0);
}

fn element_is_found_by_its_key() {
    let mut nft = begin();
    let mut batch = Batch::new();
    batch.add_elements(&ports(), [exposed(80, 2)]);
    nft.commit(&mut batch).unwrap();
    assert_eq!(
        nft.get_element(&ports(), (L4Proto::TCP, Port(80))).unwrap(),
        Some(exposed(80, 2))
    );
    assert_eq!(
        nft.get_element(&ports(), (L4Proto::UDP, Port(80))).unwrap(),
        None
    );
}

fn destroy_of_the_absent_is_no_error() {
    let mut nft = begin();
    let mut batch = Batch::new();
    batch.destroy_elements(&addresses(), [Element::new(host(1))]);
    batch
        .destroy(&Chain::new(&table(), Name::constant("none")))
        .destroy(&addresses())
        .destroy(&table())
        .destroy(&table());
    nft.commit(&mut batch).unwrap();
    assert!(nft.tables().unwrap().is_empty());
    batch.delete(&table());
    assert!(nft.commit(&mut batch).unwrap_err().is_not_found());
}
