//! The mailbox between tasks: nothing is lost, nothing leaks, nobody sleeps through a wake-up.

use std::future::{Future, poll_fn};
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use plimsoll_core::drive::{Inbox, Key, Mailbox, NotSent, mailbox};

enum Command {
    Double(Key, u32),
    Cancel(Key),
}

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

/// The commands that wait, as `(is a cancellation, key)`.
fn taken(inbox: &mut Inbox<Command, u32>) -> Vec<(bool, Key)> {
    let mut commands = Vec::new();
    inbox.take(&mut commands);
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
    inbox.fill(&mut vec![(second, 4), (first, 2)]);
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
    inbox.fill(&mut vec![(key, 2)]);
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(calls.poll(next, cx).is_pending());
    inbox.fill(&mut vec![(next, 4)]);
    calls.abandon(next, || unreachable!("it was answered"));
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
    assert!(!inbox.take(&mut Vec::new()));
    assert!(!inbox.arm(&waker), "told");
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
            open = inbox.take(&mut commands);
            for command in commands.drain(..) {
                match command {
                    Command::Double(key, n) => answers.push((key, n * 2)),
                    Command::Cancel(_) => cancelled += 1,
                }
            }
            inbox.fill(&mut answers);
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
