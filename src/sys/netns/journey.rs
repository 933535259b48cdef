//! A thread that goes from namespace to namespace.

use std::marker::PhantomData;
use std::path::Path;

use super::named::{give_name, path_of, prepare_directory};
use super::{NetNs, on_thread, on_threads, unshare};
use crate::error::Error;

/// A thread of its own that may go from one namespace to the next, so that
/// work in many of them needs one thread: see [`NetNs::journey`].
///
/// What it opens in a namespace (sockets, `/dev/net/tun`) stays there when it
/// goes on.
#[derive(Debug)]
pub struct Journey {
    has_directory: bool,
    /// It is this thread that moves.
    of_one_thread: PhantomData<*const ()>,
}

impl NetNs {
    /// Runs `work` on a thread of its own, which starts in the calling
    /// thread's namespace and may leave it, and waits. The calling thread
    /// stays where it is. A panic in `work` continues in the caller.
    ///
    /// ```no_run
    /// use tapwire::sys::{NetNs, TapOptions};
    /// NetNs::journey(|journey| {
    ///     for name in ["clone-1", "clone-2"] {
    ///         journey.found()?;
    ///         TapOptions::new("tap0".parse()?).persistent().create()?;
    ///         journey.name(name)?;
    ///     }
    ///     Ok::<(), tapwire::Error>(())
    /// })??;
    /// # Ok::<(), tapwire::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::System`] if no thread can be started; `work` has not run then.
    pub fn journey<T: Send>(work: impl FnOnce(&mut Journey) -> T + Send) -> Result<T, Error> {
        on_thread(|| work(&mut Journey::new()))
    }

    /// Several journeys at the same time, one for each of `parts`; what they
    /// return is in their order.
    ///
    /// # Errors
    /// [`Error::System`] if a thread cannot be started; those that were have
    /// done their work then.
    pub(crate) fn journeys<P: Send, T: Send>(
        parts: impl IntoIterator<Item = P>,
        work: impl Fn(&mut Journey, P) -> T + Sync,
    ) -> Result<Vec<T>, Error> {
        let work = &work;
        let each = |part| move || work(&mut Journey::new(), part);
        on_threads(parts.into_iter().map(each).collect())
    }
}

impl Journey {
    fn new() -> Self {
        Self {
            has_directory: false,
            of_one_thread: PhantomData,
        }
    }

    /// Goes into a new namespace. It lives as [`NetNs`] says: without a name
    /// it goes, with all that is in it, when the thread goes on.
    ///
    /// # Errors
    /// As [`NetNs::new`].
    pub fn found(&mut self) -> Result<(), Error> {
        unshare()
    }

    /// Goes into a namespace that is there.
    ///
    /// # Errors
    /// As [`NetNs::run`].
    pub fn enter(&mut self, netns: &NetNs) -> Result<(), Error> {
        netns.enter()
    }

    /// Gives the namespace that the thread is in a name, under which it keeps
    /// existing; as [`NetNs::create_named`] does.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `name` is no file name, [`Error::System`] for the
    /// rest; `EEXIST` if the name is taken.
    pub fn name(&mut self, name: &str) -> Result<(), Error> {
        let path = path_of(name)?;
        if !self.has_directory {
            prepare_directory()?;
            self.has_directory = true;
        }
        give_name(Path::new("/proc/thread-self/ns/net"), &path)
    }
}
