//! What only a thread in a network namespace can open, opened there ahead.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use super::mount;
use super::netns::NetNs;
use super::procfs::{CONF, Ipv6Conf};
use super::tap::{Tap, TapOptions, open_tun};
use crate::error::Error;

/// At most so many are kept.
const AHEAD: usize = 7;

/// By which threads make TAPs in a network namespace and tell it of IPv6,
/// wherever they are.
///
/// Where a thread is takes three system calls to find out, and going elsewhere
/// a thread of its own. A descriptor stays where it was opened: so some are kept.
#[derive(Debug)]
pub(crate) struct Outpost {
    netns: Arc<NetNs>,
    /// `/dev/net/tun`, each for one TAP.
    tuns: Vec<File>,
    /// So many are kept next: as many as were needed until then, so that who
    /// makes one opens one.
    ahead: usize,
    /// `/proc/sys/net/ipv6/conf`, which is the namespace's own. From here on no
    /// other's is looked through.
    conf: OnceLock<OwnedFd>,
}

impl Outpost {
    /// Nothing is opened yet.
    pub(crate) fn new(netns: Arc<NetNs>) -> Self {
        Self {
            netns,
            tuns: Vec::new(),
            ahead: 0,
            conf: OnceLock::new(),
        }
    }

    /// Makes a TAP in the namespace, as [`TapOptions::create`] in the thread's.
    pub(crate) fn create(&mut self, options: TapOptions) -> Result<Tap, Error> {
        let tun = match self.tuns.pop() {
            Some(tun) => tun,
            None => self.open_tuns()?,
        };
        options.create_by(tun, || self.netns.id())
    }

    /// Opens one, and some to be kept, if the process may open all of these and
    /// one more: the last descriptors are for others.
    fn open_tuns(&mut self) -> Result<File, Error> {
        let more = 0..=self.ahead;
        let (tun, more) = self.netns.inside(|| {
            let tun = open_tun(0)?;
            let more: Result<Vec<File>, Error> = more.map(|_| open_tun(0)).collect();
            Ok((tun, more.unwrap_or_default()))
        })?;
        self.tuns = more;
        self.tuns.truncate(self.ahead);
        self.ahead = self.ahead.saturating_mul(2).saturating_add(1).min(AHEAD);
        Ok(tun)
    }
}

impl Ipv6Conf for Outpost {
    fn open(&self, path: &Path) -> io::Result<File> {
        let conf = if let Some(conf) = self.conf.get() {
            conf
        } else {
            let path = Path::new("/proc").join(CONF);
            let opened = self.netns.inside(|| Ok(File::open(path)));
            let opened = opened.map_err(io::Error::other)??;
            self.conf.get_or_init(|| opened.into())
        };
        mount::open_below(conf.as_fd(), path)
    }
}
