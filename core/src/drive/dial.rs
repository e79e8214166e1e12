//! From addresses to a connection, and many such attempts at the same time.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use super::ReadyList;
use crate::id::ConnId;

/// How long an address is tried alone before the next one joins in (RFC 8305, section 8).
const HEAD_START: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried.
const ADDRESSES: usize = 16;

/// The dials of one driver: futures that are polled only when they were woken, by the id of their connection.
pub struct Dials<Io> {
    ready: ReadyList,
    /// Exchanged with the ready list.
    woken: Vec<u32>,
    /// By slot.
    dials: Vec<Place<Io>>,
}

struct Place<Io> {
    waker: Waker,
    dial: Option<(ConnId, Dial<Io>)>,
}

type Dial<Io> = Pin<Box<dyn Future<Output = io::Result<Io>> + Send>>;

impl<Io> Dials<Io> {
    /// None.
    pub fn new() -> Self {
        Dials { ready: ReadyList::new(), woken: Vec::new(), dials: Vec::new() }
    }

    /// One more. It replaces whatever was dialled in the same slot.
    pub fn start(&mut self, conn: ConnId, dial: impl Future<Output = io::Result<Io>> + Send + 'static) {
        for slot in self.dials.len() as u32..=conn.slot() {
            self.dials.push(Place { waker: self.ready.waker(slot), dial: None });
        }
        let place = &mut self.dials[conn.index()];
        place.dial = Some((conn, Box::pin(dial)));
        place.waker.wake_by_ref();
    }

    /// Drops a dial, if it has not ended.
    pub fn cancel(&mut self, conn: ConnId) {
        if let Some(place) = self.dials.get_mut(conn.index()) {
            place.dial.take_if(|(dialled, _)| *dialled == conn);
        }
    }

    /// The next one that has ended; `Pending` while there is none at all, too.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(ConnId, io::Result<Io>)> {
        if self.woken.is_empty() {
            self.ready.take(&mut self.woken);
        }
        while let Some(slot) = self.woken.pop() {
            let Place { waker, dial } = &mut self.dials[slot as usize];
            if let Some((conn, future)) = dial
                && let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(waker))
            {
                let conn = *conn;
                *dial = None;
                return Poll::Ready((conn, result));
            }
        }
        // Only once around: a future may wake itself when its runtime wants it to pause.
        if self.ready.arm(cx.waker()) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<Io> Default for Dials<Io> {
    fn default() -> Self {
        Self::new()
    }
}

impl<Io> fmt::Debug for Dials<Io> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let under_way = self.dials.iter().filter_map(|place| place.dial.as_ref());
        f.debug_set().entries(under_way.map(|(conn, _)| conn)).finish()
    }
}

/// Connects to whichever of the addresses that a name was `resolved` to answers first (RFC 8305): families take turns,
/// each attempt has 250 ms for itself, and one that fails leads to the next at once. 16 addresses are tried at most.
///
/// # Errors
/// That of the last attempt to fail; [`ErrorKind::NotFound`] if resolving failed, or found nothing.
pub async fn connect_any<S, A, P>(
    resolved: io::Result<impl IntoIterator<Item = SocketAddr>>,
    mut attempt: impl FnMut(SocketAddr) -> A,
    mut pause: impl FnMut(Duration) -> P,
) -> io::Result<S>
where
    A: Future<Output = io::Result<S>>,
    P: Future,
{
    let resolved = resolved.map_err(|error| io::Error::new(ErrorKind::NotFound, error))?;
    let mut left = alternating(resolved.into_iter().collect()).into_iter().take(ADDRESSES);
    let mut attempts: Vec<Pin<Box<A>>> = Vec::new();
    let mut head_start: Option<Pin<Box<P>>> = None;
    let mut failure = Some(io::Error::new(ErrorKind::NotFound, "the name has no address"));
    poll_fn(move |cx| {
        loop {
            let mut at = 0;
            while let Some(running) = attempts.get_mut(at) {
                match running.as_mut().poll(cx) {
                    Poll::Ready(Ok(stream)) => return Poll::Ready(Ok(stream)),
                    Poll::Ready(Err(error)) => {
                        failure = Some(error);
                        head_start = None;
                        drop(attempts.remove(at));
                    }
                    Poll::Pending => at += 1,
                }
            }
            if head_start.as_mut().is_some_and(|pause| pause.as_mut().poll(cx).is_pending()) {
                return Poll::Pending;
            }
            head_start = None;
            match left.next() {
                Some(address) => {
                    attempts.push(Box::pin(attempt(address)));
                    head_start = (left.len() > 0).then(|| Box::pin(pause(HEAD_START)));
                }
                None if attempts.is_empty() => {
                    return Poll::Ready(Err(failure.take().expect("polled no more once it is ready")));
                }
                None => return Poll::Pending,
            }
        }
    })
    .await
}

