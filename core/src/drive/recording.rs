//! Logs of machines that a driver drives: kept in memory, or written to files by a thread of their own.

use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::num::NonZeroU32;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::Waker;
use core::time::Duration;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use super::Host;
use crate::machine::Machine;
use crate::record::{Options, Piece, Record};
use crate::time::Instant;

/// What was recorded is handed on at most so long after it, even if nothing else happens.
const SEAL: Duration = Duration::from_millis(100);
/// So many pieces wait for the disk; those beyond are lost, and counted.
const WAITING: usize = 256;

/// Where logs go, and what is in them. One log per machine: a service, server or hub has one for each of its shards. The
/// first has the file's own name, the others `.1`, `.2`, … behind it.
///
/// ```no_run
/// # #[cfg(unix)] {
/// use plimsoll_core::drive::Recording;
///
/// let recording = Recording::file("users.plog").content(false);
/// // … hand it to a builder: `Client::builder().record(&recording)`
/// assert_eq!(recording.status().lost, 0);
/// # }
/// ```
///
/// # What a killed process loses
///
/// A machine's last turns. What was recorded goes to the file in pieces: when 16 KiB are full, at the end of that turn; and
/// everything else within 100 ms, for which an idle driver wakes up once more. A thread of its own writes each piece at once, with
/// nothing held back. So a process that is killed outright (SIGKILL, out of memory, an abort) loses at most the last 100 ms, and
/// whatever had come faster than the disk took it: at most 256 pieces wait for that, and [`lost`](RecordingStatus::lost) counts
/// what is dropped beyond. (What the *system* had not brought to the disk yet, a crash of the system can take; nobody waits for
/// that here.)
///
/// A log that was ended says so, and [replay](crate::replay::replay) tells one that was not: in order, when the machine has shut
/// down, or when its driver is dropped. Nothing is missing then. Where a driver panics, all that came before the call that
/// panicked is in the log, but no end. A log that is there when a file is begun is kept beside it, as `FILE.before`: whoever
/// starts a killed process again does not overwrite what it left.
#[derive(Clone, Debug)]
pub struct Recording {
    options: Options,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: Option<PathBuf>,
    /// Logs that were begun.
    logs: AtomicU64,
    lost: AtomicU64,
    bytes: AtomicU64,
    error: Mutex<Option<String>>,
    /// In memory, by log.
    kept: Mutex<Vec<VecDeque<Piece>>>,
}

/// How a recording fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordingStatus {
    /// Logs that were begun.
    pub logs: u64,
    /// Bytes that were kept or written.
    pub bytes: u64,
    /// Pieces that were lost, since the disk was too slow or refused them.
    pub lost: u64,
    /// What the disk said last when it refused.
    pub error: Option<String>,
}

