//! The example `clones` does what it says.

use std::path::PathBuf;
use std::process::{Command, Output};

use libtest_mimic::Trial;

use crate::agent;
use crate::support::trials;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = trials![
        clones_of_the_example_are_reached_and_removed,
        example_refuses_what_it_does_not_know,
    ];
    trials.extend(trials![needs ["strace"]: clones_need_no_proc_of_their_own]);
    trials
}

fn program() -> PathBuf {
    agent::program().with_file_name("clones")
}

fn clones(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).output().unwrap()
}

fn clones_of_the_example_are_reached_and_removed() {
    let output = clones(&["--count", "25", "--sample", "3"]);
    let words = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}{errors}");
    // Three ways to reach each, over both families, and that nothing is left.
    let checks = 2 * (3 * 3 * 2 + 1);
    let end = format!("All {checks} checks went as they should.\n");
    assert!(words.ends_with(&end), "{words}");
    for drawn in [
        "└─ clones-0  198.18.0.1/30  fd2c:6b8f:4a10::1/126  no VMM",
        "inside 172.16.0.2/24  fd00:ac10::2/64",
        "taken from a pool",
    ] {
        assert_eq!(words.matches(drawn).count(), 2, "{drawn}: {words}");
    }
}

/// Linux before 5.2, or who may not mount it.
fn clones_need_no_proc_of_their_own() {
    let inject = ["-e", "inject=fsopen:error=ENOSYS"];
    let output = Command::new("strace")
        .args(["-f", "-e", "signal=none", "-e", "trace=fsopen"])
        .args(inject)
        .arg(program())
        .args(["--count", "2", "--sample", "2"])
        .output()
        .unwrap();
    let refused = String::from_utf8_lossy(&output.stderr)
        .matches("(INJECTED)")
        .count();
    assert!(refused > 0, "{output:?}");
    assert!(output.status.success(), "{output:?}");
}

fn example_refuses_what_it_does_not_know() {
    for arguments in [
        &["--count"][..],
        &["--count", "0"],
        &["40"],
        &["--sample", "x"],
    ] {
        assert_eq!(clones(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
