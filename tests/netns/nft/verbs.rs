//! Objects, single things, echoes, `destroy` in its two ways, events, traces.

use std::net::UdpSocket;
use std::time::Duration;

use libtest_mimic::Trial;
use tapwire::nft::expr::{
    Connlimit, Counter, Expr, Immediate, Limit, MetaKey, MetaSet, Objref, Quota, Synproxy,
};
use tapwire::nft::{
    Batch, Chain, ChainType, Comment, Content, CtExpectation, CtTimeout, Data, DataType, Element,
    Event, Family, Hook, L4Proto, Mark, Name, NamedObject, Nft, ObjectState, ObjectType, Policy,
    Port, Register, Rule, Set, SetFlags, SetPolicy, Table, Timeouts, TraceType, TunnelInfo,
    TunnelIp4, TunnelOption, Verdict, Watch, ct, ip, priority, tcp,
};

use super::{addresses, begin, host, table};
use crate::support::{run, trials};

pub(super) fn trials() -> Vec<Trial> {
    let judged = trials![needs ["nft"]:
        named_objects_are_read_and_listed_by_nft,
        object_maps_lead_to_objects,
        bound_chains_are_written_without_a_name,
        statements_read_in_nft_as_in_its_language,
        kinds_of_sets_read_in_nft_as_in_its_language,
        netdev_chains_have_devices_and_prefixes,
    ];
    let alone = trials![
        single_things_are_found_by_their_names,
        echo_tells_the_handle_of_a_rule,
        destroy_works_without_its_messages,
        emulated_destroy_blames_the_original_operation,
        events_are_decoded_and_end_with_their_commit,
        overrun_is_told_and_reading_goes_on,
        tunnel_objects_are_read_as_written,
    ];
    let resets = trials![needs ["Linux 6.5"]: reset_tells_what_was_counted_once];
    let traces = trials![needs ["ip"]: traced_packet_tells_its_way];
    let compat = trials![needs ["iptables-nft"]: extensions_of_xtables_are_kept];
    [judged, alone, resets, traces, compat]
        .into_iter()
        .flatten()
        .collect()
}

fn name(name: &'static str) -> Name {
    Name::constant(name)
}

fn objects() -> Vec<NamedObject> {
    let table = table();
    let object = |name, state: ObjectState| NamedObject::new(&table, Name::constant(name), state);
    let timeouts = Timeouts::new([(2, 100), (4, 200)]);
    vec![
        object("seen", Counter::new().with_packets(3).with_bytes(4).into())
            .comment(Comment::constant("what was seen")),
        object("daily", Quota::new(25_000_000).with_consumed(5).into()),
        object("slow", Limit::new(10, 60).with_burst(7).into()),
        object("few", Connlimit::new(12).into()),
        object(
            "proxy",
            Synproxy::new()
                .with_mss(1460)
                .with_window_scale(7)
                .with_flags(3)
                .into(),
        ),
        object(
            "patient",
            CtTimeout::new(L4Proto::TCP, timeouts)
                .with_l3proto(2)
                .into(),
        ),
        object(
            "later",
            CtExpectation::new(L4Proto::TCP, 8080, 15_000, 12)
                .with_l3proto(2)
                .into(),
        ),
    ]
}

