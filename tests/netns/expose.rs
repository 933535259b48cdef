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
        exposures_at_once_that_exceed_the_room_make_room,
        handle_that_was_overtaken_changes_nothing_of_others,
        port_that_is_taken_is_refused_by_name_whoever_took_it,
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

fn exposures_at_once_that_exceed_the_room_make_room() {
    let mut host = Host::with(Settings::new(owner()).exposures(2)).unwrap();
    let [guest, _] = guests(&mut host);
    let ports = ["tcp/1", "tcp/2", "tcp/3"];
    let list = ports.map(|port| exposure(port, guest.ipv4()));
    host.expose_all(&list).unwrap();
    assert_eq!(host.exposures().unwrap().len(), 3);
}

/// What a handle remembers is only so good as nobody else changes anything.
fn handle_that_was_overtaken_changes_nothing_of_others() {
    let mut host = Host::open(owner()).unwrap();
    let [one, other] = guests(&mut host);
    let [to_one, to_other] = [one.ipv4(), other.ipv4()].map(|to| exposure("tcp/80", to));
    host.expose(&to_one).unwrap();
    let mut faster = Host::open(owner()).unwrap();
    faster.repoint(&to_one, &to_other, Flows::Drain).unwrap();
    let late = host.withdraw(&to_one, Flows::Drain).unwrap_err();
    assert!(late.is_not_found(), "{late}");
    let to_third = exposure("tcp/80", one.ipv6());
    let late = host.repoint(&to_one, &to_third, Flows::Drain).unwrap_err();
    assert!(late.is_not_found(), "{late}");
    let listed = host.exposures().unwrap();
    assert_eq!(listed[0].exposure(), &to_other);
    assert_eq!(listed.len(), 1);
}

fn port_that_is_taken_is_refused_by_name_whoever_took_it() {
    let mut host = Host::open(owner()).unwrap();
    let [one, other] = guests(&mut host);
    let [to_one, to_other] = [one.ipv4(), other.ipv4()].map(|to| exposure("tcp/80", to));
    let label = |exposure: &Exposure| exposure.clone().labelled("shop: web".parse().unwrap());
    host.expose(&label(&to_one)).unwrap();
    let clash = host.expose(&to_other).unwrap_err();
    let words = format!("{} of guest {}", label(&to_one), one.name());
    assert!(clash.to_string().contains(&words), "{clash}");
    // It leads elsewhere by now, and then nowhere.
    let mut faster = Host::open(owner()).unwrap();
    faster.repoint(&to_one, &to_other, Flows::Drain).unwrap();
    host.expose(&to_other).unwrap();
    host.withdraw(&to_other, Flows::Drain).unwrap();
    faster.expose(&label(&to_one)).unwrap();
    faster.withdraw(&to_one, Flows::Drain).unwrap();
    host.expose(&to_other).unwrap();
}

fn guests(host: &mut Host) -> [Attachment; 2] {
    ["one", "other"].map(|name| host.attach(&Guest::new(name).unwrap()).unwrap())
}

/// A port of the host that leads to port 80 of a guest.
fn exposure(port: &str, guest: impl Into<IpAddr>) -> Exposure {
    let guest = SocketAddr::new(guest.into(), 80);
    format!("{port}->{guest}").parse().unwrap()
}
