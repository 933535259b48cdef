//! `/sys` as the calling thread's network namespace has it.

use std::path::Path;

use super::{mount, netns};
use crate::error::Error;

/// Does `work` on a thread to which `/sys` shows the calling thread's network
/// namespace, whatever is mounted there for others. The thread's mounts are
/// its own, and end with it.
pub(crate) fn in_own_sysfs<T: Send>(
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    netns::on_thread(|| {
        mount::unshare().map_err(|source| {
            Error::system("unshare", "mount namespace (needs CAP_SYS_ADMIN)", source)
        })?;
        let sys = Path::new("/sys");
        mount::sysfs(sys).map_err(|source| Error::system("mount sysfs", "/sys", source))?;
        work()
    })?
}
