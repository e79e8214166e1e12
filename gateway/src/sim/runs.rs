//! One run for each policy, on as many threads as there are cores. Which runs share a thread shows nowhere.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use plimsoll_sim::fleet::{self, Progress, Report, RunError, Scenario};

use super::progress::{Bar, Far};

const INTERVAL: Duration = Duration::from_millis(200);

/// All runs, which threads take one after the other.
struct Runs<'a> {
    scenario: &'a Scenario,
    policies: &'a [String],
    seed: u64,
    /// The next to be taken.
    next: AtomicUsize,
    far: Vec<Far>,
}

/// The reports, in the order of the policies.
pub(super) fn run(scenario: &Scenario, policies: &[String], seed: u64) -> Result<Vec<Report>, RunError> {
    let bar = Bar::on_terminal(scenario.length() * u32::try_from(policies.len()).unwrap_or(u32::MAX));
    let far = policies.iter().map(|_| Far::default()).collect();
    let runs = Runs { scenario, policies, seed, next: AtomicUsize::new(0), far };
    let mut reports: Vec<_> = policies.iter().map(|_| None).collect();
    thread::scope(|scope| {
        let (sender, receiver) = channel();
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        for _ in 0..cores.min(policies.len()) {
            let (runs, sender) = (&runs, sender.clone());
            scope.spawn(move || runs.work(&sender));
        }
        drop(sender);
        loop {
            match receiver.recv_timeout(INTERVAL) {
                Ok((at, report)) => reports[at] = Some(report),
                Err(RecvTimeoutError::Timeout) => bar.show(&runs.far),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    });
    bar.finish(&runs.far);
    reports.into_iter().flatten().collect()
}

impl Runs<'_> {
    /// Makes runs until all are taken.
    fn work(&self, reports: &Sender<(usize, Result<Report, RunError>)>) {
        loop {
            let at = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(policy) = self.policies.get(at) else { return };
            let far = &self.far[at];
            let report = fleet::run(self.scenario, policy, self.seed, &mut |progress| far.set(progress));
            if let Ok(Report { length, events, .. }) = report {
                far.set(Progress { now: length, length, events });
            }
            // The receiver is there until every sender is gone.
            let _ = reports.send((at, report));
        }
    }
}
