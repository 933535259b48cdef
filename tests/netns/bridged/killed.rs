//! A take-over and its way back that are killed, or refused, at any moment.

use std::process::{Command, ExitCode};

use tapwire::Error;
use tapwire::sys::NetNs;

use super::pod::{assert_same, ip, set, settled};
use crate::moments::{Moment, kill_program, moments_of_program, refuse_program};
use crate::planner::program;

/// A way to put a guest in a pod's place, and what is to be seen of it.
pub(crate) struct TakeOver {
    /// The first argument of the agent that is killed: this very program.
    pub(crate) agent: &'static str,
    pub(crate) take: fn() -> Result<(), Error>,
    pub(crate) restore: fn() -> Result<(), Error>,
    pub(crate) is_taken: fn() -> bool,
    /// All that is configured in the calling thread's namespace.
    pub(crate) dump: fn() -> String,
    /// The same without what hangs on cables.
    pub(crate) without_cables: fn() -> String,
}

impl TakeOver {
    /// Is the agent, if the command line says so.
    pub(crate) fn be_agent(&self) -> Option<ExitCode> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match words.as_slice() {
            [agent, "take"] if *agent == self.agent => Some(exit_code((self.take)())),
            [agent, "undo"] if *agent == self.agent => Some(exit_code((self.restore)())),
            _ => None,
        }
    }

    pub(crate) fn killed_take_over_is_completed_by_the_next_or_undone(&self) {
        let (take, undo) = (self.arguments("take"), self.arguments("undo"));
        let taken = || {
            runs(&take);
            (self.without_cables)()
        };
        let (before, taken) = in_pod(|| ((self.dump)(), taken()));
        for moment in in_pod(|| moments_of_program(&program(), &take)) {
            in_pod(|| {
                let when = format!("killed before {}", moment.call);
                kill_program(&program(), &take, &moment);
                self.assert_untouched(&before, &when);
                (self.restore)().unwrap();
                assert_eq!((self.dump)(), before, "{when}, undone");
                kill_program(&program(), &take, &moment);
                runs(&take);
                let now = (self.without_cables)();
                assert_same(&unnumbered(&now), &unnumbered(&taken), &when);
                assert!((self.is_taken)(), "{when}");
                runs(&undo);
                assert_eq!((self.dump)(), before, "{when}, completed and undone");
            });
        }
    }

    pub(crate) fn killed_undo_is_completed_by_the_next(&self) {
        let (take, undo) = (self.arguments("take"), self.arguments("undo"));
        let before = in_pod(self.dump);
        let moments = in_pod(|| {
            runs(&take);
            moments_of_program(&program(), &undo)
        });
        for moment in moments {
            in_pod(|| {
                let when = format!("killed before {}", moment.call);
                runs(&take);
                kill_program(&program(), &undo, &moment);
                self.assert_untouched(&before, &when);
                runs(&undo);
                assert_eq!((self.dump)(), before, "{when}");
            });
        }
    }

    pub(crate) fn take_over_that_the_kernel_refuses_at_any_step_leaves_nothing(&self) {
        let take = self.arguments("take");
        let before = in_pod(self.dump);
        for moment in in_pod(|| moments_of_program(&program(), &take)) {
            in_pod(|| {
                let when = format!("refused: {}", moment.call);
                refuse(&take, &moment);
                assert_eq!((self.dump)(), before, "{when}");
            });
        }
    }

    fn arguments(&self, verb: &'static str) -> [&'static str; 2] {
        [self.agent, verb]
    }

    /// The pod's own addresses and routes are there at every moment.
    fn assert_untouched(&self, before: &str, when: &str) {
        let now = (self.dump)();
        let own = |line: &&str| {
            let line = line.trim_start();
            let words = [
                "inet",
                "unicast",
                "local",
                "default",
                "broadcast",
                "valid_lft",
            ];
            words.iter().any(|word| line.starts_with(word)) && !line.contains(" lo")
        };
        for line in before.lines().filter(own) {
            let line = line.trim();
            assert!(now.contains(line), "{when}: {line} is missing in\n{now}");
        }
    }
}

/// As an agent ends, with its error in words.
pub(crate) fn exit_code(outcome: Result<(), Error>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn refuse(take: &[&str], moment: &Moment) {
    let output = refuse_program(&program(), take, moment);
    let code = output.status.code();
    assert_eq!(code, Some(1), "{}: {output:?}", moment.call);
}

/// Links are numbered as they are made; those that were removed leave gaps.
pub(crate) fn unnumbered(dump: &str) -> String {
    let lines = dump.lines().map(|line| match line.split_once(": ") {
        Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => line,
    });
    let mut lines: Vec<&str> = lines.collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[track_caller]
pub(crate) fn runs(arguments: &[&str]) {
    let output = Command::new(program()).args(arguments).output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {words}");
}

/// Does `work` in a new namespace with a pod's interface, numbers and MAC
/// addresses always the same.
fn in_pod<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let pod = NetNs::new().unwrap();
    pod.run(|| {
        set("net/ipv6/conf/default/accept_dad", "0");
        ip("link add eth0 address 02:00:00:00:00:05 type veth peer name far address 02:00:00:00:00:06");
        ip("link set far up");
        ip("link set eth0 mtu 1450 up");
        ip("address add 10.244.3.5/32 dev eth0");
        ip("address add fd00:244:3::5/128 dev eth0");
        ip("route add 169.254.1.1 dev eth0 scope link");
        ip("route add default via 169.254.1.1 dev eth0");
        ip("-6 route add default via fe80::1 dev eth0");
        ip("neigh add 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent");
        settled();
        work()
    })
    .unwrap()
}
