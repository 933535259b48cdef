//! A guest that goes takes with it what leads to it alone, and nothing else,
//! however much there is of others.

use libtest_mimic::Trial;
use tapwire::recording::{self, Sent};
use tapwire::sys::Protocol;
use tapwire::{Connection, Elsewhere, Error, Exposed, Exposure, Guest, Host, Owner, Wanted};

use crate::listing::{ALL, all, host};
use crate::snapshot::Snapshot;
use crate::support::trials;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = trials![
        guest_takes_its_part_of_every_kind_of_exposure,
        plain_exposures_go_without_a_look_at_the_others,
        exposures_beyond_claims_are_looked_for,
        refused_exposure_makes_nobody_forget_the_holder,
    ];
    trials.extend(trials![needs ["nft", "ip"]: nothing_is_left_of_a_guest_with_plain_exposures]);
    trials
}

/// What is left of exposures when guests are gone.
fn without(gone: &[&str]) -> Vec<Exposure> {
    let left = ALL.iter().filter_map(|text| {
        let (ports, rest) = text.split_once("->")?;
        let (targets, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let is_left = |target: &&str| !gone.contains(&target.split(':').next().unwrap());
        let targets: Vec<&str> = targets.split(',').filter(is_left).collect();
        let text = format!("{ports}->{} {rest}", targets.join(","));
        (!targets.is_empty()).then(|| text.trim().parse().unwrap())
    });
    let mut left: Vec<Exposure> = left.collect();
    left.sort();
    left
}

fn listed(host: &mut Host) -> Vec<Exposure> {
    let listed = host.exposures().unwrap();
    listed.iter().map(Exposed::exposure).cloned().collect()
}

fn wanted(exposures: &[Exposure]) -> Wanted {
    let names = ["one", "two", "three"];
    let guests = names.map(|name| Guest::new(name).unwrap());
    let mut wanted = guests.into_iter().fold(Wanted::new(), Wanted::guest);
    wanted.extend(exposures.iter().cloned());
    wanted
}

/// Whoever made them: the handle itself, in one change or many, a plan, or
/// another handle.
fn guest_takes_its_part_of_every_kind_of_exposure() {
    let makers: [fn(&mut Host); 4] = [
        |host| host.expose_all(&all()).unwrap(),
        |host| all().iter().for_each(|one| host.expose(one).unwrap()),
        |host| drop(host.apply(&wanted(&all())).unwrap()),
        |_| {
            let mut other = Host::open(Owner::new("riklet").unwrap()).unwrap();
            other.expose_all(&all()).unwrap();
        },
    ];
    for (maker, make) in makers.into_iter().enumerate() {
        for name in ["one", "two", "three"] {
            let mut host = host();
            make(&mut host);
            host.detach(name).unwrap();
            assert_eq!(listed(&mut host), without(&[name]), "{name}, {maker}");
            host.remove().unwrap();
        }
        let mut host = host();
        make(&mut host);
        host.detach_all(&["three", "one"]).unwrap();
        assert_eq!(listed(&mut host), without(&["three", "one"]), "{maker}");
        host.remove().unwrap();
    }
}

const OTHERS: u16 = 300;

/// Of two guests; also those of the other's are restricted.
fn plain_exposures_go_without_a_look_at_the_others() {
    let mut host = host();
    let parse = |text: String| text.parse::<Exposure>().unwrap();
    let theirs = (0..OTHERS).map(|port| parse(format!("tcp/{}->two:80", 1000 + port)));
    let mut theirs: Vec<Exposure> = theirs.collect();
    theirs.push(parse("tcp/80->two:80 from 10.0.0.0/8".into()));
    theirs.sort();
    let own = [
        "tcp/8080->one:80",
        "udp/203.0.113.1:53->one:53",
        "sctp/9->one:9 label discard",
    ];
    host.expose_all(&theirs).unwrap();
    for text in own {
        host.expose(&parse(text.into())).unwrap();
    }
    let (detached, sent) = recording::record(|| host.detach("one"));
    detached.unwrap();
    assert_eq!(dumped_sets(&sent), 0);
    assert_eq!(listed(&mut host), theirs);
}

/// The second of several guests, and the guest of a large range: the one has a
/// claim that names another, the other none.
fn exposures_beyond_claims_are_looked_for() {
    let makers: [fn(&mut Host, &Exposure); 2] = [
        |host, one| host.expose(one).unwrap(),
        |host, one| drop(host.apply(&wanted(std::slice::from_ref(one))).unwrap()),
    ];
    let kinds = [
        ("tcp/81->two:80,three:80", Some("tcp/81->two:80")),
        ("udp/20000-29999->three:20000-29999", None),
    ];
    for make in makers {
        for (text, left) in kinds {
            let mut host = host();
            make(&mut host, &text.parse().unwrap());
            let (detached, sent) = recording::record(|| host.detach("three"));
            detached.unwrap();
            assert_ne!(dumped_sets(&sent), 0);
            let left: Vec<Exposure> = left.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(listed(&mut host), left, "{text}");
            host.remove().unwrap();
        }
    }
}

/// Who has a port in one family is not forgotten when it is refused to one who
/// has no address in the other.
fn refused_exposure_makes_nobody_forget_the_holder() {
    let mut host = host();
    let place = Elsewhere::new("lo".parse().unwrap(), ["192.0.2.9".parse().unwrap()]).unwrap();
    let far = Guest::new("far").unwrap();
    host.attach(&far.connection(Connection::Elsewhere(place)))
        .unwrap();
    let held: Exposure = "tcp/80->two:80".parse().unwrap();
    host.expose(&held).unwrap();
    let error = host.expose(&"tcp/80->far:80".parse().unwrap());
    assert!(matches!(error, Err(Error::Absent { .. })), "{error:?}");
    assert_eq!(listed(&mut host), [held]);
    host.detach("two").unwrap();
    assert_eq!(listed(&mut host), []);
}

fn nothing_is_left_of_a_guest_with_plain_exposures() {
    let mut host = host();
    let before = Snapshot::take();
    host.attach(&Guest::new("four").unwrap()).unwrap();
    for text in ["tcp/80->four:80", "udp/[2001:db8::1]:53->four:53"] {
        host.expose(&text.parse().unwrap()).unwrap();
    }
    host.detach("four").unwrap();
    before.assert_same(&Snapshot::take(), "the guest is gone");
}

/// How many sets were listed.
fn dumped_sets(sent: &Sent) -> usize {
    let listings = sent.iter().filter(|(protocol, bytes)| {
        let half = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        *protocol == Protocol::Netfilter && half(4) == GET_ELEMENTS && half(6) & DUMP == DUMP
    });
    listings.count()
}

/// `NFT_MSG_GETSETELEM` of `NFNL_SUBSYS_NFTABLES`.
const GET_ELEMENTS: u16 = 0x0a0d;
/// `NLM_F_DUMP`.
const DUMP: u16 = 0x300;
