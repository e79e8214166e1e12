//! `/services/explain`: why the last requests went where they went, as a sentence and as data. How much one decision
//! lists is bounded where it is made.

use http::StatusCode;
use plimsoll_core::cluster::explain::{Candidate, Decision, Exclusion, Explanation, Left, Named, Pick, Rule};
use plimsoll_core::policy::outlier;
use plimsoll_core::policy::panic::Spread;
use plimsoll_core::time::Instant;
use serde_json::{Map, Value, json};

use super::{Services, id_at, name};
use crate::backend::{PROJECT_SERVICE, code};
use crate::reply::{Reply, now_rfc3339};
use crate::routes::Routes;

const HOW_TO_TURN_ON: &str = "decisions are not explained, which costs nothing; to keep the last 64, set \
                              PROJECT_EXPLAIN=64 in the environment, or explain = 64 under [services.project] in the \
                              file, and start the gateway again";

impl Services {
    /// The oldest first.
    pub(crate) async fn explain(&self, routes: &Routes) -> Reply {
        let mut body = Map::new();
        body.insert("enabled".into(), (self.explain > 0).into());
        if self.explain == 0 {
            body.insert("hint".into(), HOW_TO_TURN_ON.into());
        }
        let explanations = routes.backend.explanations().await;
        body.insert("kept".into(), self.explain.into());
        body.insert("decisions".into(), explanations.iter().map(explained).collect());
        body.insert("timestamp".into(), now_rfc3339().into());
        Reply::of(StatusCode::OK, &body)
    }
}

fn explained(explanation: &Explanation) -> Value {
    let (kind, details) = Teller { name: id_at }.details(&explanation.decision);
    json!({
        "service": PROJECT_SERVICE,
        "sinceStartMs": millis(explanation.at),
        "decision": explanation.to_string(),
        "kind": kind,
        (kind): details,
    })
}

/// Tells decisions as data.
#[derive(Clone, Copy)]
pub(crate) struct Teller {
    /// What an endpoint is called, by its address.
    pub(crate) name: fn(&str) -> String,
}

impl Teller {
    /// What was decided, in a word, and what is known of it.
    pub(crate) fn details(self, decision: &Decision) -> (&'static str, Value) {
        match decision {
            Decision::Pick(pick) => ("pick", self.picked(pick)),
            Decision::Wait(left) => {
                ("wait", json!({ "excluded": self.excluded(left), "moreExcluded": left.more }))
            }
            Decision::Rejection { rejected, left } => (
                "rejection",
                json!({ "code": code(*rejected), "excluded": self.excluded(left), "moreExcluded": left.more }),
            ),
            Decision::Ejection { endpoint, cause, until, out, of } => (
                "ejection",
                json!({
                    "endpoint": self.named(endpoint),
                    "cause": ejected_for(*cause),
                    "untilMs": millis(*until),
                    "out": out,
                    "of": of,
                }),
            ),
            Decision::Trip { endpoint, from, to, consecutive, window } => (
                "trip",
                json!({
                    "endpoint": self.named(endpoint),
                    "from": name(*from),
                    "to": name(*to),
                    "consecutiveFailures": consecutive,
                    "failureCount": window.failures,
                    "successCount": window.successes,
                }),
            ),
            _ => ("other", Value::Null),
        }
    }

    fn picked(self, pick: &Pick) -> Value {
        json!({
            "endpoint": self.named(&pick.endpoint),
            "strategy": pick.strategy.name(),
            "rule": if pick.of == 1 { json!({ "name": "only_candidate" }) } else { self.rule(&pick.rule) },
            "priority": pick.priority,
            "share": per_mille(pick.share),
            "spread": match pick.spread {
                Spread::Available => "available",
                Spread::All => "all",
                Spread::None => "none",
            },
            "candidates": pick.candidates.iter().map(|one| self.candidate(one)).collect::<Vec<_>>(),
            "totalCandidates": pick.of,
            "excluded": self.excluded(&pick.left),
            "moreExcluded": pick.left.more,
            "passedOn": pick.passed_on,
            "avoided": pick.avoided.as_ref().map(|endpoint| self.named(endpoint)),
        })
    }

    fn rule(self, rule: &Rule) -> Value {
        match rule {
            Rule::Turn => json!({ "name": "turn" }),
            Rule::LeastLoaded => json!({ "name": "least_loaded" }),
            Rule::HighestScore => json!({ "name": "highest_score" }),
            Rule::Drawn => json!({ "name": "drawn" }),
            Rule::CheaperOf(one, other) => {
                json!({ "name": "cheaper_of", "drawn": [self.candidate(one), self.candidate(other)] })
            }
            Rule::Key(key) => json!({ "name": "key", "key": key.map(|key| format!("{key:016x}")) }),
            Rule::Probes => json!({ "name": "probes" }),
            _ => json!({ "name": "other" }),
        }
    }

    fn candidate(self, candidate: &Candidate) -> Value {
        json!({
            "endpoint": self.named(&candidate.endpoint),
            "inFlight": candidate.in_flight,
            "costMs": candidate.cost as f64 / 1e6,
            "weight": per_mille(candidate.weight),
            "score": per_mille(candidate.score),
            "passes": candidate.passes,
        })
    }

    fn excluded(self, left: &Left) -> Vec<Value> {
        let one = |(endpoint, why): &(Named, Exclusion)| json!({ "endpoint": self.named(endpoint), "cause": word(*why), "message": why.to_string() });
        left.excluded.iter().map(one).collect()
    }

    fn named(self, endpoint: &Named) -> String {
        (self.name)(&endpoint.address)
    }
}

fn word(why: Exclusion) -> &'static str {
    match why {
        Exclusion::Removed => "removed",
        Exclusion::Draining => "draining",
        Exclusion::Spare => "spare",
        Exclusion::Priority(_) => "priority",
        Exclusion::CircuitOpen => "circuit_open",
        Exclusion::Ejected => "ejected",
        Exclusion::Unhealthy => "unhealthy",
        Exclusion::Unreachable => "unreachable",
        Exclusion::NotConnected => "not_connected",
        Exclusion::Full => "full",
        Exclusion::Panicked => "panicked",
        _ => "other",
    }
}

fn ejected_for(cause: outlier::Cause) -> Value {
    match cause {
        outlier::Cause::Consecutive(failures) => json!({ "name": "consecutive", "failures": failures }),
        outlier::Cause::SuccessRate(rate) => json!({ "name": "success_rate", "rate": per_mille(rate) }),
        outlier::Cause::FailureShare(share) => json!({ "name": "failure_share", "share": per_mille(share) }),
    }
}

fn per_mille(thousandths: u32) -> f64 {
    f64::from(thousandths) / 1_000.0
}

/// Since the start.
fn millis(at: Instant) -> u64 {
    at.as_nanos() / 1_000_000
}
