//! Dialling names that have addresses of both families, which no machine's own names are sure to have.
#![expect(missing_docs, reason = "the names of the functions say it")]

use std::future::{Future, pending, poll_fn};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plimsoll_core::drive::{Address, Dialer, Dials, Runtime, Time, Timer};
use plimsoll_core::id::ConnId;
use plimsoll_core::policy::dial::MemoryConfig;
use plimsoll_core::time::Instant;

use crate::support::*;

/// A runtime on which every name has these addresses, and one of them may be silent.
#[derive(Clone)]
struct Named<R> {
    runtime: R,
    addresses: Vec<SocketAddr>,
    silent: Option<SocketAddr>,
}

impl<R: Dialer> Time for Named<R> {
    fn now(&self) -> Instant {
        self.runtime.now()
    }
}

impl<R: Dialer> Timer for Named<R> {
    fn sleep(&self, length: Duration) -> impl Future<Output = ()> + Send {
        self.runtime.sleep(length)
    }
}

impl<R: Dialer> Dialer for Named<R> {
    /// What it is connected to.
    type Io = SocketAddr;

    async fn resolve(&self, _: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(self.addresses.clone())
    }

    async fn connect(&self, address: Address) -> io::Result<SocketAddr> {
        let there = address.tcp().expect("names have addresses");
        if self.silent == Some(there) {
            pending::<()>().await;
        }
        self.runtime.connect(address).await.map(|_| there)
    }
}

/// Dials a name on threads of the runtime.
fn dialled<R: Runtime + Dialer>(
    runtime: &R,
    addresses: Vec<SocketAddr>,
    silent: Option<SocketAddr>,
) -> io::Result<SocketAddr> {
    let mut dials =
        Dials::new(Named { runtime: runtime.clone(), addresses, silent }, MemoryConfig::default());
    let told = Arc::new(Mutex::new(None));
    let tell = told.clone();
    runtime.spawn(async move {
        dials.start(ConnId::new(0, 0), "users.internal:80");
        let (_, result) = poll_fn(|cx| dials.poll_next(cx)).await;
        *tell.lock().unwrap() = Some(result);
    });
    let mut ended = None;
    until("the dial ends", || {
        ended = told.lock().unwrap().take();
        ended.is_some()
    });
    ended.expect("waited for")
}

/// The loopback of both families with one port, and somebody who listens at the first alone.
fn loopbacks(serves: SocketAddr, refuses: SocketAddr) -> (Listener, SocketAddr, SocketAddr) {
    for _ in 0..100 {
        let listener = Listener::bind(&serves.to_string()).expect("loopback of both families");
        let serves: SocketAddr = listener.address.parse().expect("a port");
        let refuses = SocketAddr::new(refuses.ip(), serves.port());
        // Nobody else has it either, or it would not be refused.
        if Listener::bind(&refuses.to_string()).is_ok() {
            return (listener, serves, refuses);
        }
    }
    panic!("no port is free on both loopbacks");
}

const SIX: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 0);
const FOUR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

pub fn a_name_whose_ipv6_address_refuses_is_reached_by_ipv4<R: Runtime + Dialer>(runtime: R) {
    let (_listener, serves, refuses) = loopbacks(FOUR, SIX);
    assert_eq!(dialled(&runtime, vec![refuses, serves], None).unwrap(), serves);
}

pub fn a_name_whose_ipv4_address_refuses_is_reached_by_ipv6<R: Runtime + Dialer>(runtime: R) {
    let (_listener, serves, refuses) = loopbacks(SIX, FOUR);
    assert_eq!(dialled(&runtime, vec![refuses, serves], None).unwrap(), serves);
}

pub fn a_name_whose_first_address_is_silent_is_reached_by_the_second<R: Runtime + Dialer>(runtime: R) {
    let (_listener, serves, silent) = loopbacks(FOUR, SIX);
    let dialled = dialled(&runtime, vec![silent, serves], Some(silent));
    assert_eq!(dialled.unwrap(), serves, "it has joined in");
}

pub fn a_name_whose_addresses_all_refuse_is_refused<R: Runtime + Dialer>(runtime: R) {
    let (listener, one, another) = loopbacks(FOUR, SIX);
    drop(listener);
    let error = dialled(&runtime, vec![one, another], None).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}
