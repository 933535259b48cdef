//! Installing an exposure takes no memory from the heap on a handle that has
//! done the like before, nor does writing a rule or an element to such a batch.
//!
//! A program of its own, since what counts the allocations replaces the
//! program's allocator.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

#[expect(dead_code, reason = "no other program judges here")]
#[path = "netns/support.rs"]
mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::process::ExitCode;

use libtest_mimic::Arguments;
use tapwire::nft::{
    Batch, Chain, Comment, Counts, DataType, Element, Family, Name, Port, Rule, Set, Table, meta,
    tcp,
};
use tapwire::recording;
use tapwire::{Exposure, Flows, Guest, Host, IfName, Owner, Protocol};

use support::trials;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if !arguments.list
        && let Err(sentence) = support::gain_rights()
    {
        eprintln!("{sentence}");
        return ExitCode::FAILURE;
    }
    let trials = trials![
        exposure_on_a_warm_handle_allocates_nothing,
        exposure_comes_moves_and_goes_in_one_message_each,
        clash_is_found_by_one_question,
        thousand_exposures_on_a_warm_handle_allocate_nothing,
        memory_grows_rarely_as_exposures_come_one_by_one,
        rule_on_a_warm_batch_allocates_nothing,
        element_on_a_warm_batch_allocates_nothing,
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn exposure_on_a_warm_handle_allocates_nothing() {
    let (mut host, exposures) = host(8080..8082);
    let [first, further] = exposures.as_slice() else {
        panic!("not two exposures");
    };
    host.expose(first).unwrap();
    let allocations = count(|| host.expose(further).unwrap());
    assert_eq!(allocations, 0);
}

fn exposure_comes_moves_and_goes_in_one_message_each() {
    let (mut host, exposures) = host(8080..8082);
    let [first, further] = exposures.as_slice() else {
        panic!("not two exposures");
    };
    host.expose(first).unwrap();
    host.withdraw(first, Flows::Drain).unwrap();
    let ((), sent) = recording::record(|| host.expose(first).unwrap());
    assert_eq!(sent.len(), 1);
    let ((), sent) = recording::record(|| host.repoint(first, further, Flows::Drain).unwrap());
    assert_eq!(sent.len(), 1);
    let ((), sent) = recording::record(|| host.withdraw(further, Flows::Drain).unwrap());
    assert_eq!(sent.len(), 1);
    host.expose(first).unwrap();
    let allocations = count(|| host.withdraw(first, Flows::Drain).unwrap());
    assert_eq!(allocations, 0);
}

fn clash_is_found_by_one_question() {
    let (mut host, exposures) = host(8080..8081);
    host.expose_all(&exposures).unwrap();
    let other = host.attach(&Guest::new("other").unwrap()).unwrap();
    let target = SocketAddr::new(other.ipv4().into(), 80);
    let taken = Exposure::new(Protocol::Tcp, 8080, target).unwrap();
    let (refused, sent) = recording::record(|| host.expose(&taken));
    assert!(refused.unwrap_err().to_string().contains("hello-world"));
    assert_eq!(sent.len(), 1);
}

fn thousand_exposures_on_a_warm_handle_allocate_nothing() {
    let (mut host, exposures) = host(8000..9000);
    host.expose_all(&exposures).unwrap();
    for exposure in &exposures {
        host.withdraw(exposure, Flows::Drain).unwrap();
    }
    let allocations = count(|| host.expose_all(&exposures).unwrap());
    assert_eq!(allocations, 0);
}

fn memory_grows_rarely_as_exposures_come_one_by_one() {
    let (mut host, exposures) = host(8000..9000);
    let allocations = count(|| {
        for exposure in &exposures {
            host.expose(exposure).unwrap();
        }
    });
    // What a handle remembers doubles in size from 4 to 1 024.
    assert!(allocations < 16, "{allocations} allocations");
}

fn rule_on_a_warm_batch_allocates_nothing() {
    let chain = Chain::new(&table(), Name::constant("prerouting"));
    let rule = Rule::new(&chain)
        .matching(meta::iifname().equal(IfName::new("eth0").unwrap()))
        .matching(tcp::dport().equal(Port(8080)))
        .dnat(GUEST.into(), Some(Port(80)));
    let mut batch = Batch::new();
    batch.add(&rule).encode(0).unwrap();
    batch.clear();
    let allocations = count(|| {
        batch.add(&rule).encode(0).unwrap();
    });
    assert_eq!((batch.len(), allocations), (1, 0));
}

fn element_on_a_warm_batch_allocates_nothing() {
    let key = [DataType::IPV4_ADDR, DataType::INET_SERVICE];
    let map = Set::map(&table(), Name::constant("dnat4"), &key, &key);
    let mut batch = Batch::new();
    let mut add = || {
        let element = Element::new((Ipv4Addr::LOCALHOST, Port(8080)))
            .data((GUEST, Port(80)))
            .comment(Comment::constant("hello-world"))
            .counter(Counts::default());
        batch.clear();
        batch.add_elements(&map, [element]).encode(0).unwrap();
    };
    add();
    assert_eq!(count(add), 0);
}

fn table() -> Table {
    Table::new(Family::INET, Name::constant("riklet"))
}

const GUEST: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 2);

/// A host in the thread's namespace, and exposures of its guest.
fn host(ports: Range<u16>) -> (Host, Vec<Exposure>) {
    let mut host = Host::open(Owner::new("riklet").unwrap()).unwrap();
    let guest = host.attach(&Guest::new("hello-world").unwrap()).unwrap();
    let target = SocketAddr::new(guest.ipv4().into(), 80);
    let exposure = |port| Exposure::new(Protocol::Tcp, port, target).unwrap();
    (host, ports.map(exposure).collect())
}

fn count(work: impl FnOnce()) -> u64 {
    allocation_counter::measure(work).count_total
}