impl Recording {
    /// To a file, whose segments go round in a ring. One that is there is kept as `FILE.before`, in place of an older one.
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self::to(Some(path.as_ref().into()))
    }

    /// To memory: see [`log`](Self::log).
    pub fn memory() -> Self {
        Self::to(None)
    }

    fn to(path: Option<PathBuf>) -> Self {
        let shared = Shared {
            path,
            logs: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            error: Mutex::default(),
            kept: Mutex::default(),
        };
        Recording { options: Options::default(), shared: Arc::new(shared) }
    }

    /// A segment of the ring has about so many bytes; 1 MiB by default.
    pub fn segment_bytes(mut self, bytes: NonZeroU32) -> Self {
        self.options.segment = bytes;
        self
    }

    /// How many segments are kept; 16 by default.
    pub fn segments(mut self, segments: NonZeroU32) -> Self {
        self.options.segments = segments;
        self
    }

    /// Whether bodies are kept; no by default.
    pub fn content(mut self, kept: bool) -> Self {
        self.options.content = kept;
        self
    }

    /// How it fares.
    pub fn status(&self) -> RecordingStatus {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Shared { logs, lost, bytes, error, .. } = &*self.shared;
        RecordingStatus {
            logs: count(logs),
            bytes: count(bytes),
            lost: count(lost),
            error: lock(error).clone(),
        }
    }

    /// What is in memory of the log number `at`, from 0; what happened within the last 100 ms may still be missing while the
    /// machine lives, and so does the end.
    pub fn log(&self, at: usize) -> Vec<u8> {
        let kept = lock(&self.shared.kept);
        kept.get(at).into_iter().flatten().flat_map(|piece| piece.bytes.iter().copied()).collect()
    }

    /// Records `machine` from now on, for the host that takes this.
    fn begin<M: Record>(&self, machine: &mut M) -> Tape {
        machine.record(self.options);
        let at = self.shared.logs.fetch_add(1, Ordering::Relaxed);
        let sink = match &self.shared.path {
            None => {
                let mut kept = lock(&self.shared.kept);
                let len = kept.len().max(at as usize + 1);
                kept.resize_with(len, VecDeque::new);
                Sink::Memory(at as usize)
            }
            Some(path) => {
                let mut name = path.clone().into_os_string();
                if at > 0 {
                    name.push(alloc::format!(".{at}"));
                }
                let (sender, receiver) = sync_channel(WAITING);
                let (shared, options) = (self.shared.clone(), self.options);
                let ring = u64::from(options.segment.get()) * u64::from(options.segments.get());
                let writer = move || write_all(&shared, PathBuf::from(name), ring, &receiver);
                match thread::Builder::new().name("plimsoll-record".into()).spawn(writer) {
                    Ok(writer) => Sink::File(Some(sender), Some(writer)),
                    Err(error) => {
                        self.shared.failed(&error);
                        Sink::File(None, None)
                    }
                }
            }
        };
        let (shared, segments) = (self.shared.clone(), self.options.segments);
        Tape { shared, segments, sink, sealed: Instant::ZERO, due: None }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn failed(&self, error: &io::Error) {
        *lock(&self.error) = Some(error.to_string());
        self.lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// Writes pieces where they belong: segments one behind the other, and from the start again when the ring is full.
fn write_all(shared: &Shared, path: PathBuf, ring: u64, pieces: &Receiver<Piece>) {
    let file = keep_what_is_there(&path).and_then(|()| File::create(path));
    let mut file = file.inspect_err(|error| shared.failed(error)).ok();
    let (mut segment, mut begins, mut ends) = (0, 0, 0);
    while let Ok(piece) = pieces.recv() {
        let Some(file) = &mut file else {
            shared.lost.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        if piece.segment != segment {
            segment = piece.segment;
            begins = if ends >= ring { 0 } else { ends };
        }
        let at = begins + piece.at;
        ends = at + piece.bytes.len() as u64;
        // Whoever reads the ring sees by these zeros that an older round begins.
        let mut bytes = piece.bytes;
        bytes.extend_from_slice(&[0; 32]);
        match file.seek(SeekFrom::Start(at)).and_then(|_| file.write_all(&bytes)) {
            Ok(()) => drop(shared.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed)),
            Err(error) => shared.failed(&error),
        }
    }
}

/// A log that is there may be that of a process that was killed.
fn keep_what_is_there(path: &Path) -> io::Result<()> {
    let mut before = path.to_path_buf().into_os_string();
    before.push(".before");
    match fs::metadata(path) {
        Ok(there) if there.is_file() && there.len() > 0 => fs::rename(path, before),
        _ => Ok(()),
    }
}

/// Where the log of one machine goes.
struct Tape {
    shared: Arc<Shared>,
    segments: NonZeroU32,
    sink: Sink,
    /// When it was last finished, and when it is to be next.
    sealed: Instant,
    due: Option<Instant>,
}

enum Sink {
    Memory(usize),
    File(Option<SyncSender<Piece>>, Option<thread::JoinHandle<()>>),
}

impl Tape {
    /// Takes what is finished. Once a turn, so that nothing of it is on the path of a request.
    fn flush<M: Record>(&mut self, now: Instant, machine: &mut M) {
        let seal = now.since(self.sealed) >= SEAL;
        if seal {
            (self.sealed, self.due) = (now, None);
        }
        while let Some(piece) = machine.take_recorded(seal) {
            self.put(piece);
        }
        if self.due.is_none() && machine.has_unsealed() {
            self.due = Some(self.sealed + SEAL);
        }
    }

    /// Takes the rest. Whatever of it is not `whole` has no end.
    fn end<M: Record>(mut self, machine: &mut M, whole: bool) {
        let pieces = machine.end_recording();
        let kept = pieces.len() - usize::from(!whole).min(pieces.len());
        pieces.into_iter().take(kept).for_each(|piece| self.put(piece));
    }

    fn put(&mut self, piece: Piece) {
        match &mut self.sink {
            Sink::Memory(at) => {
                self.shared.bytes.fetch_add(piece.bytes.len() as u64, Ordering::Relaxed);
                let kept = &mut lock(&self.shared.kept)[*at];
                let oldest = (piece.segment + 1).saturating_sub(self.segments.get().into());
                kept.push_back(piece);
                while kept.pop_front_if(|piece| piece.segment < oldest).is_some() {}
            }
            Sink::File(Some(sender), _) => {
                if sender.try_send(piece).is_err() {
                    self.shared.lost.fetch_add(1, Ordering::Relaxed);
                }
            }
            Sink::File(None, _) => drop(self.shared.lost.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

/// The file is whole when the driver is gone.
impl Drop for Tape {
    fn drop(&mut self) {
        if let Sink::File(sender, writer) = &mut self.sink {
            drop(sender.take());
            drop(writer.take().map(thread::JoinHandle::join));
        }
    }
}

/// A host whose machine may be recorded.
pub(super) struct Taped<H> {
    host: H,
    tape: Option<Tape>,
}

impl<H> Taped<H> {
    pub(super) fn new<M: Record>(host: H, machine: &mut M, recording: Option<&Recording>) -> Self {
        Taped { host, tape: recording.map(|recording| recording.begin(machine)) }
    }
}

impl<M: Machine + Record, H: Host<M>> Host<M> for Taped<H> {
    fn commands(&mut self, now: Instant, machine: &mut M) {
        self.host.commands(now, machine);
    }

    fn event(&mut self, now: Instant, event: M::Event<'_>) {
        self.host.event(now, event);
    }

    fn publish(&mut self, now: Instant, machine: &mut M) {
        // Before anybody hears that the machine has shut down.
        if let Some(tape) = self.tape.take_if(|_| machine.is_finished()) {
            tape.end(machine, true);
        }
        if let Some(tape) = &mut self.tape {
            tape.flush(now, machine);
        }
        self.host.publish(now, machine);
    }

    fn abandoned(&mut self, machine: &mut M) {
        if let Some(tape) = self.tape.take() {
            tape.end(machine, !thread::panicking());
        }
        self.host.abandoned(machine);
    }

    fn arm(&mut self, driver: &Waker) -> bool {
        self.host.arm(driver)
    }

    fn deadline(&self) -> Option<Instant> {
        let due = self.tape.as_ref().and_then(|tape| tape.due);
        self.host.deadline().into_iter().chain(due).min()
    }

    fn is_listening(&self) -> bool {
        self.host.is_listening()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Log;
    use crate::replay::replay;
    use crate::service::Uw;
    use crate::service::client::{Client, Config};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    struct Nobody;

    impl<M: Machine> Host<M> for Nobody {
        fn commands(&mut self, _: Instant, _: &mut M) {}
        fn event(&mut self, _: Instant, _: M::Event<'_>) {}
        fn publish(&mut self, _: Instant, _: &mut M) {}
        fn arm(&mut self, _: &Waker) -> bool {
            false
        }
    }

    /// As a driver, which is dropped.
    struct Drops(Client<Uw>, Taped<Nobody>);

    impl Drop for Drops {
        fn drop(&mut self) {
            self.1.abandoned(&mut self.0);
        }
    }

    fn recorded(recording: &Recording) -> Drops {
        let mut client = Client::new(Uw::default(), Config::default(), 1);
        let taped = Taped::new(Nobody, &mut client, Some(recording));
        Drops(client, taped)
    }

    #[test]
    fn an_idle_driver_is_woken_once_to_hand_on_what_was_recorded() {
        let recording = Recording::memory();
        let mut driver = recorded(&recording);
        let Drops(client, taped) = &mut driver;
        let deadline = |taped: &Taped<Nobody>| Host::<Client<Uw>>::deadline(taped);
        let mut now = Instant::from_millis(1_000);
        taped.publish(now, client);
        assert_eq!(deadline(taped), None, "there is nothing but the head");
        client.add_endpoint(now, "users.internal:3001").unwrap();
        taped.publish(now, client);
        let due = deadline(taped).expect("something happened");
        assert_eq!(due, now + SEAL);
        let before = recording.log(0).len();
        now = due;
        // As an idle driver asks.
        assert!(client.event().is_none());
        while client.poll().is_some() {}
        taped.publish(now, client);
        assert_eq!(deadline(taped), None);
        assert!(recording.log(0).len() > before && replay(&recording.log(0)).unwrap().calls > 1);
        assert!(client.poll().is_none() && client.event().is_none());
        taped.publish(now, client);
        assert_eq!(deadline(taped), None, "that there is nothing to do is no news");
    }

    #[test]
    fn a_driver_that_is_dropped_ends_its_log_and_one_that_panics_does_not() {
        for panics in [false, true] {
            let recording = Recording::memory();
            let run = AssertUnwindSafe(|| {
                let mut driver = recorded(&recording);
                driver.0.add_endpoint(Instant::ZERO, "users.internal:3001").unwrap();
                assert!(!panics, "a panic that the test is about");
            });
            assert_eq!(catch_unwind(run).is_err(), panics);
            let log = recording.log(0);
            assert_eq!(Log::read(&log).unwrap().ended, !panics);
            assert_eq!(replay(&log).unwrap().calls, 1);
        }
    }
}
