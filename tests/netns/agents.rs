//! Several agents at once on one table.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use libtest_mimic::Trial;
use tapwire::nft::{Content, Element, Event, Value, Watch};
use tapwire::{Guest, Host, Wanted};

use crate::planner::{self, FIRST_PORT, GUESTS, PORTS, guests_of};
use crate::stand_ins::client::http_get;
use crate::stand_ins::http::greeting_in;
use crate::support::trials;
use crate::world::{NEVER, NODE, World, at};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        two_agents_at_random_leave_what_some_order_of_their_deeds_leaves,
        eight_agents_at_random_leave_what_some_order_of_their_deeds_leaves,
    ]
}

fn two_agents_at_random_leave_what_some_order_of_their_deeds_leaves() {
    play(2);
}

fn eight_agents_at_random_leave_what_some_order_of_their_deeds_leaves() {
    play(8);
}

/// For so many seconds the agents play; `TAPWIRE_AGENT_SECONDS` says
/// otherwise.
const SECONDS: u64 = 2;

fn play(agents: u64) {
    let seconds = std::env::var("TAPWIRE_AGENT_SECONDS");
    let seconds = seconds.map_or(SECONDS, |text| text.parse().unwrap());
    let world = World::new();
    let mut host = world.host();
    let mut wanted = Wanted::new();
    wanted.extend((0..GUESTS).map(|number| Guest::new(&format!("vm-{number}")).unwrap()));
    host.apply(&wanted).unwrap();
    let guests = host.guests().unwrap();
    let _vms: Vec<_> = guests.iter().map(|guest| world.start(guest)).collect();
    let mut watch = world.node.run(Watch::ruleset).unwrap().unwrap();
    watch.set_buffer(64 << 20).unwrap();
    let milliseconds = (seconds * 1000).to_string();
    let children: Vec<Child> = (1..=agents)
        .map(|seed| start(&world, &[&seed.to_string(), &milliseconds]))
        .collect();
    let pids: Vec<u32> = children.iter().map(Child::id).collect();
    let done = AtomicBool::new(false);
    let answers = AtomicUsize::new(0);
    let logs: Vec<String> = std::thread::scope(|scope| {
        for first in 0..2 {
            let (world, done, answers) = (&world, &done, &answers);
            scope.spawn(move || ask_all(world, first, done, answers));
        }
        let outputs: Vec<_> = children
            .into_iter()
            .map(|child| child.wait_with_output().unwrap())
            .collect();
        done.store(true, Ordering::Relaxed);
        let logs = outputs.into_iter().map(|output| {
            assert!(
                output.status.success(),
                "an agent failed otherwise than by a refusal"
            );
            String::from_utf8(output.stdout).unwrap()
        });
        logs.collect()
    });
    let deeds = deeds(&mut watch);
    assert_eq!(replay(&deeds), present(&mut host), "the last state");
    for (pid, log) in pids.iter().zip(&logs) {
        let own: Vec<_> = deeds
            .iter()
            .filter(|deed| deed.process == Some(*pid))
            .collect();
        assert_told(&own, log);
    }
    let refused = logs
        .iter()
        .flat_map(|log| log.lines())
        .filter(|line| *line == "refused");
    eprintln!(
        "{agents} agents, {seconds} s: {} deeds, {} refusals, {} answers, all of guests that the ports may lead to",
        deeds.len(),
        refused.count(),
        answers.load(Ordering::Relaxed),
    );
    assert!(deeds.len() > 5 && answers.load(Ordering::Relaxed) > 5);
    host.remove().unwrap();
}

