//! The moments at which a program could be killed.
//!
//! `strace` kills it on entering a system call, for each call that may change
//! something outside of the process in turn. Calls that only look are passed
//! over: to be killed at one of them leaves what it leaves to be killed at the
//! next that changes something.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Condvar, Mutex};
use std::thread;

use tapwire::sys::NetNs;

use crate::agent::{File, add_uplink};

/// A system call that may change something.
pub(crate) struct Moment {
    pub(crate) name: String,
    /// Its number among those of its name: so `strace` counts.
    pub(crate) number: usize,
    /// With its arguments, as `strace` writes it.
    pub(crate) call: String,
}

/// Runs a program and lists the moments at which it could be killed.
pub(crate) fn moments_of_program(program: &Path, arguments: &[&str]) -> Vec<Moment> {
    moments_with(program, &[], arguments)
}

/// The same, while strace has further options.
pub(crate) fn moments_with(program: &Path, options: &[&str], arguments: &[&str]) -> Vec<Moment> {
    let log = File::new("strace", "");
    let options = [&["-o", log.path()], options].concat();
    let output = strace_program(program, &options, arguments);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}");
    let log = fs::read_to_string(log.path()).unwrap();
    let looks = [
        "NLM_F_DUMP",
        "RTM_GET",
        "NFT_MSG_GET",
        "NS_GET",
        "TUNGET",
        "SIOCGIF",
        "write(1,",
        // For a thread alone, and only where `/dev` is of another namespace.
        "mount(\"tmpfs\", \"/dev\"",
    ];
    let mut counts = HashMap::new();
    let mut listed = HashSet::new();
    let mut moments = Vec::new();
    // The kernel itself repeats a setting that meets another change at work.
    let final_calls = log.lines().filter(|line| !line.contains("ERESTART"));
    for line in final_calls {
        let (thread, call) = line.split_once(' ').unwrap();
        let Some((name, _)) = call.trim_start().split_once('(') else {
            continue; // how the process ended
        };
        if name == "???" {
            continue; // a thread that ended with its process
        }
        // So strace counts: in each thread for itself.
        let number = counts.entry((thread, name)).or_insert(0);
        *number += 1;
        let is_change = !name.starts_with('<') && !looks.iter().any(|word| call.contains(word));
        if is_change && listed.insert((name, *number)) {
            moments.push(Moment {
                name: name.to_owned(),
                number: *number,
                call: call.chars().take(160).collect(),
            });
        }
    }
    moments
}

/// Does `work` for each moment, in a network namespace of its own.
pub(crate) fn in_each_moment(moments: Vec<Moment>, work: impl Fn(&Moment) + Sync) {
    assert!(moments.len() > 3, "the log of strace was not understood");
    let moments = Mutex::new(moments.into_iter());
    let next = || moments.lock().unwrap().next();
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(moment) = next() {
                    let _turn = Turn::wait();
                    in_new_node(|| work(&moment));
                }
            });
        }
    });
}

/// That a moment has its turn, of all tests' moments: a tracer and the program
/// that it stops wake each other, and where many do so, the kernel's own
/// threads may not get to run for minutes.
struct Turn;

/// How many have theirs.
static TURNS: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

impl Turn {
    /// Waits for one: as many at once as there are processors.
    fn wait() -> Self {
        let most = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let (taken, given_back) = &TURNS;
        let taken = taken.lock().unwrap();
        let mut taken = given_back
            .wait_while(taken, |taken| *taken >= most)
            .unwrap();
        *taken += 1;
        Self
    }
}

/// Also by a panic.
impl Drop for Turn {
    fn drop(&mut self) {
        let (taken, given_back) = &TURNS;
        *taken.lock().unwrap() -= 1;
        given_back.notify_one();
    }
}

/// Runs a program, killed on entering a system call.
pub(crate) fn kill_program(program: &Path, arguments: &[&str], moment: &Moment) {
    let Moment { name, number, call } = moment;
    let inject = format!("inject={name}:signal=KILL:when={number}");
    let output = strace_program(program, &["-o", "/dev/null", "-e", &inject], arguments);
    // strace ends as its child does.
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(SIGKILL), "{call}: {words}");
}

/// Runs a program and kills it at this moment, if it gets there.
pub(crate) fn kill_or_run(program: &Path, arguments: &[&str], moment: &Moment) {
    let Moment { name, number, .. } = moment;
    let inject = format!("inject={name}:signal=KILL:when={number}");
    strace_program(program, &["-o", "/dev/null", "-e", &inject], arguments);
}

/// Runs a program, of which one system call fails.
pub(crate) fn refuse_program(program: &Path, arguments: &[&str], moment: &Moment) -> Output {
    let Moment { name, number, .. } = moment;
    let inject = format!("inject={name}:error=ENOMEM:when={number}");
    strace_program(program, &["-o", "/dev/null", "-e", &inject], arguments)
}

pub(crate) fn strace_program(program: &Path, options: &[&str], arguments: &[&str]) -> Output {
    let trace = format!("trace={TRACED}");
    Command::new("strace")
        .args(["-f", "-e", "signal=none", "-e", &trace])
        .args(options)
        .arg(program)
        .args(arguments)
        .output()
        .unwrap()
}

/// The calls by which the agent can change something outside of itself. (It
/// need not be killed before it closes something: it would close it dying.)
const TRACED: &str = "sendto,sendmsg,ioctl,write,unshare,mount,umount2,unlink";

const SIGKILL: i32 = 9;

/// Runs `work` in a new network namespace with an uplink.
pub(crate) fn in_new_node<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let node = NetNs::new().unwrap();
    node.run(|| {
        add_uplink();
        work()
    })
    .unwrap()
}

/// Most of their time they wait for the kernel.
const WORKERS: usize = 4;
