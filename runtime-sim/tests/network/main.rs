//! The network itself, without any machine: what each fault does, to bytes that are on their way too.

mod closing;
mod connecting;
mod crashes;
mod forgetting;
mod names;
mod partitions;
mod pauses;
mod resets;
mod ways;
mod windows;

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plimsoll_core::drive::{Address, Dialer, ListenOptions, PollIo, Runtime, Time, Transport};
use plimsoll_core::time::Instant;
use plimsoll_sim::{Host, Link, Net, Sim, Socket};

/// Two hosts and one connection between them.
struct Pair {
    sim: Sim,
    web: Host,
    users: Host,
    /// At `web`, which has dialled.
    here: Socket,
    /// At `users`.
    there: Socket,
}

impl Pair {
    /// Connected over such a way.
    fn over(link: Link) -> Pair {
        let mut sim = Sim::new(1);
        let (web, users) = (sim.host("web.internal"), sim.host("users.internal"));
        sim.faults().usual_link(link);
        let mut listener = sim.block_on(listen(&users));
        let here = sim.block_on(dial(&web, &users)).unwrap();
        let there = sim.block_on(accept(&mut listener));
        Pair { sim, web, users, here, there }
    }

    fn new() -> Pair {
        Pair::over(slow_way())
    }
}

/// All that is read at one end from now on, with the time of each read.
fn reads(mut socket: Socket, host: &Host) -> Reads {
    let reads = Reads::default();
    let (heard, clock) = (reads.clone(), host.clone());
    host.run(async move {
        loop {
            let read = read(&mut socket).await.map_err(|error| error.kind());
            let is_over = !matches!(&read, Ok(bytes) if !bytes.is_empty());
            heard.0.lock().unwrap().push((clock.now(), read));
            if is_over {
                return;
            }
        }
    });
    reads
}

/// When what was read; the last may be an end or an error.
#[derive(Clone, Default)]
struct Reads(Arc<Mutex<Vec<Read>>>);

type Read = (Instant, Result<Vec<u8>, io::ErrorKind>);

impl Reads {
    fn take(&self) -> Vec<Read> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// The bytes, all together.
    fn bytes(&self) -> Vec<u8> {
        self.take().into_iter().filter_map(|(_, read)| read.ok()).flatten().collect()
    }
}

/// Ten milliseconds.
fn slow_way() -> Link {
    Link { latency: ms(10), ..Link::default() }
}

fn small_window() -> Link {
    Link { window: NonZeroU32::new(1_000).unwrap(), ..slow_way() }
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

async fn listen(host: &Host) -> Net {
    let (mut shares, _) = host.listen("0.0.0.0:80", &ListenOptions::default(), 1).await.unwrap();
    shares.pop().unwrap()
}

async fn dial(from: &Host, to: &Host) -> io::Result<Socket> {
    let found = from.resolve(&format!("{}:80", to.name())).await?;
    from.connect(Address::Tcp(found[0])).await
}

async fn accept(listener: &mut Net) -> Socket {
    poll_fn(|cx| listener.poll_accept(cx)).await.unwrap().0
}

/// One read; empty is the end.
async fn read(socket: &mut Socket) -> io::Result<Vec<u8>> {
    let mut buf = vec![0; 65_536];
    let n = poll_fn(|cx| socket.poll_read(cx, &mut buf)).await?;
    buf.truncate(n);
    Ok(buf)
}

/// One write.
async fn write(socket: &mut Socket, bytes: &[u8]) -> io::Result<usize> {
    poll_fn(|cx| socket.poll_write(cx, &[IoSlice::new(bytes)])).await
}

/// A write that need not wait.
fn say(sim: &mut Sim, socket: &mut Socket, text: &str) {
    assert_eq!(sim.block_on(write(socket, text.as_bytes())).unwrap(), text.len());
}
