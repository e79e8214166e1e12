//! Exhaustive search of small worlds: every interleaving of their moves, up to a depth.
//!
//! A [`World`] is a machine together with what surrounds it: whatever may happen next is one of its moves. [`search`]
//! tries all of them in every state, breadth first, so that the trace to a violation is as short as any. In every state it
//! asks two things: is all well now ([`World::check`]), and if everything were left to come to its end from here, would
//! nothing be left over and nobody wait for ever ([`World::rest`])? The second one finds in a few moves what shows only
//! after many.
//!
//! Two clerks add to an account. Each reads the balance, and then writes it back with 1 added:
//!
//! ```
//! use plimsoll_core::testing::search::{Digest, Limits, World, search};
//!
//! #[derive(Clone, Default)]
//! struct Bank {
//!     balance: u32,
//!     read: [Option<u32>; 2],
//!     done: [bool; 2],
//! }
//!
//! impl World for Bank {
//!     type Move = String;
//!
//!     fn moves(&self) -> Vec<String> {
//!         let busy = |clerk: &usize| !self.done[*clerk];
//!         let next = |clerk: usize| if self.read[clerk].is_some() { "writes" } else { "reads" };
//!         (0..2).filter(busy).map(|clerk| format!("{clerk} {}", next(clerk))).collect()
//!     }
//!
//!     fn apply(&mut self, step: &String) -> Result<(), String> {
//!         let clerk = usize::from(step.starts_with('1'));
//!         match self.read[clerk] {
//!             None => self.read[clerk] = Some(self.balance),
//!             Some(balance) => (self.balance, self.done[clerk]) = (balance + 1, true),
//!         }
//!         Ok(())
//!     }
//!
//!     fn check(&self) -> Result<(), String> {
//!         let lost = self.done == [true; 2] && self.balance < 2;
//!         if lost { Err("an update is lost".into()) } else { Ok(()) }
//!     }
//!
//!     fn digest(&self, digest: &mut Digest) {
//!         digest.add(&(self.balance, self.read, self.done));
//!     }
//! }
//!
//! let found = search(&Bank::default(), Limits { depth: 10, states: 1_000 });
//! let violation = found.violation.expect("clerks who do not lock lose updates");
//! assert_eq!(violation.moves, ["0 reads", "1 reads", "0 writes", "1 writes"]);
//! ```
//!
//! Nothing is kept of a state but its [`Digest`] and the move that has led to it: to go on from it, its moves are played
//! again. So a world may be as large as it likes, and a search takes a few dozen bytes for each state.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

pub use super::digest::Digest;

/// A machine and what surrounds it.
pub trait World: Clone {
    /// Something that may happen; shown to people in the trace of a violation.
    type Move: Clone + fmt::Display;

    /// Whatever may happen next, in an order that depends on nothing but the state.
    fn moves(&self) -> Vec<Self::Move>;

    /// Lets it happen.
    ///
    /// # Errors
    /// What is wrong about how the machine took it.
    fn apply(&mut self, step: &Self::Move) -> Result<(), String>;

    /// What holds in every state.
    ///
    /// # Errors
    /// What does not hold.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Lets everything come to its end, and looks whether nothing is left over.
    ///
    /// # Errors
    /// What is left over, or who waits for ever.
    fn rest(self) -> Result<(), String> {
        Ok(())
    }

    /// What makes this state another than others: two states with the same digest have the same future. Without a word,
    /// all states are one.
    fn digest(&self, digest: &mut Digest);
}

/// How far to search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Moves from the start, at most.
    pub depth: u32,
    /// States, at most.
    pub states: u32,
}

/// What a search has found.
#[derive(Clone, Debug)]
pub struct Found<M> {
    /// Different states that were visited, the first one too.
    pub states: u32,
    /// Moves that were tried.
    pub transitions: u64,
    /// Every interleaving of so many moves was tried.
    pub depth: u32,
    /// No further state can be reached by however many moves.
    pub is_complete: bool,
    /// The first violation, by one of the shortest traces; the search has ended with it.
    pub violation: Option<Violation<M>>,
}

/// Something does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation<M> {
    /// What.
    pub message: String,
    /// How to get there from the start.
    pub moves: Vec<M>,
}

