//! Virtual machines as processes: user-mode Linux, and QEMU.

use std::io::{BufRead, BufReader, PipeReader, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use tapwire::sys::NetNs;
use tapwire::{Attachment, IfName, Snapshot};

use super::initramfs;
use crate::support::run;
use crate::world::GUEST_PORT;

/// What a guest believes about itself and its network.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    name: String,
    inside: Snapshot,
}

impl Identity {
    pub(super) fn of(attachment: &Attachment) -> Self {
        Self::new(attachment.name(), Snapshot::of(attachment))
    }

    pub(super) fn new(name: &str, inside: Snapshot) -> Self {
        let name = name.to_owned();
        Self { name, inside }
    }

    /// The words of the kernel's command line that init reads.
    fn words(&self) -> [String; 6] {
        let ipv6 = self.inside.ipv6_net().unwrap();
        let gateway_ipv6 = self.inside.gateway_ipv6().unwrap();
        [
            format!("guest_name={}", self.name),
            format!("guest_port={GUEST_PORT}"),
            format!("guest_ipv4={}", self.inside.ipv4_net()),
            format!("gateway_ipv4={}", self.inside.gateway_ipv4()),
            format!("guest_ipv6={ipv6}"),
            format!("gateway_ipv6={gateway_ipv6}"),
        ]
    }
}

/// How a guest gets at its wire.
pub(super) enum Wire<'a> {
    /// It opens the TAP of this name in that namespace, and asks for a vnet
    /// header and offloads.
    Named(&'a NetNs, IfName),
    /// It is handed a descriptor, of a TAP without a vnet header or of
    /// anything that carries frames.
    Handed(OwnedFd),
}

/// A virtual machine. When it is dropped it is gone, with all its processes
/// and files.
pub(super) struct Vm {
    child: Child,
    console: Receiver<String>,
    said: String,
    _scratch: Scratch,
}

impl Vm {
    /// Starts user-mode Linux.
    pub(super) fn uml(identity: &Identity, wire: Wire<'_>) -> Self {
        let scratch = Scratch::new();
        let release = run("linux.uml", &["--version"]);
        let modules = Path::new("/usr/lib/uml/modules").join(release.trim());
        let initramfs = scratch.path("initramfs");
        initramfs::write(&initramfs, &modules, &["ipv6"]);
        let transport = match &wire {
            Wire::Named(_, tap) => format!("transport=tap,ifname={tap},gro=1"),
            Wire::Handed(_) => "transport=fd,fd=0,vec=0".to_owned(),
        };
        let mut words = vec![
            "linux.uml".to_owned(),
            format!("initrd={}", initramfs.display()),
            format!("uml_dir={}", scratch.path("uml").display()),
            format!("vec0:{transport},mac={}", identity.inside.mac()),
        ];
        words.extend(UML_OPTIONS.map(str::to_owned));
        words.extend(identity.words());
        match wire {
            Wire::Named(netns, _) => {
                let netns = netns.as_fd().try_clone_to_owned().unwrap();
                let enter = ["nsenter", "--net=/dev/stdin"].map(str::to_owned);
                Self::start(netns, &[&enter[..], &words].concat(), scratch)
            }
            Wire::Handed(frames) => Self::start(frames, &words, scratch),
        }
    }

    /// Starts QEMU with a virtio-net card on a TAP's descriptor that has a
    /// vnet header.
    ///
    /// It interprets the guest's code: where there is `/dev/kvm` it need not
    /// work, and without it the test is the same everywhere.
    pub(super) fn qemu(identity: &Identity, tap: OwnedFd) -> Self {
        let scratch = Scratch::new();
        let release = debian_kernel();
        let modules = Path::new("/lib/modules").join(&release);
        let initramfs = scratch.path("initramfs");
        initramfs::write(&initramfs, &modules, &["virtio_pci", "virtio_net", "ipv6"]);
        let mut words = vec!["qemu-system-x86_64".to_owned()];
        words.extend(QEMU_OPTIONS.map(str::to_owned));
        let mac = identity.inside.mac();
        words.extend([
            "-device".to_owned(),
            format!("virtio-net-pci,netdev=wire,romfile=,mac={mac}"),
            "-kernel".to_owned(),
            format!("/boot/vmlinuz-{release}"),
            "-initrd".to_owned(),
            initramfs.display().to_string(),
            "-append".to_owned(),
            format!("{QEMU_KERNEL_OPTIONS} {}", identity.words().join(" ")),
        ]);
        Self::start(tap, &words, scratch)
    }

