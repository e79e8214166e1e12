//! The laws of [`machine`](crate::machine), for any machine, under arbitrary lists of operations.
//!
//! A [`Subject`] builds the machine, plays its application and its peers, and says what an event was. Each law is a
//! function of a seed and a list of operations, which a property-testing library makes up and shrinks:
//!
//! ```text
//! quickcheck! {
//!     fn cutting_changes_nothing(seed: u64, ops: Vec<Op>, cuts: Vec<u8>) -> Result<(), String> {
//!         laws::cutting::<MySubject>(seed, &ops, &cuts)
//!     }
//! }
//! ```
//!
//! Every run also checks what can be seen anywhere: [`Machine::has_event`] agrees with [`Machine::event`], an action
//! that waits is due (law 3), a tick at the deadline moves or clears it (law 1), and a machine left alone comes to
//! rest.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::world::{Completions, Pace, World, is_jump};
use crate::machine::Machine;
use crate::record::{self, Record};
use crate::replay::{self, Query};
use crate::save::Snapshot;
use crate::time::Instant;

/// What to do next, and with which number; every value means something. Time passes, somebody connects, a peer
/// speaks or hangs up, a dial succeeds or fails, the application acts, and (in runs that do not drain by themselves)
/// some bytes, events, actions or sends go through.
pub type Op = (u8, u16);

/// A machine, with its application and its peers. All of it is deterministic.
pub trait Subject: Sized {
    /// What is tested.
    type Machine: Machine;

    /// A machine and its surroundings; whatever is random in them comes from `seed`. Small limits reach more.
    fn new(seed: u64) -> (Self, Self::Machine);

    /// The application does something of its own accord: sends a request, cancels one, answers a deferred one, shuts
    /// down.
    fn command(&mut self, machine: &mut Self::Machine, now: Instant, number: u16);

