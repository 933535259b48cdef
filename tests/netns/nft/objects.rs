//! Named objects.

use libtest_mimic::Trial;
use tapwire::nft::expr::{Connlimit, Counter, Limit, Objref, Quota, Synproxy};
use tapwire::nft::{
    Batch, Chain, Comment, CtExpectation, CtTimeout, DataType, Element, Family, L4Proto, Name,
    NamedObject, Nft, ObjectState, ObjectType, Port, Register, Rule, Set, Table, Timeouts,
    TunnelInfo, TunnelIp4, TunnelOption, tcp,
};

use super::{begin, name, table};
use crate::support::{run, trials};

pub(super) fn trials() -> Vec<Trial> {
    let judged = trials![needs ["nft"]:
        named_objects_are_read_and_listed_by_nft,
        object_maps_lead_to_objects,
    ];
    let alone = trials![tunnel_objects_are_read_as_written,];
    [judged, alone].into_iter().flatten().collect()
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