fn start(world: &World, words: &[&str]) -> Child {
    let mut arguments = planner::arguments(["random"]);
    arguments.extend(words);
    let spawn = || {
        Command::new(planner::program())
            .args(&arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    world.node.run(spawn).unwrap()
}

/// Asks one port after the other: who answers must be one to which the port
/// may lead.
fn ask_all(world: &World, first: usize, done: &AtomicBool, answers: &AtomicUsize) {
    let ask = || {
        for place in (0..PORTS).cycle().skip(first * PORTS / 2) {
            if done.load(Ordering::Relaxed) {
                return;
            }
            let port = u16::try_from(FIRST_PORT + place).unwrap();
            let Ok(body) = http_get(at(NODE[0], port), "/", NEVER) else {
                continue;
            };
            let (name, _) = greeting_in(&body).unwrap();
            let may = guests_of(place).map(|number| format!("vm-{number}"));
            assert!(
                may.iter().any(|guest| guest == name),
                "{name} answers on {port}"
            );
            answers.fetch_add(1, Ordering::Relaxed);
        }
    };
    world.outside.run(ask).unwrap();
}

/// A commit as the kernel reports it: ports that were closed and opened, each
/// with the guest's address.
struct Deed {
    process: Option<u32>,
    closed: Vec<(u16, String)>,
    opened: Vec<(u16, String)>,
}

fn deeds(watch: &mut Watch) -> Vec<Deed> {
    let mut deeds = Vec::new();
    let (mut closed, mut opened) = (Vec::new(), Vec::new());
    let patience = Duration::from_millis(100);
    while let Some(event) = watch.next_event(patience).unwrap() {
        match event {
            Event::New(Content::Elements(list)) => opened.extend(ports(&list.elements)),
            Event::Gone(Content::Elements(list)) => closed.extend(ports(&list.elements)),
            Event::Committed(commit) => {
                let (closed, opened) = (std::mem::take(&mut closed), std::mem::take(&mut opened));
                if !closed.is_empty() || !opened.is_empty() {
                    deeds.push(Deed {
                        process: commit.process,
                        closed,
                        opened,
                    });
                }
            }
            Event::Overrun => panic!("events were lost: the buffer is too small"),
            _ => {}
        }
    }
    deeds
}

/// The elements of the map of all addresses, IPv4.
fn ports(elements: &[Element]) -> Vec<(u16, String)> {
    let port = |element: &Element| {
        let Some(Value::Data(data)) = element.value() else {
            return None;
        };
        let (key, data) = (element.key().as_bytes(), data.as_bytes());
        (key.len() == 8 && data.len() == 8).then(|| {
            let address: [u8; 4] = data[..4].try_into().unwrap();
            let address = std::net::Ipv4Addr::from(address);
            (u16::from_be_bytes([key[4], key[5]]), address.to_string())
        })
    };
    elements.iter().filter_map(port).collect()
}

/// What the deeds lead to, one after the other. Each must be possible where it
/// stands.
fn replay(deeds: &[Deed]) -> BTreeMap<u16, String> {
    let mut state = BTreeMap::new();
    for deed in deeds {
        for (port, guest) in &deed.closed {
            assert_eq!(state.remove(port).as_ref(), Some(guest), "closed {port}");
        }
        for (port, guest) in &deed.opened {
            assert_eq!(state.insert(*port, guest.clone()), None, "opened {port}");
        }
    }
    state
}

fn present(host: &mut Host) -> BTreeMap<u16, String> {
    let exposed = host.exposures().unwrap();
    let port = |exposed: &tapwire::Exposed| {
        let exposure = exposed.exposure();
        let target = exposure.targets()[0].guest();
        let tapwire::Destination::Address(address) = target else {
            panic!("{exposure}");
        };
        (exposure.host_ports().first(), address.to_string())
    };
    exposed.iter().map(port).collect()
}

/// The deeds that the kernel saw of an agent are those that it told, in this
/// order. Only to expose what is exposed already is no deed, nor to move what
/// is there already.
fn assert_told(deeds: &[&Deed], log: &str) {
    let mut told = log.lines().filter(|line| *line != "refused");
    for deed in deeds {
        let words = match (deed.closed.as_slice(), deed.opened.as_slice()) {
            ([], [(port, guest)]) => format!("expose {port} {guest}"),
            ([(port, guest)], []) => format!("withdraw {port} {guest}"),
            ([(port, from)], [(_, to)]) => format!("move {port} {from} {to}"),
            other => panic!("more than was asked for: {other:?}"),
        };
        loop {
            let line = told.next();
            let line = line.unwrap_or_else(|| panic!("{words} was done and not told"));
            if line == words {
                break;
            }
            assert!(
                !line.starts_with("withdraw "),
                "{line} was told and not done"
            );
        }
    }
    for line in told {
        assert!(
            !line.starts_with("withdraw "),
            "{line} was told and not done"
        );
    }
}
