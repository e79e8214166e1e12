//! What a service shows of itself: how each endpoint stands, and why its requests went where they went.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::num::NonZeroU32;

use super::error::{CallError, Cause};
use super::host::{Answer, Command};
use super::service::{Service, refused};
use crate::cluster::EndpointStatus;
use crate::cluster::explain::Explanation;
use crate::drive::Key;
use crate::policy::breaker;

impl<P> Service<P> {
    /// How each endpoint stands, by address. Of several shards, each with its own opinion: connections and requests are
    /// summed up, and so is what their breakers have counted; of what they say the worst counts.
    ///
    /// # Errors
    /// [`Cause::Closed`] after a shutdown.
    pub async fn endpoints(&self) -> Result<Vec<EndpointStatus<'static>>, CallError> {
        let mut all: BTreeMap<_, EndpointStatus<'static>> = BTreeMap::new();
        for part in self.ask(Command::Endpoints).await? {
            let Answer::Endpoints(endpoints) = part else { continue };
            for endpoint in endpoints {
                match all.get_mut(&endpoint.address) {
                    Some(sum) => merge(sum, &endpoint),
                    None => _ = all.insert(endpoint.address.clone(), endpoint),
                }
            }
        }
        Ok(all.into_values().collect())
    }

    /// Has every pick, wait, refusal, ejection and trip explained from now on, and keeps so many of the latest, of each
    /// shard; `None` explains nothing more.
    pub fn set_explain(&self, kept: Option<NonZeroU32>) {
        for shard in &self.shared.shards {
            if let Ok(key) = shard.send_control(|_| Command::SetExplain(kept)) {
                shard.abandon(key, || Command::Cancel(key));
            }
        }
    }

    /// The latest decisions that were explained, the oldest first; of several shards, one after the other.
    ///
    /// # Errors
    /// [`Cause::Closed`] after a shutdown.
    pub async fn explanations(&self) -> Result<Vec<Explanation>, CallError> {
        let mut all = Vec::new();
        for part in self.ask(Command::Explanations).await? {
            if let Answer::Explanations(explanations) = part {
                all.extend(explanations);
            }
        }
        Ok(all)
    }

    /// Asks every shard the same.
    async fn ask(&self, question: impl Fn(Key) -> Command) -> Result<Vec<Answer>, CallError> {
        let mut answers = Vec::new();
        for shard in &self.shared.shards {
            let key = shard.send_control(&question).map_err(|error| self.error("", refused(error)))?;
            let answer = shard.answer(key, Command::Cancel).await;
            answers.push(answer.ok_or_else(|| self.error("", Cause::Closed))?);
        }
        Ok(answers)
    }
}

fn merge(sum: &mut EndpointStatus<'static>, part: &EndpointStatus<'static>) {
    let badness = |state| match state {
        breaker::State::Closed => 0,
        breaker::State::HalfOpen => 1,
        breaker::State::Open => 2,
    };
    sum.breaker = if badness(part.breaker) > badness(sum.breaker) { part.breaker } else { sum.breaker };
    sum_up(&mut sum.breaker_stats, &part.breaker_stats);
    sum.last_failure = [sum.last_failure, part.last_failure].into_iter().flatten().min();
    sum.next_attempt = sum.next_attempt.max(part.next_attempt);
    sum.ejected |= part.ejected;
    sum.health = sum.health.min(part.health);
    sum.reachable &= part.reachable;
    sum.connections += part.connections;
    sum.in_flight += part.in_flight;
    sum.score_per_mille = sum.score_per_mille.min(part.score_per_mille);
    sum.error_per_mille = sum.error_per_mille.max(part.error_per_mille);
    sum.round_trip = sum.round_trip.max(part.round_trip);
}

fn sum_up(sum: &mut breaker::Stats, part: &breaker::Stats) {
    sum.succeeded += part.succeeded;
    sum.failed += part.failed;
    sum.ignored += part.ignored;
    sum.rejected += part.rejected;
    sum.stale += part.stale;
    sum.opened += part.opened;
    sum.window.successes += part.window.successes;
    sum.window.failures += part.window.failures;
    sum.consecutive_failures = sum.consecutive_failures.max(part.consecutive_failures);
    sum.last_failure = sum.last_failure.max(part.last_failure);
}
