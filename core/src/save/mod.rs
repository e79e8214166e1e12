//! Machines as bytes: what is saved and loaded behaves as what was saved (law 10 of [`machine`](crate::machine)).
//!
//! A [`Snapshot`] of a machine holds all that it is: configuration, connections, requests, half-decoded frames, bytes not sent
//! yet, timers, breakers, the state of its random generators, and which slot is given away next. It does not hold what decides
//! nothing: spare buffers, how much memory stands behind a list, and the explanations that were kept. It is taken between two
//! calls, but not between [`recv_buf`](crate::machine::Machine::recv_buf) and the `Received` that belongs to it.
//!
//! It is as secret as the machine: content that waits to be sent, or that has come in part, stands in it as it is.
//!
//! ```
//! use plimsoll_core::machine::Machine;
//! use plimsoll_core::save::Snapshot;
//! use plimsoll_core::service::client::{Client, Config};
//! use plimsoll_core::service::Uw;
//! use plimsoll_core::time::Instant;
//!
//! let mut client = Client::new(Uw::default(), Config::default(), 42);
//! client.add_endpoint(Instant::ZERO, "users.internal:3001").unwrap();
//!
//! let snapshot = client.snapshot();
//! let mut again = Client::<Uw>::restore(&snapshot).unwrap();
//! assert_eq!(again.poll(), client.poll());
//! assert_eq!(again.snapshot(), client.snapshot());
//!
//! assert!(Client::<Uw>::restore(&snapshot[..100]).is_err());
//! ```
//!
//! # The format
//!
//! A type says what it consists of on one line beside its definition, by [`saved!`](crate::saved). Fields follow one another in
//! the order of that line, without names: integers in 7-bit groups from the lowest (LEB128), signed ones folded (0, −1, 1, −2…),
//! lists behind their length, variants of an enum behind their number. A value has one encoding only, so that equal bytes mean
//! equal machines. Around it, a [`Snapshot`] puts what machine it is, the version of the format, and a checksum.
//!
//! Reading panics on no bytes, and allocates in proportion to the bytes that there are, whatever they claim. What passes the
//! checksum is believed: a snapshot that somebody *forged* gives a machine whose behaviour is anything, panics included.

mod reader;
mod types;
mod writer;

use alloc::vec::Vec;

use thiserror::Error;

pub use reader::Reader;
pub use writer::Writer;

/// A value as bytes, and back.
pub trait Save: Sized {
    /// Appends the value. It takes at least one byte if values of its type are held in lists.
    fn save(&self, out: &mut Writer);

    /// Takes a value that [`save`](Self::save) has written.
    ///
    /// # Errors
    /// [`Damaged`] if the bytes are none that it writes.
    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged>;

    /// Appends many values, without their number.
    #[doc(hidden)]
    fn save_all(values: &[Self], out: &mut Writer) {
        values.iter().for_each(|value| value.save(out));
    }

    /// Takes `n` values; there are at least as many bytes.
    #[doc(hidden)]
    fn load_all(n: usize, from: &mut Reader<'_>) -> Result<Vec<Self>, Damaged> {
        let mut values = Vec::with_capacity(n);
        for _ in 0..n {
            values.push(Self::load(from)?);
        }
        Ok(values)
    }
}

/// Why bytes cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Damaged {
    /// They end before what they began.
    #[error("cut off: it ends in the middle of a value, after {at} bytes")]
    Truncated {
        /// How many bytes there are.
        at: usize,
    },
    /// What stands there cannot stand there.
    #[error("damaged: what stands at byte {at} cannot stand there")]
    Invalid {
        /// Where, in bytes from the start.
        at: usize,
    },
    /// Bytes are left over.
    #[error("damaged: it should end at byte {at}, and goes on")]
    Trailing {
        /// Where it should end.
        at: usize,
    },
    /// The bytes are others than were written.
    #[error("damaged: its checksum is not that of its bytes")]
    Checksum,
    /// They are no snapshot, or one of another kind of machine.
    #[error("it is not a snapshot of this kind of machine")]
    Kind,
    /// They were written by another version.
    #[error("it is in version {found} of the format; this program reads version {VERSION}")]
    Version {
        /// Which.
        found: u64,
    },
}

/// Of the format of snapshots: it moves whenever what a type consists of changes.
pub const VERSION: u64 = 1;

/// A machine that can be saved whole. What stands around the bytes of [`Save`]: the [kind](Self::KIND), the [`VERSION`], and at
/// the end a [`checksum`] of all before it, 8 bytes from the lowest.
pub trait Snapshot: Save {
    /// What machine it is.
    const KIND: [u8; 8];

