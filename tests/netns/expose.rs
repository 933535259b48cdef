//! Several ports are opened at once: all of them or none.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use libtest_mimic::Trial;
use tapwire::{Attachment, Destination, Exposure, Flows, Guest, Host, Owner, Settings};

use crate::support::trials;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        exposures_of_every_kind_are_installed_at_once,
        exposures_at_once_are_all_refused_if_one_port_is_taken,
        exposures_at_once_that_clash_with_each_other_are_refused,
        exposures_at_once_that_exceed_the_room_are_all_refused,
    ]
}

fn owner() -> Owner {
    Owner::new("riklet").unwrap()
}

fn exposures_of_every_kind_are_installed_at_once() {
    let mut host = Host::open(owner()).unwrap();
    let [one, other] = guests(&mut host);
    let list = [
        exposure("tcp/80", one.ipv4()),
        exposure("udp/80", other.ipv4()),
        exposure("tcp/80", other.ipv6()),
        exposure("tcp/203.0.113.1:80", other.ipv4()),
        exposure("udp/[2001:db8::1]:80", one.ipv6()),
        exposure("tcp/81", one.ipv4()),
    ];
    host.expose_all(&list).unwrap();
    host.expose_all(&list).unwrap();
    host.expose_all(&[]).unwrap();
    let exposed = host.exposures().unwrap();
    let mut listed: Vec<_> = exposed
        .iter()
        .map(|exposed| exposed.exposure().clone())
        .collect();
    listed.sort_by_key(|exposure| list.iter().position(|wanted| wanted == exposure));
    assert_eq!(listed, list);
    for exposed in exposed {
        let guest = exposed.guest().unwrap().as_str();
        let targets = exposed.exposure().targets();
        let addresses = [IpAddr::from(one.ipv4()), one.ipv6().into()];
        let is_one = addresses
            .map(Destination::Address)
            .contains(targets[0].guest());
        assert_eq!(guest == "one", is_one, "{exposed}");
    }
}

fn exposures_at_once_are_all_refused_if_one_port_is_taken() {
    let mut host = Host::open(owner()).unwrap();
    let [one, other] = guests(&mut host);
    let mut second = Host::open(owner()).unwrap();
    let taken = exposure("tcp/8080", one.ipv4());
    second.expose(&taken).unwrap();
    let list = [
        exposure("tcp/8079", other.ipv4()),
        exposure("tcp/8080", other.ipv4()),
    ];
    // `host` learns of it from the kernel, `second` knows.
    for handle in [&mut host, &mut second] {
        let error = handle.expose_all(&list).unwrap_err();
        let words = format!("{} clashes with {taken} of guest one", list[1]);
        assert_eq!(error.to_string(), words);
        assert_eq!(handle.exposures().unwrap().len(), 1);
    }
    second.withdraw(&taken, Flows::Drain).unwrap();
    host.expose_all(&list).unwrap();
    let stranger = exposure("tcp/1", Ipv4Addr::new(192, 0, 2, 1));
    let error = host.expose_all(&[list[0].clone(), stranger]).unwrap_err();
    assert_eq!(error.to_string(), "no guest named 192.0.2.1");
}

fn exposures_at_once_that_clash_with_each_other_are_refused() {
    let mut host = Host::open(owner()).unwrap();
    let [one, other] = guests(&mut host);
    let first = exposure("tcp/8080", one.ipv4());
    let clashing = exposure("tcp/8080", other.ipv4());
    let error = host
        .expose_all(&[first.clone(), first.clone(), clashing.clone()])
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{clashing} clashes with {first}")
    );
    assert!(host.exposures().unwrap().is_empty());
    // What was refused is in nobody's way.
    host.expose(&clashing).unwrap();
    assert_eq!(host.exposures().unwrap()[0].exposure(), &clashing);
}

fn exposures_at_once_that_exceed_the_room_are_all_refused() {
    let mut host = Host::with(Settings::new(owner()).exposures(2)).unwrap();
    let [guest, _] = guests(&mut host);
    let ports = ["tcp/1", "tcp/2", "tcp/3"];
    let list = ports.map(|port| exposure(port, guest.ipv4()));
    let error = host.expose_all(&list).unwrap_err();
    assert_eq!(error.to_string(), "the exposures are used up (room for 2)");
    assert!(host.exposures().unwrap().is_empty());
    host.expose_all(&list[1..]).unwrap();
}

fn guests(host: &mut Host) -> [Attachment; 2] {
    ["one", "other"].map(|name| host.attach(&Guest::new(name).unwrap()).unwrap())
}

/// A port of the host that leads to port 80 of a guest.
fn exposure(port: &str, guest: impl Into<IpAddr>) -> Exposure {
    let guest = SocketAddr::new(guest.into(), 80);
    format!("{port}->{guest}").parse().unwrap()
}
