//! A small agent that commits plans, to be run and killed: this very program,
//! told so by its first argument.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use tapwire::{
    Connection, Error, Exposure, Flows, Guest, Host, Networks, Owner, Ownership, Pool,
    PoolSettings, Settings, Wanted,
};

/// The first argument of the agent.
const AGENT: &str = "plan-agent";

/// What the agent is told on its command line.
pub(crate) fn arguments<const N: usize>(words: [&'static str; N]) -> Vec<&'static str> {
    let mut arguments = vec![AGENT];
    arguments.extend(words);
    arguments
}

pub(crate) fn program() -> PathBuf {
    env::current_exe().unwrap()
}

/// Runs the agent in the calling thread's network namespace.
pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).output().unwrap()
}

/// [`run`], which must succeed.
#[track_caller]
pub(crate) fn runs(arguments: &[&str]) {
    let output = run(arguments);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {words}");
}

/// Starts the agent and waits for its first line.
pub(crate) fn start(arguments: &[&str]) -> Child {
    let mut child = Command::new(program())
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap());
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n", "{arguments:?}");
    child
}

/// Is the agent, if the command line says so.
pub(crate) fn be_agent() -> Option<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [AGENT, verb, rest @ ..] = words.as_slice() else {
        return None;
    };
    Some(match act(verb, rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            if let Some(source) = std::error::Error::source(&error) {
                eprintln!("{source}");
            }
            ExitCode::FAILURE
        }
    })
}

fn act(verb: &str, words: &[&str]) -> Result<(), Error> {
    let settings = Settings::new(Owner::new("riklet")?);
    match verb {
        "apply" => Host::with(settings)?.apply(&wanted(words)?).map(drop),
        "small" => {
            let networks = Networks::new(
                "198.18.0.0/29".parse().unwrap(),
                "fd2c:6b8f:4a10::/125".parse().unwrap(),
            )?;
            let settings = settings.exposures(2).networks(networks);
            Host::with(settings)?.apply(&wanted(words)?).map(drop)
        }
        "conflicts" => {
            let conflicts = Host::with(settings)?.conflicts(&[])?;
            let mut output = std::io::stdout();
            for conflict in conflicts {
                writeln!(output, "{conflict}").unwrap();
            }
            Ok(())
        }
        "remove" => Host::with(settings)?.remove(),
        "has" => {
            let plan = Host::with(settings)?.plan(&wanted(words)?)?;
            assert!(plan.is_empty(), "{plan}");
            Ok(())
        }
        "hold" => {
            let settings = settings.ownership(Ownership::OwnedPersistent);
            let mut host = Host::with(settings)?;
            host.apply(&wanted(words)?)?;
            let mut output = std::io::stdout();
            writeln!(output, "ready")
                .and_then(|()| output.flush())
                .unwrap();
            loop {
                std::thread::park();
            }
        }
        "pool" => pool(words).map(drop),
        "pool-hold" => {
            let pool = pool(words)?;
            let mut host = Host::with(settings)?;
            for port in [8000, 8001] {
                let taken = pool.take(PATIENCE).unwrap();
                let text = format!("tcp/{port}->{}:80", taken.name());
                host.expose(&text.parse()?)?;
            }
            pool.fill(PATIENCE).unwrap();
            let mut output = std::io::stdout();
            writeln!(output, "ready")
                .and_then(|()| output.flush())
                .unwrap();
            loop {
                std::thread::park();
            }
        }
        "pool-end" => pool(words)?.shutdown(),
        "random" => random(words[0].parse().unwrap(), words[1].parse().unwrap()),
        other => panic!("no verb {other}"),
    }
}

/// A pool that has so many networks ready, connected in this way.
fn pool(words: &[&str]) -> Result<Pool, Error> {
    let like = Guest::new("pool")?;
    let like = match words[1] {
        "routed" => like,
        "rewritten" => like.connection(Connection::Rewritten(crate::clones::snapshot())),
        "namespaced" => like.connection(Connection::Namespaced(crate::clones::snapshot())),
        other => panic!("no way {other}"),
    };
    let settings = Settings::new(Owner::new("riklet")?);
    let pool = Pool::start(PoolSettings::new(
        settings,
        like,
        words[0].parse().unwrap(),
    )?)?;
    pool.fill(PATIENCE).unwrap();
    Ok(pool)
}

/// For what takes a busy machine long.
const PATIENCE: Duration = Duration::from_secs(300);

/// What stands before the name of a guest that is a clone.
const CLONE: &str = "clone:";

/// Guests by their names, clones in namespaces of their own by theirs behind a
/// `@`, and exposures.
fn wanted(words: &[&str]) -> Result<Wanted, Error> {
    let mut wanted = Wanted::new();
    for word in words {
        wanted = if word.contains("->") {
            wanted.exposure(word.parse()?)
        } else if let Some(name) = word.strip_prefix('@') {
            wanted.guest(crate::namespaced::clone(name))
        } else if let Some(name) = word.strip_prefix(CLONE) {
            wanted.guest(crate::clones::clone(name))
        } else {
            wanted.guest(Guest::new(word)?)
        };
    }
    Ok(wanted)
}

/// Exposes, moves and withdraws ports at random, and prints what came of it:
/// `expose PORT ADDRESS`, `withdraw PORT ADDRESS`, `move PORT FROM TO`, or
/// `refused`.
fn random(seed: u64, milliseconds: u64) -> Result<(), Error> {
    let mut host = Host::open(Owner::new("riklet")?)?;
    let guests: Vec<_> = host
        .guests()?
        .iter()
        .map(|guest| guest.ipv4().to_string())
        .collect();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut log = String::new();
    let end = Instant::now() + Duration::from_millis(milliseconds);
    while Instant::now() < end {
        let place = next(PORTS);
        let port = FIRST_PORT + place;
        let which = next(2);
        let [one, other] = guests_of(place).map(|guest| guests[guest].as_str());
        let (one, other) = if which == 0 {
            (one, other)
        } else {
            (other, one)
        };
        let exposure = |guest: &str| -> Result<Exposure, Error> {
            Ok(format!("tcp/{port}->{guest}:80").parse()?)
        };
        let flows = if next(2) == 0 {
            Flows::Cut
        } else {
            Flows::Drain
        };
        let (line, result) = match next(3) {
            0 => (format!("expose {port} {one}"), host.expose(&exposure(one)?)),
            1 => (
                format!("withdraw {port} {one}"),
                host.withdraw(&exposure(one)?, flows),
            ),
            _ => (
                format!("move {port} {one} {other}"),
                host.repoint(&exposure(one)?, &exposure(other)?, flows),
            ),
        };
        match result {
            Ok(()) => log.push_str(&line),
            Err(Error::Conflict(_) | Error::Absent { .. }) => log.push_str("refused"),
            Err(error) => return Err(error),
        }
        log.push('\n');
    }
    std::io::stdout().write_all(log.as_bytes()).unwrap();
    Ok(())
}

/// The ports with which the agents play.
pub(crate) const FIRST_PORT: usize = 8000;
pub(crate) const PORTS: usize = 8;

/// The only guests, by their numbers, to which a port may ever lead.
pub(crate) fn guests_of(place: usize) -> [usize; 2] {
    [place % GUESTS, (place + 1) % GUESTS]
}

pub(crate) const GUESTS: usize = 4;