/// `9 states, 12 transitions, every interleaving of up to 4 moves (there are no more states)`
impl<M> fmt::Display for Found<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Found { states, transitions, depth, .. } = self;
        write!(f, "{states} states, {transitions} transitions, every interleaving of up to {depth} moves")?;
        f.write_str(if self.is_complete { " (there are no more states)" } else { "" })
    }
}

/// A sentence, and the moves as a numbered list.
impl<M: fmt::Display> fmt::Display for Violation<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}, after {} moves:", self.message, self.moves.len())?;
        for (n, step) in (1..).zip(&self.moves) {
            writeln!(f, "{n:3}. {step}")?;
        }
        Ok(())
    }
}

/// How a state was first reached.
struct Node<M> {
    parent: u32,
    step: M,
}

struct Search<'w, W: World> {
    root: &'w W,
    nodes: Vec<Node<W::Move>>,
    seen: BTreeSet<u128>,
    transitions: u64,
}

/// Tries every interleaving of moves from `root` on, until one violates something or a limit is reached. With the feature
/// `std`, a panic is a violation too.
pub fn search<W: World>(root: &W, limits: Limits) -> Found<W::Move> {
    let mut search = Search { root, nodes: Vec::new(), seen: BTreeSet::new(), transitions: 0 };
    search.seen.insert(Digest::of(|digest| root.digest(digest)));
    if let Err(message) = guarded(|| root.check().and_then(|()| root.clone().rest())) {
        return search.found(0, false, Some(Violation { message, moves: Vec::new() }));
    }
    // The root has no node: its successors name themselves as their parents.
    let mut layer = Vec::from([None]);
    for depth in 0..limits.depth {
        let begins = search.nodes.len() as u32;
        for node in layer {
            if let Err(violation) = search.expand(node) {
                return search.found(depth, false, Some(violation));
            }
            if search.seen.len() as u64 > u64::from(limits.states) {
                return search.found(depth, false, None);
            }
        }
        layer = (begins..search.nodes.len() as u32).map(Some).collect();
        if layer.is_empty() {
            return search.found(depth, true, None);
        }
    }
    search.found(limits.depth, false, None)
}

impl<W: World> Search<'_, W> {
    /// Tries every move of one state.
    fn expand(&mut self, node: Option<u32>) -> Result<(), Violation<W::Move>> {
        let trace = self.trace(node);
        let mut world = self.root.clone();
        for step in &trace {
            // It went well the first time.
            let _ = world.apply(step);
        }
        for step in world.moves() {
            self.transitions += 1;
            let mut next = world.clone();
            let violation = |message| {
                let moves = trace.iter().cloned().chain([step.clone()]).collect();
                Violation { message, moves }
            };
            let digest = guarded(|| {
                next.apply(&step)?;
                next.check()?;
                Ok(Digest::of(|digest| next.digest(digest)))
            })
            .map_err(violation)?;
            if self.seen.insert(digest) {
                guarded(|| next.rest()).map_err(violation)?;
                self.nodes.push(Node { parent: node.unwrap_or(self.nodes.len() as u32), step });
            }
        }
        Ok(())
    }

    fn trace(&self, node: Option<u32>) -> Vec<W::Move> {
        let mut moves = Vec::new();
        let mut at = node;
        while let Some(number) = at {
            let Node { parent, step } = &self.nodes[number as usize];
            moves.push(step.clone());
            at = (*parent != number).then_some(*parent);
        }
        moves.reverse();
        moves
    }

    fn found(self, depth: u32, is_complete: bool, violation: Option<Violation<W::Move>>) -> Found<W::Move> {
        let states = self.seen.len() as u32;
        Found { states, transitions: self.transitions, depth, is_complete, violation }
    }
}

/// A machine that panics has said what is wrong.
#[cfg(feature = "std")]
fn guarded<T>(check: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    use alloc::string::ToString;
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
    caught.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(ToString::to_string);
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(alloc::format!("it panics: {}", text.as_deref().unwrap_or("without a word")))
    })
}

#[cfg(not(feature = "std"))]
fn guarded<T>(check: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    check()
}