fn named_objects_are_read_and_listed_by_nft() {
    let mut nft = begin();
    let mut batch = Batch::new();
    for object in &objects() {
        batch.add(object);
    }
    nft.commit(&mut batch).unwrap();
    let listed = nft.objects(&table(), None).unwrap();
    for object in &objects() {
        let same = listed
            .iter()
            .find(|listed| listed.name() == object.name())
            .unwrap();
        if object.kind() != ObjectType::CT_TIMEOUT {
            assert!(same.is_same(object), "{object:?} reads as {same:?}");
        }
        assert!(same.handle().is_some());
    }
    assert_eq!(listed.len(), objects().len());
    let quotas = nft.objects(&table(), Some(ObjectType::QUOTA)).unwrap();
    assert_eq!(quotas.len(), 1);
    // `nft` 1.0.6 cannot list this kind.
    let unlisted = objects()
        .into_iter()
        .find(|object| object.kind() == ObjectType::CONNLIMIT);
    batch.delete(&unlisted.unwrap());
    nft.commit(&mut batch).unwrap();
    let text = run("nft", &["list", "table", "inet", "t"]);
    for words in [
        "counter seen",
        "comment \"what was seen\"",
        "packets 3 bytes 4",
        "25000000 bytes used 5 bytes",
        "rate 10/minute burst 7 packets",
        "mss 1460",
        "dport 8080",
        "timeout 15s",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    for object in &objects() {
        batch.destroy(object);
    }
    nft.commit(&mut batch).unwrap();
    assert!(nft.objects(&table(), None).unwrap().is_empty());
}

fn object_maps_lead_to_objects() {
    let mut nft = begin();
    let chain = Chain::new(&table(), name("c"));
    let map = Set::object_map(
        &table(),
        name("by_port"),
        &[DataType::INET_SERVICE],
        ObjectType::COUNTER,
    );
    let web = NamedObject::new(&table(), name("web"), Counter::new());
    let mut batch = Batch::new();
    batch.add(&chain).add(&web).add(&map);
    batch.add_elements(&map, [Element::new(Port(80)).object(name("web"))]);
    let objref = Objref::new()
        .with_key(Register::FIRST)
        .with_map(name("by_port"));
    let rule = Rule::new(&chain)
        .matching(tcp::dport().not_equal(Port(1)))
        .expression(objref);
    batch.add(&rule);
    nft.commit(&mut batch).unwrap();
    let elements = nft.elements(&map).unwrap();
    assert_eq!(elements[0].current_object(), Some(&name("web")));
    let text = run("nft", &["list", "table", "inet", "t"]);
    assert!(text.contains("type inet_service : counter"), "{text}");
    assert!(text.contains("80 : \"web\""), "{text}");
    batch.add_elements(&map, [Element::new(Port(81))]);
    assert!(
        nft.commit(&mut batch).is_err(),
        "an element without an object"
    );
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

fn echo_tells_the_handle_of_a_rule() {
    let mut nft = begin();
    let chain = Chain::new(&table(), name("c"));
    let mut batch = Batch::new();
    batch.add(&chain);
    for port in 0..500 {
        batch.add(
            &Rule::new(&chain)
                .matching(tcp::dport().equal(Port(port)))
                .accept(),
        );
    }
    let echoes = nft.commit_echoed(&mut batch).unwrap();
    let handles: Vec<u64> = echoes
        .iter()
        .filter_map(|echo| match echo {
            Content::Rule(rule) => rule.handle(),
            _ => None,
        })
        .collect();
    let listed: Vec<u64> = nft
        .rules(&chain)
        .unwrap()
        .iter()
        .filter_map(Rule::handle)
        .collect();
    assert_eq!(handles, listed);
    assert_eq!(handles.len(), 500);
    let generation = nft.generation().unwrap();
    assert_eq!(echoes.last(), Some(&Content::Generation(generation)));
    assert!(batch.is_empty());
    batch.create(&chain);
    assert!(nft.commit_echoed(&mut batch).unwrap_err().is_exists());
}

fn destroy_works_without_its_messages() {
    for emulated in [false, true] {
        let mut nft = begin();
        if emulated {
            nft.without_destroy();
        }
        let chain = Chain::new(&table(), name("c"));
        let object = NamedObject::new(&table(), name("seen"), Counter::new());
        let elements = [1, 2].map(|number| Element::new(host(number)));
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
    let tapwire::Error::Refused { operation, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(operation.what(), "delete chain inet t absent");
    assert_eq!(operation.index(), Some(2));
    assert!(
        nft.set(&table(), addresses().name()).unwrap().is_some(),
        "nothing has changed"
    );
}

fn events_are_decoded_and_end_with_their_commit() {
    let mut watch = Watch::ruleset().unwrap();
    let mut nft = begin();
    let mut batch = Batch::new();
    batch
        .add_elements(&addresses(), [Element::new(host(1))])
        .delete(&super::ports());
    nft.commit(&mut batch).unwrap();
    let mut told = Vec::new();
    while let Some(event) = watch.next_event(Duration::from_millis(300)).unwrap() {
        told.push(match event {
            Event::New(Content::Table(_)) => "table",
            Event::New(Content::Set(_)) => "set",
            Event::New(Content::Elements(_)) => "elements",
            Event::Gone(Content::Set(_)) => "set gone",
            Event::Committed(commit) => {
                assert!(commit.process.is_some() && commit.program.is_some());
                "commit"
            }
            _ => "else",
        });
    }
    let wanted = [
        "table", "set", "set", "commit", "elements", "set gone", "commit",
    ];
    assert_eq!(told, wanted);
}

fn overrun_is_told_and_reading_goes_on() {
    let mut watch = Watch::ruleset().unwrap();
    watch.set_buffer(4096).unwrap();
    let mut nft = begin();
    let mut batch = Batch::new();
    for round in 0..200 {
        batch.add_elements(
            &addresses(),
            (0..50).map(|number| Element::new(host(round * 50 + number))),
        );
        nft.commit(&mut batch).unwrap();
    }
    let mut overruns = 0;
    while let Some(event) = watch.next_event(Duration::from_millis(200)).unwrap() {
        overruns += u32::from(event == Event::Overrun);
    }
    assert!(overruns > 0);
    batch.add(&Chain::new(&table(), name("after")));
    nft.commit(&mut batch).unwrap();
    let event = watch.next_event(Duration::from_secs(1)).unwrap();
    assert!(
        matches!(event, Some(Event::New(Content::Chain(_)))),
        "{event:?}"
    );
}

fn traced_packet_tells_its_way() {
    run("ip", &["link", "set", "lo", "up"]);
    let mut nft = Nft::open().unwrap();
    let base = Chain::base(
        &table(),
        name("in"),
        ChainType::FILTER,
        Hook::INPUT,
        priority::FILTER,
    );
    let one = Data::from_bytes(&[1]).unwrap();
    let mut batch = Batch::new();
    batch.add(&table()).add(&base);
    batch.add(
        &Rule::new(&base)
            .expression(Immediate::new(Register::FIRST, one.into()))
            .expression(MetaSet::new(Register::FIRST, MetaKey::NFTRACE)),
    );
    batch.add(&Rule::new(&base).drop());
    nft.commit(&mut batch).unwrap();
    let mut watch = Watch::traces().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"hello", "127.0.0.1:9999").unwrap();
    let mut steps = Vec::new();
    while let Some(event) = watch.next_event(Duration::from_millis(500)).unwrap() {
        if let Event::Trace(trace) = event {
            steps.push(trace);
        }
    }
    let rules = nft.rules(&base).unwrap();
    assert_eq!(steps.len(), 2, "{steps:?}");
    assert!(
        steps
            .iter()
            .all(|step| step.kind == TraceType::RULE && step.chain == "in")
    );
    assert_eq!(
        (steps[0].rule, steps[0].verdict.clone()),
        (rules[0].handle(), Some(Verdict::Continue))
    );
    assert_eq!(
        (steps[1].rule, steps[1].verdict.clone()),
        (rules[1].handle(), Some(Verdict::Drop))
    );
    assert_eq!(steps[0].id, steps[1].id);
    assert_eq!(steps[0].packet_family, Some(Family::IP));
    assert_eq!(
        steps[0].network_header.as_ref().map(|bytes| bytes[0]),
        Some(0x45)
    );
    assert_eq!(steps[0].iif, Some(1));
}

fn tunnel_objects_are_read_as_written() {
    let table = Table::new(Family::NETDEV, name("t"));
    let ends = TunnelIp4::new([192, 0, 2, 2].into()).with_local([192, 0, 2, 1].into());
    let options = [
        vec![TunnelOption::Vxlan(7)],
        vec![TunnelOption::Erspan1(3)],
        vec![TunnelOption::Erspan2(4, 1)],
        vec![TunnelOption::Geneve(1, 2, [1, 2, 3, 4].into())],
    ];
    let mut nft = Nft::open().unwrap();
    let mut batch = Batch::new();
    batch.add(&table);
    for (number, options) in options.into_iter().enumerate() {
        let info = TunnelInfo::new(10)
            .with_ip(ends.clone())
            .with_port(4789)
            .with_source_port(1)
            .with_ttl(64)
            .with_options(options);
        let object = NamedObject::new(&table, Name::new(&format!("tunnel{number}")).unwrap(), info);
        batch.add(&object);
        if let Err(error) = nft.commit(&mut batch) {
            // A kernel built without `CONFIG_NFT_TUNNEL`.
            assert!(error.is_not_found(), "{error:?}");
            eprintln!("this kernel has no tunnel objects");
            return;
        }
        let found = nft
            .object(&table, ObjectType::TUNNEL, object.name())
            .unwrap()
            .unwrap();
        assert!(found.is_same(&object), "{object:?} reads as {found:?}");
    }
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
