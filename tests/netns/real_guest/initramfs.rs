//! What a guest boots: our own init and the modules that it needs, in an
//! archive that is made on the spot.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use crate::support::feed;

/// Writes an archive with init, and with these modules of the kernel whose
/// modules are in `folder`, as far as they are not built into it.
pub(super) fn write(archive: &Path, folder: &Path, modules: &[&str]) {
    let mut cpio = Cpio::default();
    cpio.entry("dev", DIRECTORY | 0o755, [0, 0], &[]);
    // Where the kernel gives init its standard output (`mem(4)`: 5, 1).
    cpio.entry("dev/console", CHARACTERS | 0o600, [5, 1], &[]);
    cpio.entry("init", FILE | 0o755, [0, 0], init());
    cpio.entry("modules", DIRECTORY | 0o755, [0, 0], &[]);
    for (number, path) in in_order(folder, modules).iter().enumerate() {
        let module = fs::read(folder.join(path)).unwrap();
        cpio.entry(&format!("modules/{number}"), FILE | 0o644, [0, 0], &module);
    }
    fs::write(archive, cpio.finish()).unwrap();
}

/// Our init as a program that needs nothing else.
fn init() -> &'static [u8] {
    static INIT: OnceLock<Vec<u8>> = OnceLock::new();
    INIT.get_or_init(|| {
        let scratch = super::vm::Scratch::new();
        let program = scratch.path("init");
        let arguments = ["-static", "-Os", "-x", "c", "-", "-o"];
        let arguments = [&arguments[..], &[program.to_str().unwrap()]].concat();
        feed("musl-gcc", &arguments, INIT_SOURCE);
        fs::read(program).unwrap()
    })
}

/// The files of modules and of what they depend on, in the order in which
/// they can be loaded: `modules.dep(5)`.
fn in_order(folder: &Path, modules: &[&str]) -> Vec<String> {
    let index = fs::read_to_string(folder.join("modules.dep")).unwrap();
    let mut files: Vec<String> = Vec::new();
    for module in modules {
        let file = format!("/{module}.ko");
        // The module, and what it depends on, the deepest last.
        let listed = index
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(path, _)| path.ends_with(&file));
        let Some((path, needed)) = listed else {
            continue;
        };
        for each in needed.split_whitespace().rev().chain([path]) {
            if !files.iter().any(|file| file == each) {
                files.push(each.to_owned());
            }
        }
    }
    files
}

/// An archive that the kernel unpacks as its first file system:
/// `Documentation/driver-api/early-userspace/buffer-format.rst`.
#[derive(Default)]
struct Cpio(Vec<u8>);

impl Cpio {
    fn entry(&mut self, name: &str, mode: usize, device: [usize; 2], data: &[u8]) {
        let [major, minor] = device;
        let links = 1;
        // An inode of its own for each: the kernel takes two of one for links.
        let inode = self.0.len();
        let fields = [
            inode,
            mode,
            0,
            0,
            links,
            0,
            data.len(),
            0,
            0,
            major,
            minor,
            name.len() + 1,
            0,
        ];
        self.0.extend(b"070701");
        for field in fields {
            self.0.extend(format!("{field:08x}").bytes());
        }
        self.0.extend(name.bytes());
        self.0.push(0);
        self.pad();
        self.0.extend(data);
        self.pad();
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, [0, 0], &[]);
        self.0
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

const INIT_SOURCE: &str = concat!(include_str!("init/network.c"), include_str!("init/serve.c"));

/// Kinds of files: `stat.h`.
const DIRECTORY: usize = 0o040_000;
const CHARACTERS: usize = 0o020_000;
const FILE: usize = 0o100_000;
