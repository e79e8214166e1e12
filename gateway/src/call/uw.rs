//! A call of a service that speaks UW.

use plimsoll_core::cluster::{CloseCause, StateEvent};
use plimsoll_core::wire::uw;
use plimsoll_tokio::{CallError, Cause, Client, Events, ServiceConfig};

use super::{Answer, Failure, Request};
use crate::config::UwAddress;

pub(super) async fn call(address: &UwAddress, request: Request<'_>) -> Result<Answer, Failure> {
    let client = Client::builder().build();
    let mut events = client.events();
    let service = client
        .configure_service("", service_config(address, request))
        .map_err(|misuse| Failure::Usage(misuse.to_string()))?;
    let answer = service.call(request.method).send(request.params.into());
    // A request that was cut off has ended before the next dial fails: what is known of it goes first.
    let content = tokio::select! {
        biased;
        answer = answer => answer.map_err(failure)?,
        cause = failed_dial(&mut events) => {
            return Err(Failure::NoAnswer(format!("no connection: {cause}")));
        }
    };
    Ok(Answer { is_error: uw::read_error(&content).is_some(), content })
}

fn failure(error: CallError) -> Failure {
    match error.cause {
        Cause::Misuse(misuse) => Failure::Usage(misuse.to_string()),
        cause => Failure::NoAnswer(cause.to_string()),
    }
}

/// One connection that is dialled when it is needed, and has nothing to do but to wait for one answer.
fn service_config(address: &UwAddress, Request { timeout, .. }: Request<'_>) -> ServiceConfig {
    let mut config = ServiceConfig::new(address.target())
        .max_connections(1)
        .min_connections(0)
        .timeout(timeout)
        // A service may be busy with the answer, and unable to answer pings meanwhile.
        .health_check_interval(timeout * 2);
    config.client.cluster.connect_timeout = timeout;
    // An error is to be printed as it came.
    config.protocol.read_errors = false;
    config
}

async fn failed_dial(events: &mut Events) -> CloseCause {
    while let Some(event) = events.next().await {
        if let StateEvent::Closed { cause: cause @ CloseCause::Dial(_), .. } = event.event {
            return cause;
        }
    }
    std::future::pending().await
}
