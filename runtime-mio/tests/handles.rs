//! What is this adapter's own: handles that block, and a loop that somebody owns.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use plimsoll_core::drive::Timer;
use plimsoll_mio::{Cause, Client, Ctx, HandlerError, Loop, Mio, Server, ServiceConfig};
use serde_json::Value;

fn echo(mio: Mio) -> Server {
    Server::on(mio).method("echo", |params: Value, _: Ctx| Ok(params)).bind("127.0.0.1:0").unwrap()
}

fn config(server: &Server) -> ServiceConfig {
    ServiceConfig::new(server.local_addr().to_string())
}

#[test]
fn a_loop_that_is_turned_by_its_owner_serves_and_is_empty_when_the_server_is_gone() {
    let mut event_loop = Loop::new().unwrap();
    assert!(event_loop.is_empty());
    let server = echo(event_loop.handle());
    assert!(!event_loop.is_empty());
    let asking = thread::spawn(move || {
        let client = Client::builder().build().unwrap();
        client.configure_service("test", config(&server)).unwrap();
        assert_eq!(client.request::<u32>("test", "echo", &1), Ok(1));
        drop(server);
    });
    event_loop.run().unwrap();
    asking.join().unwrap();
    assert!(event_loop.is_empty());
}

#[test]
fn a_handler_that_calls_on_uses_a_client_with_another_loop() {
    let behind = echo(Mio::start().unwrap());
    let mio = Mio::start().unwrap();
    let front = |client: Client| {
        client.configure_service("behind", config(&behind)).unwrap();
        move |n: u32, _: Ctx| -> Result<u32, HandlerError> { Ok(client.request("behind", "echo", &n)?) }
    };
    let server = Server::on(mio.clone())
        .method("another", front(Client::builder().build().unwrap()))
        .method("same", front(Client::on(mio).build().unwrap()))
        .bind("127.0.0.1:0")
        .unwrap();
    let client = Client::builder().build().unwrap();
    let service = client.configure_service("front", config(&server)).unwrap();
    assert_eq!(service.request::<u32>("another", &7), Ok(7));
    let error = service.request::<u32>("same", &7).unwrap_err();
    assert!(matches!(error.cause, Cause::Remote { code, .. } if code == "INTERNAL_ERROR"));
}

#[test]
fn callers_are_told_when_the_loop_is_gone() {
    let server = echo(Mio::start().unwrap());
    let mut event_loop = Loop::new().unwrap();
    let client = Client::on(event_loop.handle()).build().unwrap();
    let service = client.configure_service("test", config(&server)).unwrap();
    let waiting = {
        let service = service.clone();
        thread::spawn(move || service.request::<u32>("echo", &1))
    };
    // Whether the call has come before or after, it ends.
    drop(event_loop);
    assert_eq!(waiting.join().unwrap().unwrap_err().cause, Cause::Closed);
    assert_eq!(service.request::<u32>("echo", &1).unwrap_err().cause, Cause::Closed);
    client.configure_service("later", config(&server)).unwrap();
    assert_eq!(client.request::<u32>("later", "echo", &1).unwrap_err().cause, Cause::Closed);
}

#[test]
fn events_come_one_by_one_and_end_with_the_client() {
    let server = echo(Mio::start().unwrap());
    let client = Client::builder().build().unwrap();
    let events = client.events();
    client.configure_service("test", config(&server)).unwrap();
    assert_eq!(client.request::<u32>("test", "echo", &1), Ok(1));
    drop(client);
    let events: Vec<_> = events.collect();
    assert!(!events.is_empty() && events.iter().all(|event| &*event.service == "test"));
}

#[test]
fn a_loop_ends_by_itself_when_its_last_handle_is_gone() {
    let mut event_loop = Loop::new().unwrap();
    let mio = event_loop.handle();
    event_loop.turn(Some(Duration::ZERO)).unwrap();
    let running = thread::spawn(move || event_loop.run());
    let server = echo(mio.clone());
    drop(mio);
    assert_eq!(server.metrics().status.connections, 0, "it still runs");
    drop(server);
    running.join().unwrap().unwrap();
}

type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A task whose waker is all that is left of it, and which sleeps.
struct Last(#[expect(dead_code, reason = "held until it is dropped")] Mutex<Sleep>);

impl Wake for Last {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn a_waker_that_a_timer_drops_may_be_the_last_that_holds_another_timer() {
    let mio = Mio::start().unwrap();
    let asleep = |waker: &Waker| {
        let mio = mio.clone();
        let mut sleep: Sleep = Box::pin(async move { mio.sleep(Duration::from_secs(3600)).await });
        assert!(sleep.as_mut().poll(&mut Context::from_waker(waker)).is_pending());
        sleep
    };
    let last = || Waker::from(Arc::new(Last(Mutex::new(asleep(Waker::noop())))));
    let mut sleep = asleep(&last());
    assert!(sleep.as_mut().poll(&mut Context::from_waker(&last())).is_pending(), "another task's now");
    drop(sleep);
}
