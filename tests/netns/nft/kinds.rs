//! Chains, sets and statements of every kind, with `nft` as the judge.

use libtest_mimic::Trial;
use tapwire::nft::expr::{Counter, Expr, Limit};
use tapwire::nft::{
    Batch, Chain, ChainType, Comment, Data, DataType, Element, Family, Hook, Mark, Name,
    NamedObject, Nft, ObjectType, Policy, Port, Rule, Set, SetFlags, SetPolicy, Table, Verdict, ct,
    ip, priority, tcp,
};

use super::{begin, host, name, table};
use crate::support::{run, trials};

pub(super) fn trials() -> Vec<Trial> {
    let judged = trials![needs ["nft"]:
        bound_chains_are_written_without_a_name,
        statements_read_in_nft_as_in_its_language,
        kinds_of_sets_read_in_nft_as_in_its_language,
        netdev_chains_have_devices_and_prefixes,
    ];
    let compat = trials![needs ["iptables-nft"]:
        extensions_of_xtables_are_kept,
    ];
    [judged, compat].into_iter().flatten().collect()
}

fn bound_chains_are_written_without_a_name() {
    let mut nft = begin();
    let base = Chain::base(&table(), name("in"), ChainType::FILTER, Hook::INPUT, 0);
    let body = Chain::new(&table(), name("body")).bound();
    let mut batch = Batch::new();
    batch.add(&base).add(&body);
    batch.add(&Rule::new(&body).counter());
    batch.add(&Rule::new(&base).jump(name("body")));
    nft.commit(&mut batch).unwrap();
    let text = run("nft", &["list", "chain", "inet", "t", "in"]);
    assert!(text.contains("jump {"), "{text}");
    assert!(text.contains("counter packets 0"), "{text}");
    let chains = nft.chains(&table()).unwrap();
    assert!(
        chains
            .iter()
            .any(|chain| chain.is_bound() && *chain.name() != "body")
    );
}