    /// The machine as bytes, its configuration included.
    fn snapshot(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.raw(&Self::KIND);
        out.varint(VERSION);
        self.save(&mut out);
        let sum = checksum(out.as_bytes());
        out.raw(&sum.to_le_bytes());
        out.into_bytes()
    }

    /// The machine that [`snapshot`](Self::snapshot) has seen.
    ///
    /// # Errors
    /// [`Damaged`] if the bytes are not as they were written, or come from another machine or version.
    fn restore(bytes: &[u8]) -> Result<Self, Damaged> {
        let (bytes, sum) = bytes.split_last_chunk().ok_or(Damaged::Truncated { at: bytes.len() })?;
        let mut from = Reader::new(bytes);
        if from.raw(Self::KIND.len())? != Self::KIND {
            return Err(Damaged::Kind);
        }
        if checksum(bytes) != u64::from_le_bytes(*sum) {
            return Err(Damaged::Checksum);
        }
        match from.varint()? {
            VERSION => {}
            found => return Err(Damaged::Version { found }),
        }
        let machine = Self::load(&mut from)?;
        from.finish()?;
        Ok(machine)
    }
}

/// FNV-1a of 64 bits (G. Fowler, L. C. Noll, K.-P. Vo, RFC 9923). Every step is invertible, so that no change of a single byte
/// escapes it; other damage does once in 2⁶⁴. It is no defence against who means harm.
pub fn checksum(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |sum, &byte| (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Says what a type consists of, so that it can be [saved](crate::save).
///
/// A field that is left out does not compile. What can be found anew stands behind `rebuilt`, with the value that it has
/// after loading.
///
/// ```
/// use plimsoll_core::save::{Reader, Save, Writer};
///
/// struct Line<T> {
///     waiting: Vec<T>,
///     limit: u32,
///     scratch: Vec<u8>,
/// }
/// // Empty between calls.
/// plimsoll_core::saved!(impl[T: Save] struct Line<T> { waiting, limit; rebuilt scratch = Vec::new() });
///
/// enum State {
///     Idle,
///     Busy(u32),
///     Done { at: u64 },
/// }
/// plimsoll_core::saved!(enum State { 0 = Idle, 1 = Busy(n), 2 = Done { at } });
///
/// let line = Line { waiting: vec![State::Idle, State::Busy(7), State::Done { at: 300 }], limit: 8, scratch: vec![] };
/// let mut out = Writer::new();
/// line.save(&mut out);
/// assert_eq!(out.as_bytes(), [3, 0, 1, 7, 2, 0xac, 2, 8]);
/// let again = Line::<State>::load(&mut Reader::new(out.as_bytes())).unwrap();
/// assert_eq!((again.waiting.len(), again.limit), (3, 8));
/// ```
#[macro_export]
macro_rules! saved {
    ($(impl[$($generics:tt)*])? struct $type:ty {
        $($field:tt),* $(; rebuilt $($again:ident = $value:expr),+)?
    }) => {
        impl $(<$($generics)*>)? $crate::save::Save for $type {
            fn save(&self, out: &mut $crate::save::Writer) {
                let Self { $($field: _,)* $($($again: _,)+)? } = self;
                $($crate::save::Save::save(&self.$field, out);)*
                let _ = out;
            }

            fn load(from: &mut $crate::save::Reader<'_>) -> ::core::result::Result<Self, $crate::save::Damaged> {
                let _ = &from;
                Ok(Self { $($field: $crate::save::Save::load(from)?,)* $($($again: $value,)+)? })
            }
        }
    };
    ($(impl[$($generics:tt)*])? enum $type:ty {
        $($number:literal = $variant:ident $(($($value:ident),+))? $({ $($field:ident),+ })?),+ $(,)?
    }) => {
        impl $(<$($generics)*>)? $crate::save::Save for $type {
            fn save(&self, out: &mut $crate::save::Writer) {
                match self {
                    $(Self::$variant $(($($value),+))? $({ $($field),+ })? => {
                        out.byte($number);
                        $($($crate::save::Save::save($value, out);)+)?
                        $($($crate::save::Save::save($field, out);)+)?
                    })+
                }
            }

            fn load(from: &mut $crate::save::Reader<'_>) -> ::core::result::Result<Self, $crate::save::Damaged> {
                Ok(match from.byte()? {
                    $($number => {
                        $($(let $value = $crate::save::Save::load(from)?;)+)?
                        $($(let $field = $crate::save::Save::load(from)?;)+)?
                        Self::$variant $(($($value),+))? $({ $($field),+ })?
                    })+
                    _ => return Err(from.invalid(1)),
                })
            }
        }
    };
}

#[cfg(test)]
mod tests;
