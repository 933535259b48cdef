//! A small agent that commits plans, to be run and killed: this very program,
//! told so by its first argument.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Output, Stdio};

use tapwire::{Error, Guest, Host, Owner, Ownership, Settings, Wanted};

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
            ExitCode::FAILURE
        }
    })
}

fn act(verb: &str, words: &[&str]) -> Result<(), Error> {
    let settings = Settings::new(Owner::new("riklet")?);
    match verb {
        "apply" => Host::with(settings)?.apply(&wanted(words)?).map(drop),
        "remove" => Host::with(settings)?.remove(),
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
        other => panic!("no verb {other}"),
    }
}

/// Guests by their names, and exposures.
fn wanted(words: &[&str]) -> Result<Wanted, Error> {
    let mut wanted = Wanted::new();
    for word in words {
        wanted = if word.contains("->") {
            wanted.exposure(word.parse()?)
        } else {
            wanted.guest(Guest::new(word)?)
        };
    }
    Ok(wanted)
}
