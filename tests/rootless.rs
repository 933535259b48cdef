//! What a process without privilege can do after `enter_user_namespace`.
//!
//! It has to be a program of its own (`harness = false`): a process that has
//! threads, as the test harness has, cannot enter a user namespace. Started
//! as root it runs itself again as nobody, so it is the same test for all.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::env;
use std::fs;
use std::io::Error as IoError;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{self, Command};
use std::sync::Arc;
use std::thread;

use libtest_mimic::{Arguments, Trial};
use tapwire::sys::{NetNs, TapOptions, enter_user_namespace, has_net_admin};
use tapwire::{Host, Owner};

/// A fact and the code that fails if it is not one.
type Test = (&'static str, fn());

const TESTS: [Test; 4] = [
    (
        "namespace_is_known_to_ip_by_its_name_until_it_is_removed",
        namespace_is_known_to_ip_by_its_name_until_it_is_removed,
    ),
    (
        "namespace_outside_cannot_be_worked_in",
        namespace_outside_cannot_be_worked_in,
    ),
    (
        "host_outside_is_refused_and_the_right_is_the_reason",
        host_outside_is_refused_and_the_right_is_the_reason,
    ),
    (
        "tap_device_is_made_or_the_error_tells_what_helps",
        tap_device_is_made_or_the_error_tells_what_helps,
    ),
];

fn namespace_is_known_to_ip_by_its_name_until_it_is_removed() {
    enter();
    let netns = NetNs::create_named("blue").unwrap();
    assert!(NetNs::create_named("blue").unwrap_err().is_exists());
    assert_eq!(ip("netns list").trim(), "blue");
    let inside = ip("netns exec blue readlink /proc/self/ns/net");
    assert_eq!(inside.trim(), netns.id().unwrap().to_string());
    let again = NetNs::open_named("blue").unwrap();
    assert_eq!(again.id().unwrap(), netns.id().unwrap());
    drop((netns, again));
    ip("-n blue link show lo");

    ip("netns add red");
    let of_ip = NetNs::open_named("red").unwrap();
    assert!(of_ip.run(|| of_ip.is_current().unwrap()).unwrap());
    NetNs::remove_named("red").unwrap();
    NetNs::remove_named("blue").unwrap();
    assert_eq!(ip("netns list"), "");
    assert!(NetNs::remove_named("blue").unwrap_err().is_not_found());

    // What a failed `ip netns add` leaves behind.
    fs::write("/run/netns/green", "").unwrap();
    let error = NetNs::open_named("green").unwrap_err();
    assert!(error.to_string().ends_with("is not a namespace"), "{error}");
    NetNs::remove_named("green").unwrap();
    assert_eq!(fs::read_dir("/run/netns").unwrap().count(), 0);
}

fn namespace_outside_cannot_be_worked_in() {
    assert!(!has_net_admin().unwrap());
    let error = NetNs::new().unwrap_err();
    assert_eq!(
        error.to_string(),
        "unshare network namespace (needs CAP_SYS_ADMIN)"
    );
    let outside = NetNs::current().unwrap();
    enter();
    assert!(!outside.is_current().unwrap());
    let mut ran = false;
    let error = outside.run(|| ran = true).unwrap_err();
    assert!(error.is_permission_denied(), "{error:?}");
    assert!(error.to_string().starts_with("setns network namespace ("));
    assert!(!ran);
}

fn host_outside_is_refused_and_the_right_is_the_reason() {
    assert!(!has_net_admin().unwrap());
    let error = Host::open(Owner::new("riklet").unwrap()).unwrap_err();
    assert!(error.is_permission_denied(), "{error:?}");
    assert_eq!(error.to_string(), "get the generation");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.starts_with("Operation not permitted"), "{source}");
}

fn tap_device_is_made_or_the_error_tells_what_helps() {
    let may_open = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun");
    enter();
    let made = TapOptions::new("tap0".parse().unwrap()).create();
    if may_open.is_ok() {
        assert!(made.unwrap().index().is_ok());
        return;
    }
    let error = made.unwrap_err();
    assert!(error.is_permission_denied(), "{error:?}");
    assert_eq!(
        error.to_string(),
        "open /dev/net/tun (needs read and write permission on /dev/net/tun)"
    );
}

fn enter() {
    // The thread that tried to make a namespace was joined, but the kernel
    // may still be busy ending it.
    while fs::read_dir("/proc/self/task").unwrap().count() > 1 {
        thread::yield_now();
    }
    enter_user_namespace().unwrap();
    assert!(has_net_admin().unwrap());
    assert_eq!(fs::read_dir("/run").unwrap().count(), 0);
    assert_eq!(fs::metadata("/run").unwrap().uid(), 0);
}

/// Runs `ip`; its output.
fn ip(arguments: &str) -> String {
    let words = arguments.split_whitespace();
    let output = Command::new("ip").args(words).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn main() -> Result<(), IoError> {
    if let Ok(name) = env::var(CHILD) {
        let test = TESTS.iter().find(|(known, _)| *known == name);
        test.unwrap().1();
        return Ok(());
    }
    let arguments = Arguments::from_args();
    let program = Arc::new(Copy::of_this_program()?);
    let trials = TESTS.map(|(name, _)| {
        let program = Arc::clone(&program);
        Trial::test(name, move || Ok(run_apart(&program, name)?))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.into());
    drop(program); // `exit` drops nothing
    conclusion.exit()
}

/// Runs one test in a process of its own, without privilege.
fn run_apart(program: &Copy, name: &str) -> Result<(), IoError> {
    let mut child = Command::new(&program.0);
    child.env(CHILD, name).current_dir("/");
    if fs::metadata("/proc/thread-self")?.uid() == 0 {
        child.uid(NOBODY).gid(NOBODY);
    }
    let output = child.output()?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(IoError::other(words.into_owned()))
}

/// A copy of this program where nobody may read it, too.
struct Copy(PathBuf);

impl Copy {
    fn of_this_program() -> Result<Self, IoError> {
        let name = format!("tapwire-rootless-{}", process::id());
        let copy = Self(env::temp_dir().join(name));
        fs::copy(env::current_exe()?, &copy.0)?;
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

const CHILD: &str = "TAPWIRE_ROOTLESS_TEST";
const NOBODY: u32 = 65534;