fn statements_read_in_nft_as_in_its_language() {
    let mut nft = begin();
    let (filter, nat) = (ChainType::FILTER, ChainType::NAT);
    let input = Chain::base(&table(), name("in"), filter.clone(), Hook::INPUT, 0);
    let raw = Chain::base(
        &table(),
        name("raw"),
        filter,
        Hook::PREROUTING,
        priority::RAW,
    );
    let pre = Chain::base(
        &table(),
        name("pre"),
        nat,
        Hook::PREROUTING,
        priority::DSTNAT,
    );
    let seen = NamedObject::new(&table(), name("seen"), Counter::new());
    let key = [DataType::INET_SERVICE];
    let map = Set::object_map(&table(), name("by_port"), &key, ObjectType::COUNTER);
    let remark = Comment::constant("in: ");
    let tcp_to = |chain: &Chain| Rule::new(chain).matching(tcp::dport().equal(Port(22)));
    let mut batch = Batch::new();
    batch.add(&input).add(&raw).add(&pre).add(&seen).add(&map);
    batch.add(&Rule::new(&input).log(&remark));
    batch.add(&Rule::new(&input).log_to(0, &remark));
    batch.add(&Rule::new(&input).limit(10, 1, 5).accept());
    batch.add(&Rule::new(&input).limit_over(10, 60, 5).drop());
    batch.add(&Rule::new(&input).object(&seen));
    batch.add(&Rule::new(&input).object_from(&[tcp::dport()], &map));
    batch.add(&Rule::new(&input).set(ct::mark(), Mark(7)));
    batch.add(&Rule::new(&raw).notrack());
    batch.add(&tcp_to(&raw).tproxy(Family::IP, Port(80)));
    batch.add(&tcp_to(&pre).redirect(Some(Port(80))));
    batch.add(&tcp_to(&pre).redirect(None));
    nft.commit(&mut batch).unwrap();
    let text = run("nft", &["list", "table", "inet", "t"]);
    for words in [
        "log prefix \"in: \"\n",
        "log prefix \"in: \" group 0\n",
        "limit rate 10/second accept",
        "limit rate over 10/minute drop",
        "counter name \"seen\"",
        "counter name tcp dport map @by_port",
        "ct mark set 0x00000007",
        "notrack",
        "tcp dport 22 tproxy ip to :80",
        "tcp dport 22 redirect to :80",
        "tcp dport 22 redirect\n",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

fn kinds_of_sets_read_in_nft_as_in_its_language() {
    let mut nft = begin();
    let set = |name, kinds: &[DataType]| Set::new(&table(), Name::constant(name), kinds);
    let [address, port] = [DataType::IPV4_ADDR, DataType::INET_SERVICE];
    let pool = |low, high| Data::range(host(low), host(high));
    let post = Chain::base(
        &table(),
        name("post"),
        ChainType::NAT,
        Hook::POSTROUTING,
        priority::SRCNAT,
    );
    let pools = Set::map(&table(), name("pools"), &[address], &[address]).interval_data();
    let merged = set("merged", &[address]).interval().auto_merge();
    let fading = set("fading", &[address])
        .timeout(3_600_000)
        .gc_interval(60_000)
        .size(100);
    let small = set("small", &[port]).policy(SetPolicy::MEMORY);
    let fixed = set("fixed", &[port]).flags(SetFlags::CONSTANT);
    let fields = Set::of(&table(), name("fields"), &[ip::saddr(), tcp::dport()]);
    let rest = Set::map(&table(), name("rest"), &[address], &[port]);
    let two = set("two", &[address])
        .counter()
        .expression(Limit::new(1, 1).with_burst(5));
    let verdicts = Set::verdict_map(&table(), name("verdicts"), &[address, port]).interval();
    let mut batch = Batch::new();
    batch
        .add(&post)
        .add(&pools)
        .add(&merged)
        .add(&fading)
        .add(&small)
        .add(&fields)
        .add(&rest);
    batch.add(&two).add(&verdicts).add(&fixed);
    batch.add_elements(&pools, [Element::new(host(1)).data(pool(5, 9))]);
    batch.add_elements(&merged, Element::networks(["10.1.0.0/16".parse().unwrap()]));
    batch.add_elements(
        &fading,
        [Element::new(host(1)).timeout(60_000), Element::new(host(2))],
    );
    batch.add_elements(
        &rest,
        [
            Element::catch_all().data(Port(9)),
            Element::new(host(1)).data(Port(8)),
        ],
    );
    batch.add_elements(&two, [Element::new(host(3))]);
    let from = (host(1), Port(80));
    batch.add_elements(
        &verdicts,
        [Element::new(from)
            .to((host(9), Port(90)))
            .data(Verdict::Drop)],
    );
    batch.add(&Rule::new(&post).snat_from(&[ip::saddr()], &pools));
    nft.commit(&mut batch).unwrap();
    let text = run("nft", &["list", "table", "inet", "t"]);
    for words in [
        "type ipv4_addr : interval ipv4_addr",
        "10.0.0.1 : 10.0.0.5-10.0.0.9",
        "snat ip to ip saddr map @pools",
        "auto-merge",
        "timeout 1h",
        "gc-interval 1m",
        "10.0.0.1 timeout 1m",
        "policy memory",
        "flags constant",
        "typeof ip saddr . tcp dport",
        "* : 9",
        "10.0.0.3 counter packets 0 bytes 0 limit rate 1/second",
        "10.0.0.1-10.0.0.9 . 80-90 : drop",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

fn netdev_chains_have_devices_and_prefixes() {
    let mut nft = Nft::open().unwrap();
    let table = Table::new(Family::NETDEV, name("t"));
    let (filter, hook) = (ChainType::FILTER, Hook::NETDEV_INGRESS);
    let several = Chain::base(&table, name("several"), filter.clone(), hook, -5)
        .device("tw0".parse().unwrap())
        .device("tw1".parse().unwrap());
    let egress = Chain::base(
        &table,
        name("egress"),
        filter.clone(),
        Hook::NETDEV_EGRESS,
        0,
    )
    .device("lo".parse().unwrap());
    let prefix =
        Chain::base(&table, name("prefix"), filter, hook, 7).device_prefix(&"tw".parse().unwrap());
    let mut batch = Batch::new();
    batch.add(&table).add(&egress);
    nft.commit(&mut batch).unwrap();
    let text = run("nft", &["list", "table", "netdev", "t"]);
    assert!(
        text.contains("hook egress device \"lo\" priority filter"),
        "{text}"
    );
    for chain in [&egress, &several, &prefix] {
        batch.add(chain);
        if let Err(error) = nft.commit(&mut batch) {
            eprintln!(
                "chain {}: this kernel wants devices that are there ({error})",
                chain.name()
            );
            return;
        }
        let found = nft.chain(&table, chain.name()).unwrap().unwrap();
        assert!(
            found.is_same(&chain.clone().policy(Policy::ACCEPT)),
            "{found:?}"
        );
    }
    assert_eq!(prefix.devices().collect::<Vec<_>>(), ["tw*"]);
}

fn extensions_of_xtables_are_kept() {
    let rule =
        "-A INPUT -m comment --comment hello -m addrtype --dst-type LOCAL -j LOG --log-prefix x";
    let words: Vec<&str> = rule.split(' ').collect();
    run("iptables-nft", &words);
    let mut nft = Nft::open().unwrap();
    let filter = nft.snapshot(Family::IP, &name("filter")).unwrap().unwrap();
    let kinds = |expression: &Expr| match expression {
        Expr::XtMatch(extension) => Some(extension.extension().to_string()),
        Expr::XtTarget(extension) => Some(extension.extension().to_string()),
        _ => None,
    };
    let found: Vec<String> = filter.rules()[0]
        .expressions()
        .iter()
        .filter_map(kinds)
        .collect();
    assert_eq!(found, ["comment", "addrtype", "LOG"]);
    let copy = filter.renamed(name("copy"));
    let mut batch = Batch::new();
    copy.add_to(&mut batch);
    nft.commit(&mut batch).unwrap();
    let again = nft.snapshot(Family::IP, &name("copy")).unwrap().unwrap();
    assert!(again.rules()[0].is_same(&copy.rules()[0]));
}
