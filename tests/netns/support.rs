//! A namespace for each test, and the programs that judge.

use std::io::Write;
use std::path::Path;
use std::process::{self, Command, Stdio};

use libtest_mimic::Trial;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{self, UnshareFlags};
use tapwire::sys::{NetNs, enter_user_namespace, has_net_admin};

/// Lists test functions: `trials![a_fact, another]`, or
/// `trials![needs ["nft", "Linux 6.5"]: a_fact]` for those that want a program
/// or a kernel that is new enough, or a file (`/boot/vmlinuz-*`), or the rights
/// of the machine's `root`, which no user namespace gives.
macro_rules! trials {
    ($($test:ident),* $(,)?) => {
        vec![$($crate::support::trial(concat!(module_path!(), "::", stringify!($test)), &[], $test)),*]
    };
    (needs $needs:tt: $($test:ident),* $(,)?) => {
        vec![$($crate::support::trial(concat!(module_path!(), "::", stringify!($test)), &$needs, $test)),*]
    };
}

pub(crate) use trials;

/// A test that runs in a new network namespace, with what it `needs` at hand.
pub(crate) fn trial(name: &str, needs: &[&str], test: fn()) -> Trial {
    let name = name.strip_prefix("netns::").unwrap_or(name);
    let is_missing = |need: &&str| match need.split_once([' ', '*']) {
        Some(("Linux", release)) => version(&kernel_release()) < version(release),
        Some((beginning, "")) => !has_file(beginning),
        None if *need == "root" => !is_root_of_the_machine(),
        _ => find(need).is_none(),
    };
    let missing = needs.iter().any(is_missing);
    let trial = Trial::test(name, move || {
        // Should `run` itself be broken, nothing may happen to the machine.
        let guarded = || {
            let outside = NetNs::of_pid(process::id()).unwrap();
            assert!(!outside.is_current().unwrap(), "not in a new namespace");
            forget_names();
            test();
        };
        NetNs::new()
            .and_then(|netns| netns.run(guarded))
            .expect("a new network namespace");
        Ok(())
    });
    match needs {
        [] => trial,
        _ => trial
            .with_kind(format!("needs {}", needs.join(", ")))
            .with_ignored_flag(missing),
    }
}

pub(crate) fn is_root_of_the_machine() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    let is_initial = map.split_whitespace().eq(["0", "0", "4294967295"]);
    is_initial && rustix::process::geteuid().is_root()
}

/// Gives the calling thread, and those that it starts, a `/run` of their own:
/// the names of namespaces are kept there, which no two tests should share.
pub(crate) fn forget_names() {
    #[expect(deprecated, reason = "moves no descriptors, so it is safe")]
    thread::unshare(UnshareFlags::FS | UnshareFlags::NEWNS).unwrap();
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).unwrap();
    mount("tmpfs", "/run", "tmpfs", MountFlags::NOSUID, None).unwrap();
}

/// Makes sure of `CAP_NET_ADMIN`, by a user namespace if need be, and of
/// `/dev/net/tun`; else says in one sentence what is missing. To be called
/// while the process has one thread.
pub(crate) fn gain_rights() -> Result<(), String> {
    let help = "these tests need CAP_NET_ADMIN, or the right to make user namespaces";
    if !has_net_admin().map_err(|error| format!("{help} ({error})"))? {
        enter_user_namespace().map_err(|error| format!("{help} ({error})"))?;
    }
    let tun = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun");
    tun.map(drop).map_err(|error| {
        format!("these tests need read and write permission on /dev/net/tun ({error}): run them as root, or chmod 0666 /dev/net/tun")
    })
}

/// Runs a program in the calling thread's network namespace and returns what
/// it prints; panics with its own words if it fails.
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    feed(program, arguments, "")
}

/// [`run`] with `input` on standard input.
pub(crate) fn feed(program: &str, arguments: &[&str], input: &str) -> String {
    let path = find(program).unwrap_or_else(|| panic!("{program} is not installed"));
    let mut child = Command::new(path)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {words}");
    String::from_utf8(output.stdout).unwrap()
}

/// The release of the running kernel: `6.1.0-56-amd64`.
fn kernel_release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap()
}

/// The first two numbers of a kernel's release.
fn version(release: &str) -> [u32; 2] {
    let mut numbers = release
        .split(|character: char| !character.is_ascii_digit())
        .map(|digits| digits.parse().expect("a release begins with numbers"));
    [(); 2].map(|()| numbers.next().expect("a release has two numbers"))
}

/// Whether there is a file whose path begins so.
fn has_file(beginning: &str) -> bool {
    let (folder, name) = beginning.rsplit_once('/').expect("a path");
    std::fs::read_dir(folder).is_ok_and(|mut files| {
        files.any(|file| {
            file.is_ok_and(|file| {
                file.file_name()
                    .as_encoded_bytes()
                    .starts_with(name.as_bytes())
            })
        })
    })
}

/// Finds a program; `/usr/sbin` counts, which a user's PATH may lack.
fn find(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin"])
        .map(|folder| Path::new(folder).join(program))
        .find(|file| file.is_file())
}
