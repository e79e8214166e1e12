//! What guards a whole client, through a handle.
#![expect(missing_docs, reason = "the names of the functions say it")]

use std::num::NonZeroU32;
use std::time::Duration;

use plimsoll_core::drive::Runtime;
use plimsoll_core::drive::client::{Cause, ServiceConfig};
use plimsoll_core::error::Rejected;
use plimsoll_core::policy::balance::Strategy;
use plimsoll_core::policy::gcra::Quota;
use plimsoll_core::policy::{concurrency, hedge};

use crate::support::*;

pub fn a_call_that_is_slow_at_one_endpoint_is_answered_by_another(world: World<impl Runtime>) {
    let (closed, open) = (Gate::default(), Gate::default());
    let (slow, fast) = (serve_behind(&world, &closed), serve_behind(&world, &open));
    open.open();
    let config = ServiceConfig::new(slow.local_addr().to_string())
        .endpoint(fast.local_addr().to_string())
        // In turns, every hedge would take one, and each call could begin where it is fast.
        .strategy(Strategy::Random)
        .timeout(Duration::from_secs(30))
        .hedging(hedge::Config { volume: 1, ..hedge::Config::default() });
    let (client, service) = connect(&world, config);
    let connections = || within("the metrics", client.metrics("test")).unwrap().status.connections;
    until("both are connected", || connections() == 2);
    echo(&service, 1);
    for n in 0..10 {
        let call = client.call("test", "wait").idempotent();
        assert_eq!(within("the first answer", call.json::<u32>(&n)), Ok(n));
    }
    let snapshot = within("the metrics", client.metrics("test")).unwrap();
    assert!(snapshot.metrics.hedges_won > 0, "{} hedges", snapshot.metrics.hedges);
    assert_eq!((snapshot.metrics.succeeded, snapshot.status.in_flight), (11, 0));
    closed.open();
}

pub fn more_calls_than_are_allowed_are_refused_with_a_reason(world: World<impl Runtime>) {
    let gate = Gate::default();
    let server = serve_behind(&world, &gate);
    let two = NonZeroU32::new(2).expect("not zero");
    let at_most = concurrency::Config { minimum: two, maximum: 2, ..concurrency::Config::default() };
    let config = ServiceConfig::new(server.local_addr().to_string())
        .adaptive_concurrency(at_most)
        .rate_limit(Quota::new(two.saturating_add(1), Duration::from_secs(3_600)));
    let (client, service) = connect(&world, config);
    let refused = || within("a refusal", service.request::<u32>("echo", &3)).unwrap_err().cause;
    let (mut first, mut second) =
        (Box::pin(service.request::<u32>("wait", &1)), Box::pin(service.request::<u32>("wait", &2)));
    begin(&mut first);
    begin(&mut second);
    assert_eq!(refused(), Cause::Rejected(Rejected::Limited { limit: 2 }));
    drop(second);
    gate.open();
    assert_eq!(within("the answer", first), Ok(1));
    echo(&service, 4);
    assert!(matches!(refused(), Cause::Rejected(Rejected::RateLimited { .. })));
    let metrics = within("the metrics", client.metrics("test")).unwrap().metrics;
    assert_eq!((metrics.rejections.limited, metrics.rejections.rate_limited), (1, 1));
}
