//! What a pool has, shared between its users and the filler.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::PoolError;
use crate::error::Error;
use crate::guest::Attachment;

/// What a pool has, and who waits for a change of it.
#[derive(Debug)]
pub(super) struct Stock {
    state: Mutex<State>,
    /// There is something to do for the filler.
    work: Condvar,
    /// There is something new for users.
    news: Condvar,
    /// So many are to be ready.
    wanted: usize,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) ready: VecDeque<Attachment>,
    /// The numbers of those that are taken.
    pub(super) taken: BTreeSet<u64>,
    /// The numbers of those that came back and are yet to be taken down.
    pub(super) returned: BTreeSet<u64>,
    pub(super) failure: Option<Failure>,
    /// When the first was taken since the last attempt began.
    pub(super) taken_at: Option<Instant>,
    /// How many attempts have begun.
    begun: u64,
    /// How many users wait.
    waiting: usize,
    closing: bool,
}

/// That the last attempt failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Arc<Error>,
    /// Whether some were to be made; else they were to be taken down.
    of_making: bool,
    /// Which attempt it was.
    number: u64,
    at: Instant,
    pause: Duration,
}

/// What the filler is to do next.
#[derive(Debug)]
pub(super) enum Task {
    /// Make up to so many.
    Make(usize),
    /// Take down those of these numbers.
    TakeDown(Vec<u64>),
}

impl Stock {
    pub(super) fn new(wanted: usize, taken: BTreeSet<u64>) -> Self {
        let state = State {
            taken,
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
            work: Condvar::new(),
            news: Condvar::new(),
            wanted,
        }
    }

    /// Nothing is half done when a panic unwinds, so it is as good as before.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `look` finds something, an attempt fails that has begun
    /// since, or `patience` is over. The filler is told what was found and what is waited for.
    pub(super) fn await_news<T>(
        &self,
        patience: Duration,
        mut look: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, PoolError> {
        let mut state = self.state();
        if let Some(found) = look(&mut state) {
            drop(state);
            self.work.notify_one();
            return Ok(found);
        }
        let (start, before) = (Instant::now(), state.begun);
        state.waiting = state.waiting.saturating_add(1);
        self.work.notify_one();
        let result = loop {
            let left = patience.saturating_sub(start.elapsed());
            if let Some(failure) = state.lasting_failure()
                && (failure.number > before || left.is_zero())
            {
                break Err(PoolError::Failed(Arc::clone(&failure.error)));
            }
            if left.is_zero() {
                break Err(PoolError::NotReady);
            }
            let waited = self.news.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = look(&mut state) {
                break Ok(found);
            }
        };
        state.waiting = state.waiting.saturating_sub(1);
        drop(state);
        self.work.notify_one();
        result
    }

    /// Waits for something to do; `None` when the pool ends.
    pub(super) fn next_task(&self) -> Option<Task> {
        let mut state = self.state();
        loop {
            if state.closing {
                return None;
            }
            let pause = state.pause();
            if pause.is_zero()
                && let Some(task) = state.task(self.wanted)
            {
                state.begun = state.begun.wrapping_add(1);
                state.taken_at = None;
                return Some(task);
            }
            let waited = if pause.is_zero() {
                self.work.wait(state)
            } else {
                let waited = self.work.wait_timeout(state, pause);
                waited
                    .map(|(state, _)| state)
                    .map_err(|poisoned| PoisonError::new(poisoned.into_inner().0))
            };
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Some are ready.
    pub(super) fn made(&self, networks: Vec<Attachment>) {
        let mut state = self.state();
        state.failure = None;
        state.ready.extend(networks);
        drop(state);
        self.news.notify_all();
    }

    /// Some are gone, and what they had is free.
    pub(super) fn taken_down(&self, numbers: &[u64]) {
        let mut state = self.state();
        state.failure = None;
        state.returned.retain(|number| !numbers.contains(number));
    }

    /// Some could not be made, or else not be taken down.
    pub(super) fn failed(&self, error: Error, of_making: bool) {
        let mut state = self.state();
        let last = state.failure.take().map(|failure| failure.pause);
        let pause = last.map_or(FIRST_PAUSE, |last| {
            last.saturating_mul(2).min(LONGEST_PAUSE)
        });
        state.failure = Some(Failure {
            error: Arc::new(error),
            of_making,
            number: state.begun,
            at: Instant::now(),
            pause,
        });
        drop(state);
        self.news.notify_all();
    }

    /// One comes back. `false` if it was not taken.
    pub(super) fn put_back(&self, number: u64) -> bool {
        let mut state = self.state();
        let was_taken = state.taken.remove(&number);
        if was_taken {
            state.returned.insert(number);
            if let Some(failure) = &mut state.failure {
                // What was missing may be there now.
                failure.pause = FIRST_PAUSE;
            }
        }
        drop(state);
        self.work.notify_one();
        was_taken
    }

    /// Has the filler end after what it is doing.
    pub(super) fn close(&self) {
        self.state().closing = true;
        self.work.notify_one();
    }
}

impl State {
    /// That the last attempt failed, unless what comes back may help.
    fn lasting_failure(&self) -> Option<&Failure> {
        let may_help = !self.returned.is_empty();
        let failure = self.failure.as_ref();
        failure.filter(|failure| !failure.of_making || !may_help)
    }

    /// How long nothing should be tried. Who waits is answered soon; who has
    /// just taken one opens its TAP first, which waits for the kernel's one
    /// lock on links while others are made.
    fn pause(&self) -> Duration {
        let Some(failure) = &self.failure else {
            let is_urgent = self.waiting > 0 || self.ready.is_empty();
            let taken_at = self.taken_at.filter(|_| !is_urgent);
            return taken_at.map_or(Duration::ZERO, |at| HEAD_START.saturating_sub(at.elapsed()));
        };
        let pause = if self.waiting > 0 {
            FIRST_PAUSE
        } else {
            failure.pause
        };
        pause.saturating_sub(failure.at.elapsed())
    }

    /// What is to be done. If none is ready, some are made first. What failed
    /// last has its turn after the other, which may help.
    fn task(&self, wanted: usize) -> Option<Task> {
        let missing = wanted.saturating_sub(self.ready.len());
        let make_first = match &self.failure {
            None => self.ready.is_empty(),
            Some(failure) => !failure.of_making,
        };
        if self.returned.is_empty() || (make_first && missing > 0) {
            return (missing > 0).then_some(Task::Make(missing));
        }
        let numbers = self.returned.iter().take(AT_ONCE).copied();
        Some(Task::TakeDown(numbers.collect()))
    }
}

/// So many are made or taken down at once: more would make others wait long
/// for the kernel's one lock on links.
pub(super) const AT_ONCE: usize = 32;

/// Who takes one while others are ready has so long to open its TAP.
const HEAD_START: Duration = Duration::from_millis(2);

/// After a failure nothing is tried for so long; after each further one for
/// twice as long, unless someone waits.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
