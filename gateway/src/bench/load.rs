//! Callers that each make one request after the other, and what they count.

use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use plimsoll_core::metrics::Histogram;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::callee::{Callee, Failed};

/// Codes that are told apart, at most: a service may make up as many as it likes.
const MAX_CODES: usize = 32;
const MAX_CODE_CHARS: usize = 40;
const OTHER_CODES: &str = "(other codes)";
/// How long a caller holds still after a request that got no answer: refusals cost nothing, and would come by the
/// million.
const PAUSE: Duration = Duration::from_millis(10);

/// When callers stop.
pub(super) struct Limit {
    requests: Option<AtomicI64>,
    until: Option<Instant>,
}

impl Limit {
    /// After so many requests, or at that time: whichever comes first.
    pub(super) fn new(requests: Option<u64>, until: Option<Instant>) -> Self {
        let requests = requests.map(|n| AtomicI64::new(n.try_into().unwrap_or(i64::MAX)));
        Limit { requests, until }
    }

    /// Whether one more may be made.
    fn take(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
            && self.requests.as_ref().is_none_or(|left| left.fetch_sub(1, Ordering::Relaxed) > 0)
    }
}

/// What was counted.
#[derive(Clone, Default)]
pub(super) struct Tally {
    pub(super) succeeded: u64,
    /// How many failed with each code, here or there.
    pub(super) errors: BTreeMap<String, u64>,
    /// Of what was answered, errors of the service included.
    pub(super) latencies: Histogram,
    /// Params that were answered, and their answers; answers that are errors are not counted.
    pub(super) bytes: u64,
}

impl Tally {
    /// How many have ended.
    pub(super) fn requests(&self) -> u64 {
        self.succeeded + self.failed()
    }

    pub(super) fn failed(&self) -> u64 {
        self.errors.values().sum()
    }

    pub(super) fn answered(&self) -> u64 {
        self.latencies.count()
    }

    fn count(&mut self, sent: usize, result: &Result<Vec<u8>, Failed>, took: Duration) {
        match result {
            Ok(answer) => {
                self.succeeded += 1;
                self.bytes += (sent + answer.len()) as u64;
                self.latencies.record(took);
            }
            Err(failed) => {
                if failed.is_answer {
                    self.latencies.record(took);
                }
                self.count_error(&failed.code);
            }
        }
    }

    fn count_error(&mut self, code: &str) {
        let mut code: String = code.chars().take(MAX_CODE_CHARS).collect();
        if self.errors.len() >= MAX_CODES && !self.errors.contains_key(&code) {
            code = OTHER_CODES.into();
        }
        *self.errors.entry(code).or_default() += 1;
    }

    fn merge(&mut self, other: &Tally) {
        self.succeeded += other.succeeded;
        self.bytes += other.bytes;
        self.latencies.merge(&other.latencies);
        for (code, n) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += n;
        }
    }
}

/// What all callers do.
pub(super) struct Calls {
    pub(super) callee: Arc<Callee>,
    pub(super) params: Vec<u8>,
    pub(super) limit: Limit,
}

/// A number of callers, on this thread or on others.
pub(super) struct Load {
    calls: Arc<Calls>,
    groups: Vec<Group>,
    is_elsewhere: bool,
}

/// Callers of one thread, who share a tally.
#[derive(Clone)]
struct Group {
    callers: u32,
    tally: Arc<Mutex<Tally>>,
}

impl Load {
    pub(super) fn new(calls: Arc<Calls>, callers: u32, threads: Option<u32>) -> Self {
        let groups = threads.unwrap_or(1).min(callers);
        let share = |at| callers / groups + u32::from(at < callers % groups);
        let groups = (0..groups).map(|at| Group { callers: share(at), tally: Arc::default() }).collect();
        Load { calls, groups, is_elsewhere: threads.is_some() }
    }

    /// What was counted until now.
    pub(super) fn tally(&self) -> Tally {
        let mut sum = Tally::default();
        self.groups.iter().for_each(|group| sum.merge(&lock(&group.tally)));
        sum
    }

    /// Returns once the limit is reached and every request has ended. Dropped before, it gives up what is in flight.
    pub(super) async fn run(&self) -> io::Result<()> {
        if !self.is_elsewhere {
            for group in &self.groups {
                group.clone().run(self.calls.clone()).await;
            }
            return Ok(());
        }
        let stop = CancellationToken::new();
        let _guard = stop.clone().drop_guard();
        let mut threads = JoinSet::new();
        for group in self.groups.iter().cloned() {
            let (calls, stop) = (self.calls.clone(), stop.clone());
            threads.spawn_blocking(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
                runtime.block_on(stop.run_until_cancelled(group.run(calls)));
                Ok(())
            });
        }
        threads.join_all().await.into_iter().collect()
    }
}

impl Group {
    async fn run(self, calls: Arc<Calls>) {
        let mut callers = JoinSet::new();
        for _ in 0..self.callers {
            callers.spawn(caller(calls.clone(), self.tally.clone()));
        }
        callers.join_all().await;
    }
}

/// One request after the other. The clock is read once for each: the end of one is the beginning of the next.
async fn caller(calls: Arc<Calls>, tally: Arc<Mutex<Tally>>) {
    let Calls { callee, params, limit } = &*calls;
    let mut buffer = Vec::new();
    let mut began = Instant::now();
    while limit.take(began) {
        buffer.clear();
        buffer.extend_from_slice(params);
        let result = callee.call(mem::take(&mut buffer)).await;
        let ended = Instant::now();
        lock(&tally).count(params.len(), &result, ended - began);
        began = ended;
        match result {
            Ok(answer) => buffer = answer,
            Err(Failed { is_answer: true, .. }) => {}
            Err(_) => {
                tokio::time::sleep(PAUSE).await;
                began = Instant::now();
            }
        }
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
