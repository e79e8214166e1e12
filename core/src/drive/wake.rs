//! Which of many things can go on, without asking each of them.
//!
//! Each thing that may wait (a socket, a handler) has an index and a waker of its own. Waking it puts the index on one
//! shared list, once, and wakes the task that owns them all. That task then looks at those alone: a thousand silent
//! connections cost nothing.

use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec::Vec;
use core::mem;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::Waker;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The shared list. It never holds an index twice, so it is as long as there are wakers at most.
#[derive(Clone, Debug, Default)]
pub struct ReadyList {
    shared: Arc<Shared>,
    /// By index.
    places: Vec<Arc<Place>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    ready: Vec<u32>,
    /// Whom to wake.
    task: Option<Waker>,
    /// Whether that is needed: a task that is awake looks at the list before it sleeps.
    asleep: bool,
}

#[derive(Debug)]
struct Place {
    index: u32,
    listed: AtomicBool,
    shared: Arc<Shared>,
}

impl ReadyList {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// The waker of `index`; indices are small and dense.
    pub fn waker(&mut self, index: u32) -> Waker {
        for index in self.places.len() as u32..=index {
            self.places.push(Arc::new(Place {
                index,
                listed: AtomicBool::new(false),
                shared: self.shared.clone(),
            }));
        }
        Waker::from(self.places[index as usize].clone())
    }

    /// Exchanges the list for `ready`, which is cleared first. From then on each index may be listed again, so
    /// look at all that were taken.
    pub fn take(&mut self, ready: &mut Vec<u32>) {
        ready.clear();
        {
            let mut state = self.shared.lock();
            state.asleep = false;
            mem::swap(&mut state.ready, ready);
        }
        for &index in ready.iter() {
            // Exchanged, not just written: a wake-up that still found it listed came before then, and whoever looks from
            // here on sees what it is about. A write may take effect after that look, and the wake-up is lost.
            self.places[index as usize].listed.swap(false, Ordering::AcqRel);
        }
    }

    /// Before the task sleeps: whom to wake. `true`: something is listed already, so do not sleep.
    pub fn arm(&mut self, task: &Waker) -> bool {
        let _replaced;
        let mut state = self.shared.lock();
        if !state.ready.is_empty() {
            return true;
        }
        _replaced = register(&mut state.task, task);
        state.asleep = true;
        false
    }
}

/// Keeps `waker` in `place`. What was there is to be dropped after the lock: it may be the last that holds a task, and whatever
/// the task's end does may want the lock.
#[must_use]
pub(super) fn register(place: &mut Option<Waker>, waker: &Waker) -> Option<Waker> {
    if place.as_ref().is_some_and(|old| old.will_wake(waker)) {
        return None;
    }
    place.replace(waker.clone())
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Place {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.listed.swap(true, Ordering::AcqRel) {
            return;
        }
        let task = {
            let mut state = self.shared.lock();
            state.ready.push(self.index);
            if mem::take(&mut state.asleep) { state.task.clone() } else { None }
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use core::sync::atomic::{AtomicU32, AtomicUsize};
    use std::thread;

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Wake for Counter {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn an_index_is_listed_once_and_the_sleeper_is_woken_once() {
        let task = Arc::new(Counter::default());
        let mut list = ReadyList::new();
        let (second, first) = (list.waker(2), list.waker(0));
        assert!(!list.arm(&Waker::from(task.clone())));
        second.wake_by_ref();
        second.wake_by_ref();
        first.wake_by_ref();
        assert_eq!(task.0.load(Ordering::SeqCst), 1);
        assert!(list.arm(&Waker::from(task.clone())), "no sleep while something is listed");

        let mut ready = vec![7];
        list.take(&mut ready);
        assert_eq!(ready, [2, 0]);
        assert!(!list.arm(&Waker::from(task.clone())));
        second.wake();
        assert_eq!(task.0.load(Ordering::SeqCst), 2);
        list.take(&mut ready);
        assert_eq!(ready, [2]);
    }

    #[test]
    fn the_end_of_a_task_that_is_replaced_may_wake_what_is_on_the_list() {
        struct Last(Waker);
        impl Wake for Last {
            fn wake(self: Arc<Self>) {}
        }
        impl Drop for Last {
            fn drop(&mut self) {
                self.0.wake_by_ref();
            }
        }
        let (mut list, task) = (ReadyList::new(), Arc::new(Counter::default()));
        let last = Waker::from(Arc::new(Last(list.waker(0))));
        assert!(!list.arm(&last));
        drop(last);
        assert!(!list.arm(&Waker::from(task.clone())));
        assert_eq!(task.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_wake_up_that_comes_while_the_list_is_taken_is_not_lost() {
        const ROUNDS: u32 = 30_000;
        let mut list = ReadyList::new();
        let waker = list.waker(0);
        let [begun, written, done] = [const { AtomicU32::new(0) }; 3];
        let mut lost = 0;
        thread::scope(|scope| {
            scope.spawn(|| {
                for round in 1..=ROUNDS {
                    while begun.load(Ordering::Acquire) < round {
                        thread::yield_now();
                    }
                    waker.wake_by_ref();
                    written.store(round, Ordering::Release);
                    waker.wake_by_ref();
                    done.store(round, Ordering::Release);
                }
            });
            let (mut ready, mut seen) = (vec![], 0);
            for round in 1..=ROUNDS {
                begun.store(round, Ordering::Release);
                let mut is_over = false;
                while !is_over {
                    is_over = done.load(Ordering::Acquire) == round;
                    list.take(&mut ready);
                    let now = written.load(Ordering::Acquire);
                    if !ready.is_empty() {
                        seen = now;
                    }
                }
                lost += u32::from(seen < round);
            }
        });
        assert_eq!(lost, 0, "of {ROUNDS}");
    }
}
