//! What a distribution's kernel has and a small one may lack: flowtables,
//! queues, VLANs, matches on bridges, security marks.
//!
//! `tests/other-kernel` runs these; nowhere else are they listed.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::thread;

use libtest_mimic::Trial;
use tapwire::nft::expr::{Counter, Expr};
use tapwire::nft::{
    Batch, Chain, ChainType, Family, Flowtable, Hook, L4Proto, Name, NamedObject, Nft, Port, Rule,
    Secmark, Table, meta, priority, udp,
};
use tapwire::route::{NewLink, Rtnl};
use tapwire::sys::NetNs;

use super::{corpus, listing, print, table};
use crate::support::{feed, run, trials};
use crate::world::{NEVER, SOON};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["nft", "ip", "conntrack"]:
        offloaded_flow_passes_by_the_rules,
        queue_without_a_reader_drops_unless_it_says_otherwise,
        copied_rules_about_vlans_and_bridges_count_alike,
        security_marks_are_copied,
        rulesets_that_small_kernels_refuse_are_copied_and_printed,
    ]
}

fn offloaded_flow_passes_by_the_rules() {
    let client = neighbour("left");
    let server = neighbour("right");
    route_between(&client, &server);
    let fast = Flowtable::new(&table(), Name::constant("fast"), priority::FILTER)
        .device("left".parse().unwrap())
        .device("right".parse().unwrap())
        .counter();
    let forward = filter(&table(), Hook::FORWARD);
    let tcp = meta::l4proto().equal(L4Proto::TCP);
    let mut batch = Batch::new();
    batch.add(&table()).add(&fast).add(&forward);
    batch.add(&Rule::new(&forward).matching(tcp).offload(&fast));
    batch.add(&Rule::new(&forward).counter());
    let mut nft = Nft::open().unwrap();
    nft.commit(&mut batch).unwrap();

    let listener = server
        .run(|| TcpListener::bind(("10.0.2.2", 7)).unwrap())
        .unwrap();
    let echo = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut byte = [0];
        while stream.read(&mut byte).unwrap() == 1 {
            stream.write_all(&byte).unwrap();
        }
    });
    let mut stream = client
        .run(|| TcpStream::connect(("10.0.2.2", 7)).unwrap())
        .unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    for number in 0..200 {
        stream.write_all(&[number]).unwrap();
        let mut answer = [0];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [number]);
    }
    let flows = run("conntrack", &["-L"]);
    let ruleset = nft.ruleset().unwrap();
    drop(stream);
    echo.join().unwrap();

    assert!(flows.contains("[OFFLOAD]"), "{flows}");
    let snapshot = nft.snapshot(Family::INET, table().name()).unwrap().unwrap();
    let [listed] = snapshot.flowtables() else {
        panic!("{snapshot:?}");
    };
    assert!(listed.is_same(&fast), "{listed:?}");
    assert_eq!(listed.uses(), Some(1));
    // Only the packets until the flow was put there came by, and its end.
    let packets = packets(&mut nft, &forward);
    assert!((1..40).contains(&packets), "{packets} of 400 packets");
    assert!(ruleset.to_string().contains("flow add @fast"), "{ruleset}");
    same_in_nft(&mut nft);
    copy(&mut nft, &table());
}

fn queue_without_a_reader_drops_unless_it_says_otherwise() {
    run("ip", &["link", "set", "lo", "up"]);
    let input = filter(&table(), Hook::INPUT);
    let to = |port: u16| Rule::new(&input).matching(udp::dport().equal(Port(port)));
    let mut batch = Batch::new();
    batch.add(&table()).add(&input);
    batch.add(&to(5001).queue(3, true));
    batch.add(&to(5002).queue(4, false));
    let mut nft = Nft::open().unwrap();
    nft.commit(&mut batch).unwrap();

    let comes = |port: u16| {
        let receiver = UdpSocket::bind(("127.0.0.1", port)).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender
            .send_to(b"x", receiver.local_addr().unwrap())
            .unwrap();
        receiver.set_read_timeout(Some(NEVER)).unwrap();
        receiver.recv(&mut [0; 8]).is_ok()
    };
    assert_eq!([5000, 5001, 5002].map(comes), [true, true, false]);
    let text = listing("inet", "t");
    assert!(
        text.contains("udp dport 5001 queue flags bypass to 3"),
        "{text}"
    );
    assert!(text.contains("udp dport 5002 queue to 4"), "{text}");
    same_in_nft(&mut nft);
    copy(&mut nft, &table());
}

fn copied_rules_about_vlans_and_bridges_count_alike() {
    let ends = [neighbour("left"), neighbour("right")];
    run("ip", &["link", "add", "br0", "up", "type", "bridge"]);
    for port in ["left", "right"] {
        run("ip", &["address", "flush", "dev", port]);
        run("ip", &["link", "set", port, "master", "br0"]);
    }
    for (end, address) in ends.iter().zip(["10.7.0.1/24", "10.7.0.2/24"]) {
        let ip = |words: &str| run("ip", &words.split(' ').collect::<Vec<_>>());
        end.run(|| {
            ip("link add link eth0 name eth0.77 up type vlan id 77");
            ip(&format!("address add {address} dev eth0.77"));
        })
        .unwrap();
    }
    feed("nft", &["-f", "-"], BRIDGE);
    let mut nft = Nft::open().unwrap();
    let bridge = Table::new(Family::BRIDGE, Name::constant("t"));
    copy(&mut nft, &bridge);

    let [receiver, sender] = ["10.7.0.2:5000", "10.7.0.1:0"].map(|address| {
        let end = &ends[usize::from(address.ends_with(":0")) ^ 1];
        end.run(|| UdpSocket::bind(address).unwrap()).unwrap()
    });
    receiver.set_read_timeout(Some(SOON)).unwrap();
    sender.send_to(b"x", "10.7.0.2:5000").unwrap();
    receiver.recv(&mut [0; 8]).unwrap();
    for name in ["t", "copy"] {
        let table = Table::new(Family::BRIDGE, Name::new(name).unwrap());
        let chain = filter(&table, Hook::FORWARD);
        let rules = nft.rules(&chain).unwrap();
        let counted: Vec<bool> = rules.iter().map(|rule| count(rule) > 0).collect();
        let matching = [true, false, true, true, false, false];
        assert_eq!(counted, matching, "{}", listing("bridge", name));
    }
    same_in_nft(&mut nft);
}

