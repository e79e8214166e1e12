//! The mailbox between tasks: nothing is lost, nothing leaks, nobody sleeps through a wake-up.

use std::future::{Future, poll_fn};
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use plimsoll_core::drive::{Inbox, Key, Mailbox, NotSent, PATIENCE, mailbox};
use plimsoll_core::time::Instant;

enum Command {
    Double(Key, u32),
    Cancel(Key),
}

const NOW: Instant = Instant::ZERO;

fn limit(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Wakes {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A task whose waker is all that is left of it, and which holds a handle.
struct Last(#[expect(dead_code, reason = "held until it is dropped")] Mailbox<Command, u32>);

impl Wake for Last {
    fn wake(self: Arc<Self>) {}
}

/// The commands that wait, as `(is a cancellation, key)`.
fn taken(inbox: &mut Inbox<Command, u32>) -> Vec<(bool, Key)> {
    let mut commands = Vec::new();
    inbox.take(NOW, &mut commands);
    let read = |command: &Command| match *command {
        Command::Double(key, _) => (false, key),
        Command::Cancel(key) => (true, key),
    };
    commands.iter().map(read).collect()
}

#[test]
fn an_answer_goes_to_whom_it_is_for_and_frees_the_slot() {
    let (calls, mut inbox) = mailbox::<Command, u32>(limit(2));
    let task = Arc::new(Wakes::default());
    let waker = Waker::from(task.clone());
    let cx = &mut Context::from_waker(&waker);
    let first = calls.send(|key| Command::Double(key, 1)).unwrap();
    let second = calls.send(|key| Command::Double(key, 2)).unwrap();
    assert_eq!(calls.send(|key| Command::Double(key, 3)), Err(NotSent::Full));
    assert!(calls.poll(first, cx).is_pending());
    inbox.fill(NOW, &mut vec![(second, 4), (first, 2)]);
    assert_eq!(task.count(), 1, "only who waits is woken");
    assert_eq!(calls.poll(second, cx), Poll::Ready(Some(4)));
    assert_eq!(calls.poll(first, cx), Poll::Ready(Some(2)));
    let third = calls.send(|key| Command::Double(key, 3)).unwrap();
    assert_ne!(third, first);
    assert_eq!(Key::from_tag(third.to_tag()), third);
}

#[test]
fn an_answer_for_who_has_left_goes_to_nobody() {
    let (calls, mut inbox) = mailbox::<Command, u32>(limit(1));
    let key = calls.send(|key| Command::Double(key, 1)).unwrap();
    calls.abandon(key, || Command::Cancel(key));
    let next = calls.send(|key| Command::Double(key, 2)).expect("the slot is free at once");
    assert_eq!(next.index(), key.index());
    assert_eq!(taken(&mut inbox), [(false, key), (true, key), (false, next)]);
    inbox.fill(NOW, &mut vec![(key, 2)]);
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(calls.poll(next, cx).is_pending());
    inbox.fill(NOW, &mut vec![(next, 4)]);
    calls.abandon(next, || unreachable!("it was answered"));
}

#[test]
fn a_waker_that_is_replaced_may_be_the_last_that_holds_a_handle() {
    let (calls, mut inbox) = mailbox::<Command, u32>(limit(1));
    let last = || Waker::from(Arc::new(Last(calls.clone())));
    let key = calls.send(|key| Command::Double(key, 1)).unwrap();
    taken(&mut inbox);
    for _ in 0..2 {
        assert!(calls.poll(key, &mut Context::from_waker(&last())).is_pending());
        assert!(!inbox.arm(&last()));
    }
    drop(inbox);
    assert_eq!(calls.poll(key, &mut Context::from_waker(Waker::noop())), Poll::Ready(None));
}

#[test]
fn who_waits_is_told_that_the_driver_has_ended() {
    let (calls, inbox) = mailbox::<Command, u32>(limit(8));
    let task = Arc::new(Wakes::default());
    let key = calls.send(|key| Command::Double(key, 1)).unwrap();
    let waker = Waker::from(task.clone());
    assert!(calls.poll(key, &mut Context::from_waker(&waker)).is_pending());
    drop(inbox);
    assert_eq!(task.count(), 1);
    assert_eq!(calls.poll(key, &mut Context::from_waker(&waker)), Poll::Ready(None));
    assert_eq!(calls.send(|key| Command::Double(key, 1)), Err(NotSent::Closed));
}

#[test]
fn the_driver_is_woken_once_for_a_burst_and_when_the_last_handle_goes() {
    let (calls, mut inbox) = mailbox::<Command, u32>(limit(8));
    let driver = Arc::new(Wakes::default());
    let waker = Waker::from(driver.clone());
    assert!(!inbox.arm(&waker));
    for n in 0..5 {
        calls.send(|key| Command::Double(key, n)).unwrap();
    }
    assert_eq!(driver.count(), 1);
    assert!(inbox.arm(&waker), "there is something to take");
    assert_eq!(taken(&mut inbox).len(), 5);
    assert!(!inbox.arm(&waker));
    let clone = calls.clone();
    drop(calls);
    assert_eq!(driver.count(), 1);
    drop(clone);
    assert_eq!(driver.count(), 2);
    assert!(inbox.arm(&waker), "not told yet");
    assert!(!inbox.take(NOW, &mut Vec::new()));
    assert!(!inbox.arm(&waker), "told");
}

/// Another waker of the same task.
struct Again(Arc<Wakes>);

impl Wake for Again {
    fn wake(self: Arc<Self>) {
        self.0.clone().wake();
    }
}

/// A mailbox with so many calls that wait, and a count of how often each was woken.
struct Waiting {
    calls: Mailbox<Command, u32>,
    inbox: Inbox<Command, u32>,
    keys: Vec<Key>,
    wakes: Vec<Arc<Wakes>>,
}

impl Waiting {
    fn new(n: u32) -> Waiting {
        let (calls, mut inbox) = mailbox::<Command, u32>(limit(n));
        let wakes: Vec<_> = (0..n).map(|_| Arc::new(Wakes::default())).collect();
        let keys: Vec<_> =
            (0..n).map(|n| calls.send(|key| Command::Double(key, n)).expect("there is room")).collect();
        inbox.take(NOW, &mut Vec::new());
        let mut waiting = Waiting { calls, inbox, keys, wakes };
        (0..n as usize).for_each(|at| assert!(waiting.poll(at).is_pending()));
        waiting
    }

    /// As `new`, but all wait on another thread.
    fn elsewhere(n: u32) -> Waiting {
        let mut waiting = Waiting::new(n);
        let again = |at: usize| Waker::from(Arc::new(Again(waiting.wakes[at].clone())));
        thread::scope(|scope| {
            scope.spawn(|| {
                for (at, &key) in waiting.keys.iter().enumerate() {
                    assert!(waiting.calls.poll(key, &mut Context::from_waker(&again(at))).is_pending());
                }
            });
        });
        waiting.inbox.take(NOW, &mut Vec::new());
        waiting
    }

    fn poll(&mut self, at: usize) -> Poll<Option<u32>> {
        let waker = Waker::from(self.wakes[at].clone());
        self.calls.poll(self.keys[at], &mut Context::from_waker(&waker))
    }

    fn fill(&mut self, at: impl IntoIterator<Item = usize>) {
        let mut answers = at.into_iter().map(|at| (self.keys[at], at as u32)).collect();
        self.inbox.fill(NOW, &mut answers);
    }

    fn woken(&self) -> Vec<usize> {
        self.wakes.iter().map(|wakes| wakes.count()).collect()
    }
}

#[test]
fn who_waits_on_the_thread_of_the_driver_is_woken_by_it() {
    let mut waiting = Waiting::new(3);
    waiting.fill([2, 0]);
    assert_eq!(waiting.woken(), [1, 0, 1]);
    assert_eq!(waiting.inbox.deadline(), None);
}

#[test]
fn of_many_who_wait_elsewhere_the_first_wakes_the_others() {
    let mut waiting = Waiting::elsewhere(4);
    waiting.fill([2, 0]);
    waiting.fill([1]);
    assert_eq!(waiting.woken(), [0, 0, 1, 0], "the driver wakes one");
    assert_eq!(waiting.poll(2), Poll::Ready(Some(2)));
    assert_eq!(waiting.woken(), [1, 1, 1, 0]);
    waiting.fill([3]);
    assert_eq!(waiting.woken(), [1, 1, 1, 1], "nobody is left who could wake it");
    assert_eq!(waiting.inbox.deadline(), None);
}

#[test]
fn who_gives_its_answer_up_wakes_the_others() {
    let mut waiting = Waiting::elsewhere(3);
    waiting.fill([0, 1, 2]);
    assert_eq!(waiting.woken(), [1, 0, 0]);
    waiting.calls.abandon(waiting.keys[0], || unreachable!("it was answered"));
    assert_eq!(waiting.woken(), [1, 1, 1]);
}

#[test]
fn who_holds_its_answer_without_looking_keeps_nobody_asleep_for_long() {
    let mut waiting = Waiting::elsewhere(3);
    waiting.fill([0, 1, 2]);
    assert_eq!(waiting.inbox.deadline(), Some(NOW + PATIENCE));
    waiting.inbox.take(NOW, &mut Vec::new());
    assert_eq!(waiting.woken(), [1, 0, 0]);
    waiting.inbox.take(NOW + PATIENCE, &mut Vec::new());
    assert_eq!(waiting.woken(), [1, 1, 1]);
    assert_eq!(waiting.inbox.deadline(), None);
}

#[test]
fn who_waits_to_be_woken_by_another_learns_that_the_driver_has_ended() {
    let waiting = Waiting::elsewhere(2);
    let Waiting { mut inbox, keys, wakes, .. } = waiting;
    inbox.fill(NOW, &mut vec![(keys[0], 0), (keys[1], 1)]);
    drop(inbox);
    assert_eq!(wakes[1].count(), 1);
}

#[test]
fn who_waits_from_the_start_needs_no_poll_to_be_woken() {
    let (calls, mut inbox) = mailbox::<Command, u32>(limit(1));
    let task = Arc::new(Wakes::default());
    let waker = Waker::from(task.clone());
    let cx = &mut Context::from_waker(&waker);
    let key = calls.send_and_wait(cx, |key| Command::Double(key, 2)).unwrap();
    assert_eq!(calls.send_and_wait(cx, |key| Command::Double(key, 3)), Err(NotSent::Full));
    assert_eq!(taken(&mut inbox), [(false, key)]);
    inbox.fill(NOW, &mut vec![(key, 4)]);
    assert_eq!(task.count(), 1);
    assert_eq!(calls.poll(key, cx), Poll::Ready(Some(4)));
}

/// Wakes a thread that is parked.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn answer_all(mut inbox: Inbox<Command, u32>) -> usize {
    let (mut commands, mut answers, mut cancelled) = (Vec::new(), Vec::new(), 0);
    let mut open = true;
    block_on(poll_fn(|cx| {
        loop {
            if !open {
                return Poll::Ready(cancelled);
            }
            open = inbox.take(NOW, &mut commands);
            for command in commands.drain(..) {
                match command {
                    Command::Double(key, n) => answers.push((key, n * 2)),
                    Command::Cancel(_) => cancelled += 1,
                }
            }
            inbox.fill(NOW, &mut answers);
            if open && !inbox.arm(cx.waker()) {
                return Poll::Pending;
            }
        }
    }))
}

async fn call(calls: &Mailbox<Command, u32>, n: u32) -> Option<u32> {
    let key = loop {
        match calls.send(|key| Command::Double(key, n)) {
            Ok(key) => break key,
            Err(NotSent::Full) => thread::yield_now(),
            Err(NotSent::Closed) => return None,
        }
    };
    poll_fn(|cx| calls.poll(key, cx)).await
}

#[test]
fn callers_on_many_threads_get_each_their_own_answer() {
    let (calls, inbox) = mailbox(limit(3));
    let driver = thread::spawn(move || answer_all(inbox));
    let callers: Vec<_> = (0..4)
        .map(|caller| {
            let calls = calls.clone();
            thread::spawn(move || {
                for n in caller * 10_000..caller * 10_000 + 2_000 {
                    if n % 7 == 0
                        && let Ok(key) = calls.send(|key| Command::Double(key, n))
                    {
                        calls.abandon(key, || Command::Cancel(key));
                    }
                    assert_eq!(block_on(call(&calls, n)), Some(n * 2));
                }
            })
        })
        .collect();
    drop(calls);
    for caller in callers {
        caller.join().unwrap();
    }
    driver.join().unwrap();
}
