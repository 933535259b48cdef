//! Who holds a TAP device, found by looking through `/proc`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::TUN_PATH;
use crate::sys::netns::{NetNs, NetNsId};
use crate::types::IfName;

/// A process with a descriptor of the device.
pub(super) struct Holder {
    pid: u32,
    command: String,
    /// Whether the process has a thread in the network namespace in question.
    /// If not, it may hold a device of the same name somewhere else.
    certain: bool,
}

impl Holder {
    /// Looks for the holder of the device `name` of the network namespace
    /// `here`, as far as `/proc` may be read.
    pub(super) fn find(name: IfName, here: NetNsId) -> Option<Self> {
        let mut best = None;
        for process in list(Path::new("/proc")) {
            let Some(pid) = number(&process) else {
                continue;
            };
            if !holds(&process, name) {
                continue;
            }
            let certain = list(&process.join("task"))
                .any(|task| namespace_of(&task).is_some_and(|id| id == here));
            let command = fs::read_to_string(process.join("comm")).unwrap_or_default();
            let command = command.trim_end().to_owned();
            best = Some(Self {
                pid,
                command,
                certain,
            });
            if certain {
                break;
            }
        }
        best
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = if self.certain { "held" } else { "perhaps held" };
        write!(f, "{held} by pid {} ({})", self.pid, self.command)
    }
}

/// Whether a descriptor of the process at `process` is attached to `name`.
fn holds(process: &Path, name: IfName) -> bool {
    list(&process.join("fd")).any(|link| {
        // Reading a link is cheap; few lead to the device, and only for those
        // the kernel has a line `iff:`.
        fs::read_link(&link).is_ok_and(|target| target == Path::new(TUN_PATH))
            && link.file_name().is_some_and(|fd| {
                fs::read_to_string(process.join("fdinfo").join(fd))
                    .is_ok_and(|info| attached_to(&info) == Some(name.as_str()))
            })
    })
}

/// The device that a file of `/proc/*/fdinfo` tells of.
fn attached_to(info: &str) -> Option<&str> {
    info.lines().find_map(|line| line.strip_prefix("iff:\t"))
}

fn namespace_of(task: &Path) -> Option<NetNsId> {
    NetNs::open(task.join("ns/net")).ok()?.id().ok()
}

fn number(process: &Path) -> Option<u32> {
    process.file_name()?.to_str()?.parse().ok()
}

fn list(directory: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_is_read_from_fdinfo() {
        let info = "pos:\t0\nflags:\t02400002\nmnt_id:\t25\nino:\t5\niff:\ttap0\n";
        assert_eq!(attached_to(info), Some("tap0"));
        assert_eq!(attached_to("pos:\t0\n"), None);
    }

    #[test]
    fn holder_says_when_it_is_a_guess() {
        let mut holder = Holder {
            pid: 7,
            command: "firecracker".into(),
            certain: true,
        };
        assert_eq!(holder.to_string(), "held by pid 7 (firecracker)");
        holder.certain = false;
        assert_eq!(holder.to_string(), "perhaps held by pid 7 (firecracker)");
    }
}