fn security_marks_are_copied() {
    // Without SELinux, AppArmor reads the context: this is a name of its own.
    let mark = Secmark::new("unconfined".into());
    let object = NamedObject::new(&table(), Name::constant("web"), mark);
    let input = filter(&table(), Hook::INPUT);
    let mut batch = Batch::new();
    batch.add(&table()).add(&object).add(&input);
    batch.add(&Rule::new(&input).object(&object));
    let mut nft = Nft::open().unwrap();
    nft.commit(&mut batch).unwrap();
    let text = listing("inet", "t");
    assert!(text.contains("\"unconfined\""), "{text}");
    assert!(text.contains("meta secmark set \"web\""), "{text}");
    same_in_nft(&mut nft);
    copy(&mut nft, &table());
}

fn rulesets_that_small_kernels_refuse_are_copied_and_printed() {
    for name in RULESETS {
        let path = Path::new(corpus::FOLDER).join(name).with_extension("nft");
        let netns = NetNs::new().unwrap();
        netns.run(|| corpus::must_be_copied(&path)).unwrap();
        let netns = NetNs::new().unwrap();
        netns.run(|| print::must_print(&path)).unwrap();
    }
}

/// A namespace at the other end of a link, both ends up. The nearer is named
/// `name`, the farther `eth0`.
fn neighbour(name: &str) -> NetNs {
    let netns = NetNs::new().unwrap();
    let veth = NewLink::veth(name.parse().unwrap(), "eth0".parse().unwrap()).peer_netns(&netns);
    let mut rtnl = Rtnl::open().unwrap();
    rtnl.apply(|changes| {
        changes.add_link(&veth);
    })
    .unwrap();
    run("ip", &["link", "set", name, "up"]);
    netns
        .run(|| run("ip", &["link", "set", "eth0", "up"]))
        .unwrap();
    netns
}

/// Addresses on both links, and what leads from one end to the other.
fn route_between(client: &NetNs, server: &NetNs) {
    fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
    for (number, (name, end)) in [("left", client), ("right", server)].iter().enumerate() {
        let address = |last: u8| format!("10.0.{}.{last}", number + 1);
        let nearer = format!("{}/24", address(1));
        run("ip", &["address", "add", &nearer, "dev", name]);
        end.run(|| {
            let farther = format!("{}/24", address(2));
            run("ip", &["address", "add", &farther, "dev", "eth0"]);
            run("ip", &["route", "add", "default", "via", &address(1)]);
        })
        .unwrap();
    }
}

fn filter(table: &Table, hook: Hook) -> Chain {
    let name = Name::constant("c");
    Chain::base(table, name, ChainType::FILTER, hook, priority::FILTER)
}

/// What the last rule of a chain counted.
fn packets(nft: &mut Nft, chain: &Chain) -> u64 {
    count(nft.rules(chain).unwrap().last().unwrap())
}

fn count(rule: &Rule) -> u64 {
    let counters = rule.expressions().iter().filter_map(|one| match one {
        Expr::Counter(counter) => Some(*Counter::packets(counter)),
        _ => None,
    });
    counters.sum()
}

/// The ruleset prints as `nft` lists it.
fn same_in_nft(nft: &mut Nft) {
    let printed = nft.ruleset().unwrap().stateless().to_string();
    assert_eq!(printed, run("nft", &["-s", "list", "ruleset"]));
}

/// Copies a table to `copy`, which `nft` lists as the same.
fn copy(nft: &mut Nft, table: &Table) {
    let family = table.family();
    let name = Name::constant("copy");
    let snapshot = nft.snapshot(family, table.name()).unwrap().unwrap();
    let mut batch = Batch::new();
    snapshot.renamed(name.clone()).add_to(&mut batch);
    nft.commit(&mut batch).unwrap();
    let again = nft.snapshot(family, &name).unwrap().unwrap();
    let flowtables = snapshot.flowtables().len();
    assert_eq!(again.flowtables().len(), flowtables);
    let list = |name: &Name| {
        let words = ["-s", "list", "table", &family.to_string(), name.as_str()];
        run("nft", &words)
    };
    let renamed =
        list(table.name()).replacen(&format!(" {} {{", table.name()), &format!(" {name} {{"), 1);
    assert_eq!(renamed, list(&name));
}

const BRIDGE: &str = r#"
table bridge t {
	chain c {
		type filter hook forward priority 0;
		vlan id 77 counter
		vlan id 78 counter
		vlan pcp 0 counter
		meta ibrname "br0" counter
		meta obrname "br1" counter
		meta ibrpvid 1 counter comment "of bridges that filter by VLAN"
	}
}
"#;

/// Of `tests/testdata/rulesets`.
const RULESETS: [&str; 6] = [
    "flow_offload",
    "flowtable_plain",
    "meta_bridge",
    "payload_set_ll",
    "payload_vlan",
    "queue_stmt",
];