    /// Starts a program with a descriptor as its standard input, so that it
    /// ends with the calling thread at the latest.
    ///
    /// User-mode Linux runs its guest's processes as traced processes of the
    /// host, and would leave them behind if it was killed: so it is the first
    /// of a PID namespace, with which they end.
    fn start(stdin: OwnedFd, words: &[String], scratch: Scratch) -> Self {
        let (reader, writer) = pipe().unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(["unshare", "--fork", "--pid", "--kill-child", "--"])
            .args(words)
            .stdin(stdin)
            .stdout(writer.try_clone().unwrap())
            .stderr(writer)
            .spawn()
            .unwrap();
        Self {
            child,
            console: lines(reader),
            said: String::new(),
            _scratch: scratch,
        }
    }

    /// Waits until the guest serves.
    #[track_caller]
    pub(super) fn wait_until_up(&mut self) {
        let end = Instant::now() + BOOT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.console.recv_timeout(left).unwrap_or_else(|error| {
                panic!("the guest does not boot ({error})");
            });
            self.said.push_str(&line);
            if line.contains("guest: up") {
                return;
            }
        }
    }

    /// Ends the machine.
    pub(super) fn stop(self) {
        drop(self);
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        // It fails if the machine ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
        // Each of its processes holds the console open.
        let end = loop {
            match self.console.recv_timeout(BOOT) {
                Ok(line) => self.said.push_str(&line),
                Err(end) => break end,
            }
        };
        if thread::panicking() {
            eprintln!("the guest's console:\n{}", self.said);
        } else {
            let gone = RecvTimeoutError::Disconnected;
            assert_eq!(end, gone, "the machine's processes outlive it");
        }
    }
}

/// The lines of a console as they come, until its last writer is gone.
fn lines(console: PipeReader) -> Receiver<String> {
    let (sender, receiver) = channel();
    let mut console = BufReader::new(console);
    thread::spawn(move || {
        let mut line = Vec::new();
        while console.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line).into_owned();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    receiver
}

/// The release of the newest kernel in `/boot`, by name.
fn debian_kernel() -> String {
    let files = fs::read_dir("/boot").unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let releases = names.filter_map(|name| Some(name.strip_prefix("vmlinuz-")?.to_owned()));
    releases.max().expect("a kernel in /boot")
}

/// A directory of its own, removed when dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tapwire-guest-{}-{number}", process::id());
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(&self.0);
        if !thread::panicking() {
            removed.unwrap();
        }
    }
}

/// How long a guest may take to boot, on a machine that is busy.
const BOOT: Duration = Duration::from_secs(60);

const UML_OPTIONS: [&str; 7] = [
    "mem=64M",
    "umid=guest",
    "con=null",
    "con0=null,fd:1",
    "quiet",
    "panic=-1",
    "noreboot",
];

const QEMU_OPTIONS: [&str; 21] = [
    "-nodefaults",
    "-no-user-config",
    "-no-reboot",
    "-machine",
    "q35",
    "-accel",
    "tcg,thread=multi",
    "-cpu",
    "max,la57=off",
    "-m",
    "128",
    "-display",
    "none",
    "-monitor",
    "none",
    "-chardev",
    "file,id=console,path=/dev/stdout",
    "-serial",
    "chardev:console",
    "-netdev",
    "tap,id=wire,fd=0",
];

const QEMU_KERNEL_OPTIONS: &str = "console=ttyS0 quiet panic=-1 mitigations=off";
