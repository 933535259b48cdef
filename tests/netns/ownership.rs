//! Tables that are kept from others.

use libtest_mimic::Trial;
use tapwire::nft::{Batch, Family, Name, Nft, Table};
use tapwire::{Error, Exposure, Guest, Host, Owner, Ownership, Settings, Wanted};

use crate::support::{run, trials};
use crate::world::{SOON, within};

pub(crate) fn trials() -> Vec<Trial> {
    trials![needs ["nft", "Linux 6.9"]:
        owned_tables_are_passed_over_by_a_flush_and_go_with_the_handle,
        persistent_tables_stay_and_are_taken_over,
        shared_tables_become_owned_with_all_that_is_in_them,
        owned_tables_are_kept_from_other_handles,
    ]
}

fn open(ownership: Ownership) -> Result<Host, Error> {
    Host::with(Settings::new(Owner::new("riklet").unwrap()).ownership(ownership))
}

fn wanted() -> Wanted {
    let exposure: Exposure = "tcp/80->198.18.0.2:80".parse().unwrap();
    Wanted::new()
        .guest(Guest::new("a").unwrap())
        .exposure(exposure)
}

fn listing() -> String {
    run("nft", &["list", "ruleset"])
}

fn owned_tables_are_passed_over_by_a_flush_and_go_with_the_handle() {
    let mut host = open(Ownership::Owned).unwrap();
    host.apply(&wanted()).unwrap();
    let before = listing();
    run("nft", &["add", "table", "inet", "foreign"]);
    run("nft", &["flush", "ruleset"]);
    assert_eq!(listing(), before);
    assert!(host.plan(&wanted()).unwrap().is_empty());
    drop(host);
    within(SOON, |_| listing().is_empty().then_some(())).expect("gone with the handle");
    // The TAP and its guest's name stay.
    let mut host = open(Ownership::Owned).unwrap();
    let plan = host.apply(&wanted()).unwrap();
    assert!(!plan.to_string().contains("+ guest"), "{plan}");
    assert_eq!(listing(), before);
    host.remove().unwrap();
    assert_eq!(listing(), "");
}

fn persistent_tables_stay_and_are_taken_over() {
    let mut host = open(Ownership::OwnedPersistent).unwrap();
    host.apply(&wanted()).unwrap();
    let handle = |nft: &mut Nft| {
        let table = nft.table(Family::INET, &Name::constant("riklet"));
        let table = table.unwrap().unwrap();
        (table.handle().unwrap(), table.owner().is_some())
    };
    let mut nft = Nft::open().unwrap();
    let (number, is_owned) = handle(&mut nft);
    assert!(is_owned);
    drop(host);
    // A program that another test starts holds a copy of every descriptor for a
    // moment.
    within(SOON, |_| (!handle(&mut nft).1).then_some(())).expect("left alone");
    assert_eq!(handle(&mut nft), (number, false));
    let mut host = open(Ownership::OwnedPersistent).unwrap();
    assert_eq!(
        handle(&mut nft),
        (number, true),
        "taken over, not made anew"
    );
    assert!(host.plan(&wanted()).unwrap().is_empty());
    run("nft", &["flush", "ruleset"]);
    assert!(host.plan(&wanted()).unwrap().is_empty());
    host.remove().unwrap();
    assert_eq!(listing(), "");
}

fn shared_tables_become_owned_with_all_that_is_in_them() {
    let mut host = open(Ownership::Shared).unwrap();
    host.apply(&wanted()).unwrap();
    drop(host);
    for ownership in [Ownership::Owned, Ownership::OwnedPersistent] {
        let mut host = open(ownership).unwrap();
        let plan = host.plan(&wanted()).unwrap();
        let is_owned = ownership == Ownership::Owned;
        assert!(plan.is_empty(), "{plan}");
        run("nft", &["flush", "ruleset"]);
        assert!(host.plan(&wanted()).unwrap().is_empty());
        drop(host);
        let left_alone = |_| {
            let mut nft = Nft::open().unwrap();
            let table = nft.table(Family::INET, &Name::constant("riklet")).unwrap();
            table
                .is_none_or(|table| table.owner().is_none())
                .then_some(())
        };
        within(SOON, left_alone).expect("left alone");
        assert_eq!(listing().is_empty(), is_owned);
        let mut host = open(Ownership::Shared).unwrap();
        host.apply(&wanted()).unwrap();
    }
    open(Ownership::Shared).unwrap().remove().unwrap();
}

fn owned_tables_are_kept_from_other_handles() {
    let mut shared = open(Ownership::Shared).unwrap();
    let mut owned = open(Ownership::Owned).unwrap();
    owned.apply(&wanted()).unwrap();
    let before = listing();
    let own = format!("process {} (", std::process::id());
    for ownership in [
        Ownership::Shared,
        Ownership::Owned,
        Ownership::OwnedPersistent,
    ] {
        // A program that another test starts holds it too for a moment.
        let names_us = |_| {
            let error = open(ownership).unwrap_err();
            assert!(matches!(error, Error::Conflict(_)), "{error}");
            let words = error.to_string();
            assert!(
                words.starts_with("the tables of owner riklet clashes with "),
                "{words}"
            );
            words.contains(&own).then_some(())
        };
        within(SOON, names_us).expect("its holder is told");
    }
    // One that was there before.
    let error = shared.apply(&Wanted::new()).unwrap_err();
    assert!(error.to_string().contains(&own), "{error}");
    let exposure: Exposure = "tcp/81->198.18.0.2:80".parse().unwrap();
    assert!(shared.expose(&exposure).is_err());
    let mut batch = Batch::new();
    batch.delete(&Table::new(Family::INET, Name::constant("riklet")));
    let error = Nft::open().unwrap().commit(&mut batch).unwrap_err();
    assert!(error.is_permission_denied(), "{error}");
    assert_eq!(listing(), before);
    owned.remove().unwrap();
}
