//! Sockets whose closing waits for the kernel are closed by threads of their
//! own.
//!
//! Such a thread lingers for a moment, in case another socket is let go: to
//! wake it takes a tenth of the time that starting one does. Where all are
//! busy waiting, another one is started, so that no socket waits for others.

use std::mem;
use std::process;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use netlink_sys::Socket;

/// Closes `socket` without having the caller wait; if no thread can be had, it
/// does.
pub(super) fn close(socket: Socket) {
    let mut state = lock();
    let process = process::id();
    if state.process != process {
        // The threads are the parent's, and remain there.
        drop(mem::take(&mut *state));
        state.process = process;
    }
    if state.idle > state.left.len() {
        state.left.push(socket);
        drop(state);
        COME.notify_one();
        return;
    }
    drop(state);
    // If there is no thread, `socket` is dropped with the closure.
    let closing = thread::Builder::new()
        .name("close netlink".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            drop(socket);
            while let Some(next) = next() {
                drop(next);
            }
        });
    drop(closing);
}

/// The next socket to close; `None` when there was none for a while.
fn next() -> Option<Socket> {
    let mut state = lock();
    state.idle = state.idle.saturating_add(1);
    let (mut state, _) = COME
        .wait_timeout_while(state, LINGER, |state| state.left.is_empty())
        .unwrap_or_else(PoisonError::into_inner);
    state.idle = state.idle.saturating_sub(1);
    state.left.pop()
}

fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the threads have to do.
#[derive(Debug, Default)]
struct State {
    /// Whose threads they are: a forked process has none of them.
    process: u32,
    /// So many wait for a socket.
    idle: usize,
    /// Sockets that wait for one of them to wake.
    left: Vec<Socket>,
}

static STATE: Mutex<State> = Mutex::new(State {
    process: 0,
    idle: 0,
    left: Vec::new(),
});
static COME: Condvar = Condvar::new();

/// More than closing a descriptor takes, thread-local storage included.
const STACK: usize = 256 * 1024;

/// As long as a thread waits for the next socket. Short, since a process with
/// several threads cannot enter a user namespace.
const LINGER: Duration = Duration::from_millis(100);
