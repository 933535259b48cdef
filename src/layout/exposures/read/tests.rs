//! What is written is read.

use std::net::IpAddr;
use std::ptr;

use ipnet::IpNet;
use proptest::prelude::*;

use crate::error::Invalid;
use crate::exposure::{Balance, Destination, Exposure, Label, Protocol, Target};
use crate::layout::{Layout, Seat};
use crate::nft::{Comment, Data, Element, Set, Verdict};
use crate::owner::Owner;

fn layout() -> Layout {
    Layout::new(&Owner::new("riklet").unwrap(), 1024, 16).unwrap()
}

fn elements(layout: &Layout, exposures: &[Exposure]) -> Result<Vec<Vec<Element>>, Invalid> {
    let sets: Vec<&Set> = layout.exposure_sets().collect();
    let mut elements = vec![Vec::new(); sets.len()];
    for exposure in exposures {
        let seat_of = |guest, ipv4| Ok::<_, Invalid>(seat_of(guest, ipv4));
        layout.exposure_elements(exposure, seat_of, &mut |set, element| {
            let place = sets.iter().position(|one| ptr::eq(*one, set)).unwrap();
            assert_eq!(set.check(Some(element)), None);
            elements[place].push(element.clone());
        })?;
    }
    Ok(elements)
}

fn seat_of(guest: &Destination, ipv4: bool) -> Seat<'_> {
    let (address, guest) = match guest {
        Destination::Address(address) => (*address, "guest"),
        Destination::Name(name) if ipv4 => ([198, 18, 0, 2].into(), name.as_str()),
        Destination::Name(name) => ([0xfd00, 0, 0, 0, 0, 0, 0, 2].into(), name.as_str()),
    };
    Seat { address, guest }
}

fn read(layout: &Layout, elements: &[Vec<Element>]) -> Vec<String> {
    let exposures = layout.regroup(elements).into_iter();
    exposures
        .map(|regrouped| regrouped.exposure.to_string())
        .collect()
}

#[test]
fn exposures_are_told_apart() {
    let layout = layout();
    let texts = [
        "tcp/80->198.18.0.2:80",
        "tcp/81->one:80",
        "tcp/82-83->one:80-81",
        "tcp/84-85->one:82-83",
        "tcp/5000-6999->one:5000-6999 label media",
        "tcp/203.0.113.1,203.0.113.2:90->one:90",
        "tcp/203.0.113.3,203.0.113.4:90->one:90",
    ];
    let exposures = texts.map(|text| text.parse().unwrap());
    let elements = elements(&layout, &exposures).unwrap();
    assert_eq!(read(&layout, &elements), texts);
}

#[test]
fn foreign_elements_are_no_exposures() {
    let layout = layout();
    let exposure = "tcp/80->198.18.0.2:80 from 10.0.0.0/8 limit 3"
        .parse()
        .unwrap();
    let mut elements = elements(&layout, &[exposure]).unwrap();
    for length in 0..=64 {
        for byte in [0, 1, 6, 255] {
            let key = Data::from_bytes(&vec![byte; length]).unwrap();
            for set in &mut elements {
                let foreign = Element::new(key).comment(Comment::constant("+0000@a 1-2: b"));
                set.push(foreign.clone());
                set.push(foreign.clone().data(key));
                set.push(foreign.clone().to(key).data(Verdict::Drop));
            }
        }
    }
    let wanted = "tcp/80->198.18.0.2:80 from 10.0.0.0/8 limit 3";
    assert!(read(&layout, &elements).contains(&wanted.to_owned()));
}

fn target() -> impl Strategy<Value = Target> {
    let name = "[a-z][a-z0-9-]{0,62}".prop_filter_map("a name", |name| name.parse().ok());
    let guest = prop_oneof![
        name.prop_map(Destination::Name),
        any::<[u8; 4]>().prop_map(|octets| Destination::Address(octets.into())),
        any::<[u8; 16]>().prop_map(|octets| Destination::Address(octets.into())),
    ];
    (guest, 1..=u16::MAX).prop_map(|(guest, port)| match guest {
        Destination::Address(address) => (std::net::SocketAddr::new(address, port)).into(),
        Destination::Name(name) => Target::of(name, port),
    })
}

prop_compose! {
    fn exposure()(
        protocol in prop::sample::select(&Protocol::ALL[..]),
        port in 1..=u16::MAX,
        more in prop_oneof![Just(0), 0..5_u16, 1020..1030_u16],
        same_port in any::<bool>(),
        targets in prop::collection::vec(target(), 1..5),
        host in prop::collection::vec(any::<(bool, u128)>(), 0..3),
        allowed in prop::collection::vec(any::<(bool, u128, u8)>(), 0..4),
        limit in prop::option::of(any::<u32>()),
        label in prop::option::of("[ -~]{1,40}"),
        by_source in any::<bool>(),
    ) -> Option<Exposure> {
        let address = |ipv4, bits: u128| if ipv4 {
            IpAddr::from(u32::try_from(bits >> 96).unwrap().to_be_bytes())
        } else {
            IpAddr::from(bits.to_be_bytes())
        };
        let mut targets = targets.into_iter();
        let mut first = targets.next()?;
        if same_port {
            first = match first.guest() {
                Destination::Address(address) => std::net::SocketAddr::new(*address, port).into(),
                Destination::Name(name) => Target::of(name.clone(), port),
            };
        }
        let mut made = Exposure::new(protocol, port, first).ok()?;
        let mut change = |change: &mut dyn FnMut(Exposure) -> Result<Exposure, Invalid>| {
            made = change(made.clone()).unwrap_or_else(|_| made.clone());
        };
        change(&mut |made| made.through(port.saturating_add(more)));
        for target in targets {
            change(&mut |made| made.also(target.clone()));
        }
        for (ipv4, bits) in host {
            change(&mut |made| made.on(address(ipv4, bits)));
        }
        for (ipv4, bits, length) in allowed {
            let longest = if ipv4 { 32 } else { 128 };
            let net = IpNet::new(address(ipv4, bits), length.min(longest)).unwrap();
            change(&mut |made| Ok(made.allow(net)));
        }
        if let Some(limit) = limit {
            change(&mut |made| made.limit(limit));
        }
        if let Some(label) = label.and_then(|label| Label::new(&label).ok()) {
            change(&mut |made| Ok(made.labelled(label.clone())));
        }
        if by_source {
            change(&mut |made| Ok(made.balance(Balance::Source)));
        }
        Some(made)
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 8 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_exposure_reads_as_it_was_written(exposure in exposure()) {
        prop_assume!(exposure.is_some());
        let exposure = exposure.unwrap();
        let text = exposure.to_string();
        prop_assert_eq!(&text.parse::<Exposure>().unwrap(), &exposure);
        let layout = layout();
        let Ok(elements) = elements(&layout, std::slice::from_ref(&exposure)) else {
            prop_assert!(exposure.check_clients().is_err());
            return Ok(());
        };
        let read = layout.regroup(&elements);
        let read: Vec<_> = read.iter().map(|regrouped| &regrouped.exposure).collect();
        prop_assert_eq!(read, [&exposure]);
    }
}