    /// The application takes an event, and answers it if it is of that kind. What it was, so that runs can be compared:
    /// everything the application could see, except times and the ids of connections. The number before it says in
    /// which line it stands: which of two connections is heard first may depend on how their bytes come, so law 5
    /// compares line by line. One line for all events is the strictest.
    fn event(&mut self, event: <Self::Machine as Machine>::Event<'_>) -> (u64, String);

    /// A peer has received these bytes; each connection is to a new peer, and they are numbered. What it has understood
    /// with them: whole frames, in words.
    fn hear(&mut self, peer: u32, bytes: &[u8]) -> Vec<String>;

    /// What a peer sends now, garbage too.
    fn speak(&mut self, peer: u32, number: u16) -> Vec<u8>;
}

/// Law 5: however the bytes are cut into pieces, every line of events is the same, and so is what peers hear (not the
/// order of it: an answer may overtake another).
///
/// # Errors
/// What differed.
pub fn cutting<S: Subject>(seed: u64, ops: &[Op], cuts: &[u8]) -> Result<(), String> {
    // A machine may have set a timer for the part of a frame and be woken in vain, so deadlines may differ.
    let ops: Vec<Op> = ops.iter().copied().filter(|op| !is_jump(op)).collect();
    let mut whole = World::<S>::new(seed, Pace::Prompt).run(&ops)?;
    let mut world = World::<S>::new(seed, Pace::Prompt);
    // One long piece, so that a long frame does not take for ever.
    world.cuts = cuts.iter().copied().chain([12]).collect();
    let mut cut = world.run(&ops)?;
    whole.heard.values_mut().chain(cut.heard.values_mut()).for_each(|heard| heard.sort_unstable());
    same("events", &lines(&whole.events), &lines(&cut.events))?;
    same("frames that peers hear", &whole.heard, &cut.heard)
}

/// Law 2: an early or repeated tick changes nothing.
///
/// # Errors
/// What it changed.
pub fn early_and_repeated_ticks<S: Subject>(seed: u64, ops: &[Op]) -> Result<(), String> {
    let plain = World::<S>::new(seed, Pace::Prompt).run(ops)?;
    let mut world = World::<S>::new(seed, Pace::Prompt);
    world.extra_ticks = true;
    same("trace", &plain, &world.run(ops)?)
}

/// Law 1: a tick at the deadline makes progress; the deadline then moves or clears. Jumps from deadline to deadline.
///
/// # Errors
/// Where it stood still.
pub fn tick_at_deadline_makes_progress<S: Subject>(seed: u64, ops: &[Op]) -> Result<(), String> {
    let mut world = World::<S>::new(seed, Pace::Prompt);
    for &op in ops {
        world.step(op)?;
        world.jump()?;
    }
    Ok(())
}

/// Law 3: an undrained action implies that the deadline is not after now, in runs that drain late and little.
///
/// # Errors
/// Which action was not due.
pub fn undrained_action_is_due<S: Subject>(seed: u64, ops: &[Op]) -> Result<(), String> {
    World::<S>::new(seed, Pace::Late).run(ops).map(drop)
}

/// Law 4: time that runs backwards is clamped.
///
/// # Errors
/// What it changed.
pub fn clock_going_back<S: Subject>(seed: u64, ops: &[Op]) -> Result<(), String> {
    let plain = World::<S>::new(seed, Pace::Late).run(ops)?;
    let mut world = World::<S>::new(seed, Pace::Late);
    world.clock_goes_back = true;
    same("trace", &plain, &world.run(ops)?)
}

/// Law 6: same seed, same inputs: same actions, same bytes.
///
/// # Errors
/// What differed.
pub fn same_seed_same_trace<S: Subject>(seed: u64, ops: &[Op]) -> Result<(), String> {
    let first = World::<S>::new(seed, Pace::Late).run(ops)?;
    same("trace", &first, &World::<S>::new(seed, Pace::Late).run(ops)?)
}

/// Law 7: a late completion for a connection that is gone is ignored, even if its slot has a new tenant, exactly like one
/// for a connection that never was.
///
/// # Errors
/// What it changed.
pub fn recycled_slots_ignore_late_completions<S: Subject>(seed: u64, ops: &[Op]) -> Result<(), String> {
    let with = |completions| {
        let mut world = World::<S>::new(seed, Pace::Late);
        world.completions = completions;
        world.run(ops)
    };
    same("trace", &with(Completions::Strange)?, &with(Completions::Late)?)
}

/// Law 10: a machine that is saved and loaded behaves as the one that was saved, and is saved as the same bytes. After every
/// operation, event and action, the machine makes way for the one that is loaded from it; at the end, it is what it would
/// have been, down to what nobody sees. In runs that drain at once, and in runs that drain late and little.
///
/// # Errors
/// What differed.
pub fn saved_and_loaded<S: Subject<Machine: Snapshot>>(seed: u64, ops: &[Op]) -> Result<(), String> {
    [Pace::Prompt, Pace::Late].into_iter().try_for_each(|pace| {
        let (plain, kept) = World::<S>::new(seed, pace).run_to_end(ops)?;
        let mut world = World::<S>::new(seed, pace);
        world.again = Some(save_and_load);
        let (trace, loaded) = world.run_to_end(ops)?;
        same("trace", &plain, &trace)?;
        same("snapshots at the end", &kept.snapshot(), &loaded.snapshot())
    })
}

fn save_and_load<M: Snapshot>(machine: &M) -> Result<M, String> {
    let snapshot = machine.snapshot();
    let loaded = M::restore(&snapshot).map_err(|damaged| format!("it does not load: {damaged}"))?;
    same("snapshots of the saved and the loaded machine", &snapshot, &loaded.snapshot())?;
    Ok(loaded)
}

/// A machine that is recorded does the same when its log is replayed.
///
/// # Errors
/// Where it did not.
pub fn recorded_and_replayed<S: Subject<Machine: Record>>(
    seed: u64,
    ops: &[Op],
    options: record::Options,
) -> Result<(), String> {
    let log = recorded::<S>(seed, ops, options)?;
    let replayed = replay::replay(&log).map_err(|error| format!("{error}"))?;
    same("damage", &replayed.damage, &None)
}

/// What has happened to a recorded machine is told as often as the machine has counted it, in the order of time, and every
/// question has an answer. `counted`: a question, a kind of what is told, and how often that was.
///
/// # Errors
/// What is told otherwise.
pub fn recorded_and_told<S: Subject<Machine: Record>>(
    seed: u64,
    ops: &[Op],
    options: record::Options,
    counted: impl Fn(&S::Machine) -> Vec<(Query<'static>, &'static str, u64)>,
) -> Result<(), String> {
    let mut world = World::<S>::new(seed, Pace::Late);
    world.machine().record(options);
    let (_, mut machine) = world.run_to_end(ops)?;
    let log = machine.recorded();
    let told = |query| replay::explain(&log, query).map_err(|error| format!("{query:?}: {error}"));
    for (query, kind, n) in counted(&machine) {
        let story = told(query)?;
        if !story.lines.is_sorted_by_key(|line| line.at) || story.lines.iter().any(|line| line.at > story.to)
        {
            return Err(format!("{query:?} is not told in the order of time:\n{story}"));
        }
        let of_kind = story.lines.iter().filter(|line| line.what.kind() == kind).count() as u64;
        if story.more == 0 && of_kind != n {
            return Err(format!("{kind:?} was {n} times, and is told {of_kind} times:\n{story}"));
        }
    }
    let story = told(Query::Request("1"))?;
    let half = story.to.since(story.from) / 2;
    for query in [Query::Request("0.0"), Query::Pick(1), Query::At(story.from + half)] {
        let story = told(query)?;
        // In words and as data.
        let whats = story.lines.iter().map(|line| &line.what).chain(&story.standing);
        if let Some(what) =
            whats.into_iter().find(|what| what.to_string().is_empty() || what.kind().is_empty())
        {
            return Err(format!("{what:?} has no words; its facts are {:?}", what.facts()));
        }
    }
    Ok(())
}

/// The log of a run.
///
/// # Errors
/// A law that was broken meanwhile.
pub fn recorded<S: Subject<Machine: Record>>(
    seed: u64,
    ops: &[Op],
    options: record::Options,
) -> Result<Vec<u8>, String> {
    let mut world = World::<S>::new(seed, Pace::Late);
    world.machine().record(options);
    let (_, mut machine) = world.run_to_end(ops)?;
    Ok(machine.recorded())
}

fn lines(events: &[(u64, String)]) -> BTreeMap<u64, Vec<&str>> {
    let mut lines = BTreeMap::<_, Vec<_>>::new();
    for (line, event) in events {
        lines.entry(*line).or_default().push(event.as_str());
    }
    lines
}

fn same<T: PartialEq + core::fmt::Debug>(what: &str, left: &T, right: &T) -> Result<(), String> {
    if left == right { Ok(()) } else { Err(format!("the {what} differ:\n{left:?}\n{right:?}")) }
}