/// One of each family in turn, beginning with the one that the resolver prefers.
fn alternating(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else { return addresses };
    let (preferred, other): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().partition(|address| address.is_ipv6() == first.is_ipv6());
    let mut other = other.into_iter();
    let mut mixed: Vec<SocketAddr> =
        preferred.into_iter().flat_map(|address| [Some(address), other.next()]).flatten().collect();
    mixed.extend(other);
    mixed
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::sync::Arc;
    use alloc::vec;
    use core::future::{pending, ready};
    use core::pin::pin;
    use core::sync::atomic::{AtomicBool, Ordering};

    fn parse(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn poll<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn families_alternate_from_the_preferred_one() {
        let resolved = parse(&["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"]);
        let mixed = parse(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "1.1.1.2:1", "[::3]:1"]);
        assert_eq!(alternating(resolved), mixed);
        let resolved = parse(&["1.1.1.1:1", "[::1]:1", "[::2]:1"]);
        assert_eq!(alternating(resolved.clone()), resolved);
    }

    #[test]
    fn an_address_that_refuses_leads_to_the_next_at_once() {
        let mut tried = Vec::new();
        let attempt = |address: SocketAddr| {
            tried.push(address.port());
            ready(if address.port() < 3 { Err(ErrorKind::ConnectionRefused.into()) } else { Ok(address) })
        };
        let found = parse(&["1.1.1.1:1", "1.1.1.1:2", "1.1.1.1:3", "1.1.1.1:4"]);
        let connected = poll(pin!(connect_any(Ok(found), attempt, |_| pending::<()>())));
        assert!(matches!(connected, Poll::Ready(Ok(address)) if address.port() == 3));
        assert_eq!(tried, [1, 2, 3]);
    }

    #[test]
    fn when_all_refuse_the_last_error_is_told() {
        let attempt = |address: SocketAddr| {
            let kind = if address.port() == 1 { ErrorKind::TimedOut } else { ErrorKind::ConnectionRefused };
            ready(Err::<(), _>(kind.into()))
        };
        let found = parse(&["1.1.1.1:1", "1.1.1.1:2"]);
        let Poll::Ready(Err(error)) = poll(pin!(connect_any(Ok(found), attempt, |_| pending::<()>()))) else {
            panic!("all have ended")
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let nothing = connect_any(Ok(Vec::new()), attempt, |_| pending::<()>());
        let Poll::Ready(Err(error)) = poll(pin!(nothing)) else { panic!("there is none to try") };
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn an_address_that_is_silent_is_joined_by_the_next_after_its_head_start() {
        let over = AtomicBool::new(false);
        let attempt = |address: SocketAddr| {
            poll_fn(move |_| if address.port() == 2 { Poll::Ready(Ok(address)) } else { Poll::Pending })
        };
        let pause = |length| {
            assert_eq!(length, HEAD_START);
            poll_fn(|_| if over.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending })
        };
        let mut race = pin!(connect_any(Ok(parse(&["1.1.1.1:1", "1.1.1.1:2"])), attempt, pause));
        assert!(poll(race.as_mut()).is_pending());
        over.store(true, Ordering::SeqCst);
        assert!(matches!(poll(race), Poll::Ready(Ok(address)) if address.port() == 2));
    }

    #[test]
    fn only_the_dial_that_was_woken_is_polled_and_one_that_was_cancelled_never_ends() {
        let polls = Arc::new(std::sync::Mutex::new((Vec::new(), None)));
        let dial = |n: u32| {
            let polls = polls.clone();
            poll_fn(move |cx| {
                let mut polls = polls.lock().unwrap();
                polls.0.push(n);
                if n == 1 && polls.1.replace(cx.waker().clone()).is_some() {
                    return Poll::Ready(Ok(n));
                }
                Poll::Pending
            })
        };
        let conn = |slot| ConnId::new(slot, 0);
        let mut dials = Dials::new();
        (0..3).for_each(|n| dials.start(conn(n), dial(n)));
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(dials.poll_next(cx).is_pending());
        dials.cancel(conn(2));
        dials.cancel(ConnId::new(0, 7));
        assert!(dials.poll_next(cx).is_pending());
        let waker = polls.lock().unwrap().1.clone().unwrap();
        waker.wake();
        assert!(matches!(dials.poll_next(cx), Poll::Ready((id, Ok(1))) if id == conn(1)));
        let mut polled = polls.lock().unwrap().0.clone();
        polled.sort_unstable();
        assert_eq!(polled, vec![0, 1, 1, 2]);
        assert_eq!(alloc::format!("{dials:?}"), "{0.0}", "one is left");
    }
}
