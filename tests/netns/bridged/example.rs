//! The example `bridged` does what it says.

use std::process::{Command, Output};

use libtest_mimic::Trial;

use crate::agent;
use crate::support::trials;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        both_scenes_of_the_example_go_as_they_should,
        example_refuses_what_it_does_not_know,
    ]
}

fn bridged(arguments: &[&str]) -> Output {
    let program = agent::program().with_file_name("bridged");
    Command::new(program).args(arguments).output().unwrap()
}

fn both_scenes_of_the_example_go_as_they_should() {
    let output = bridged(&[]);
    let words = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words}{errors}");
    // From two places, three times; by the guest to two; of the neighbour
    // twice; and that the pod is as it was.
    let checks = 2 * (2 * 3 + 2 + 2 + 1);
    let end = format!("All {checks} checks went as they should.\n");
    assert!(words.ends_with(&end), "{words}");
    for (line, times) in [
        ("guest, to 203.0.113.7", 2),
        ("pod, to 203.0.113.7", 4),
        ("guest, to fd00:244:3::6", 2),
        ("outside, to 10.244.3.5", 2),
        ("cni0", 1),
        ("169.254.1.1", 3),
        ("add bridge guestbr", 2),
    ] {
        assert!(words.matches(line).count() >= times, "{line}: {words}");
    }
}

fn example_refuses_what_it_does_not_know() {
    for arguments in [&["subnets"][..], &["subnet", "2"]] {
        assert_eq!(bridged(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
