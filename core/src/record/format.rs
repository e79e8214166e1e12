//! The bytes of a log: blocks, each with a checksum, and records in them.

use alloc::vec::Vec;

use thiserror::Error;

use super::Subject;
use super::kinds::{FIELDS, Kind, Side, Tail};
use crate::save::{Damaged, Reader};
use crate::time::Instant;

/// The version of the format of blocks and records.
pub const VERSION: u8 = 3;
const MAGIC: [u8; 4] = *b"PLRC";
/// The length of the head of a block.
pub(crate) const HEAD: usize = 32;
/// Set in the number of a record's kind if time has passed since the one before.
pub(crate) const TIME: u8 = 0x80;

const CONTENT: u8 = 1;
const IDS: u8 = 2;
const WHOLE: u8 = 4;

/// What is in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The beginning of a segment: the number of blocks of the segment before it, the time, the hash, and a snapshot of the
    /// machine.
    Head = 0,
    Records = 1,
    /// The end: nothing of the log is missing. Its number says how many blocks stand before it in its segment.
    End = 2,
}

impl Part {
    const fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Part::Head,
            1 => Part::Records,
            2 => Part::End,
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockHead {
    pub(crate) part: Part,
    pub(crate) subject: Subject,
    pub(crate) content: bool,
    pub(crate) has_ids: bool,
    /// Whether every byte that came is in it, and the snapshots are as the machine was, so that a replay decodes again.
    pub(crate) whole: bool,
    pub(crate) segment: u64,
    pub(crate) index: u32,
    pub(crate) len: usize,
}

/// A block: magic, version, part, machine, flags (a byte each after the four of the magic), segment (8), number in the
/// segment (4), length (4), checksum of all else (8), payload. Integers from their lowest byte.
pub(crate) fn block(head: &BlockHead, payload: &[u8]) -> Vec<u8> {
    let flags =
        u8::from(head.content) * CONTENT + u8::from(head.has_ids) * IDS + u8::from(head.whole) * WHOLE;
    let mut bytes = Vec::with_capacity(HEAD + payload.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[VERSION, head.part as u8, head.subject as u8, flags]);
    bytes.extend_from_slice(&head.segment.to_le_bytes());
    bytes.extend_from_slice(&head.index.to_le_bytes());
    bytes.extend_from_slice(&(head.len as u32).to_le_bytes());
    let sum = checksum(checksum(0, &bytes), payload);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// By words: every step can be undone, so that no change within a word goes unseen; other damage does once in 2⁶⁴.
fn checksum(mut sum: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut fold = |word: u64| sum = (sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    words.iter().for_each(|word| fold(u64::from_le_bytes(*word)));
    rest.iter().for_each(|&byte| fold(byte.into()));
    fold(bytes.len() as u64);
    sum
}

/// The block at the start of `bytes`; `None` if there is no whole one.
fn open(bytes: &[u8]) -> Result<(BlockHead, &[u8]), What> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or(What::Cut)?;
    if head[..4] != MAGIC {
        return Err(What::NoBlock);
    }
    if head[4] != VERSION {
        return Err(What::Version { found: head[4] });
    }
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    let payload = rest.get(..word(20) as usize).ok_or(What::Cut)?;
    if checksum(checksum(0, &head[..24]), payload) != long(24) {
        return Err(What::Checksum);
    }
    let part = Part::of(head[5]).ok_or(What::Record)?;
    let subject = Subject::of(head[6]).ok_or(What::Machine { found: head[6] })?;
    let is = |flag| head[7] & flag != 0;
    let (content, has_ids, whole) = (is(CONTENT), is(IDS), is(WHOLE));
    let (segment, index, len) = (long(8), word(16), payload.len());
    Ok((BlockHead { part, subject, content, has_ids, whole, segment, index, len }, payload))
}

/// Writes the checksums of the blocks at the start of `log` anew, for tests that change what is in them.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn reseal(mut log: &mut [u8]) {
    while let Some((head, rest)) = log.split_first_chunk_mut::<HEAD>().filter(|(head, _)| head[..4] == MAGIC)
    {
        let len = u32::from_le_bytes([head[20], head[21], head[22], head[23]]) as usize;
        let Some((payload, rest)) = rest.split_at_mut_checked(len) else { return };
        let sum = checksum(checksum(0, &head[..24]), payload);
        head[24..].copy_from_slice(&sum.to_le_bytes());
        log = rest;
    }
}

/// The log that begins with the head of `log`, and has these records in blocks behind it, for tests that make records up.
#[cfg(any(test, feature = "testing"))]
pub(crate) fn forged(log: &[u8], blocks: &[&[u8]]) -> Vec<u8> {
    let Ok((head, payload)) = open(log) else { return Vec::new() };
    let mut forged = block(&head, payload);
    let numbered =
        (1..).zip(blocks.iter().map(|records| (Part::Records, *records)).chain([(Part::End, &[][..])]));
    for (index, (part, records)) in numbered {
        forged.extend(block(&BlockHead { part, index, len: records.len(), ..head }, records));
    }
    forged
}

/// Where a log cannot be read, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the log is damaged at byte {at}, in segment {segment}: {what}")]
pub struct Damage {
    /// Where, in bytes from the start of what was read.
    pub at: usize,
    /// In which segment.
    pub segment: u64,
    /// What is wrong.
    pub what: What,
}

/// What is wrong with a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum What {
    /// It ends in the middle of a block.
    #[error("it ends in the middle of a block")]
    Cut,
    /// Something else stands where a block should begin.
    #[error("no block begins there")]
    NoBlock,
    /// A block is not as it was written.
    #[error("the checksum of the block is not that of its bytes")]
    Checksum,
    /// Another version has written it.
    #[error("it is of version {found} of the format; this program reads version {VERSION}")]
    Version {
        /// Which.
        found: u8,
    },
    /// Of no machine that is known here.
    #[error("it is of a machine that this program does not know (number {found})")]
    Machine {
        /// Its number.
        found: u8,
    },
    /// Blocks are missing.
    #[error("{missing} blocks are missing behind it")]
    Missing {
        /// How many.
        missing: u32,
    },
    /// A block's own bytes make no sense.
    #[error("a record makes no sense")]
    Record,
    /// The snapshot at the head of a segment cannot be loaded.
    #[error("the snapshot of the machine cannot be loaded: {0}")]
    Snapshot(Damaged),
}

/// A stretch of a log that begins with a snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) head: BlockHead,
    /// Where it begins, in bytes from the start.
    pub(crate) at: usize,
    /// How many blocks the one before it had.
    before: u32,
    pub(crate) now: Instant,
    pub(crate) hash: u64,
    pub(crate) snapshot: &'a [u8],
    /// The blocks, and where they begin.
    pub(crate) blocks: Vec<(usize, &'a [u8])>,
    /// Whether the log was ended behind them.
    ended: bool,
    damage: Option<Damage>,
}

impl<'a> Segment<'a> {
    /// Takes a block that was found behind this segment's, at a place of the log. `open_end`: nothing else was found between
    /// them. Whether more may follow.
    fn take(&mut self, at: usize, head: &BlockHead, payload: &'a [u8], open_end: bool) -> bool {
        // Another is left of an older round of the ring.
        let Some(missing) = head.index.checked_sub(self.blocks.len() as u32 + 1) else { return false };
        if head.segment != self.head.segment {
            return false;
        }
        if missing > 0 {
            let what = What::Missing { missing };
            self.damage = self.damage.or(Some(Damage { at: self.end(), segment: head.segment, what }));
        }
        if missing > 0 || !open_end {
            return false;
        }
        match head.part {
            Part::End => self.ended = true,
            _ => self.blocks.push((at + HEAD, payload)),
        }
        !self.ended
    }

    /// Where its blocks end.
    fn end(&self) -> usize {
        self.blocks.last().map_or(self.at + HEAD + self.head.len, |&(at, block)| at + block.len())
    }
}

/// A log that was read: a run of segments one behind the other, the oldest first.
#[derive(Clone, Debug)]
pub struct Log<'a> {
    pub(crate) segments: Vec<Segment<'a>>,
    /// Whether its end is there. Otherwise its process was killed or still runs, or the disk was full, and what happened last is
    /// not in it.
    pub ended: bool,
    /// What is wrong behind the run, or within its last segment, or else before the first segment that was found.
    pub damage: Option<Damage>,
}

impl<'a> Log<'a> {
    /// Finds the blocks in the bytes of a log: as it was taken from memory, or a file whose segments go round in a ring.
    /// Everything from the oldest segment up to the first damage can be read.
    ///
    /// # Errors
    /// [`Damage`] if not even one segment begins.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Damage> {
        let (mut found, lead) = find_segments(bytes)?;
        found.sort_by_key(|segment| segment.head.segment);
        let mut damage = None;
        let mut run = 1;
        for (this, next) in found.iter().zip(&found[1..]) {
            let missing = next.before.saturating_sub(this.blocks.len() as u32 + 1);
            let gap = next.head.segment != this.head.segment + 1;
            let missing = if gap { u32::MAX } else { missing };
            damage = this.damage.or((missing > 0).then_some(Damage {
                at: this.end(),
                segment: this.head.segment,
                what: What::Missing { missing },
            }));
            if damage.is_some() {
                break;
            }
            run += 1;
        }
        let last = &found[run - 1];
        let ended = last.ended;
        damage = damage.or(last.damage).or(lead);
        found.truncate(run);
        Ok(Log { segments: found, ended, damage })
    }

    /// Whose it is.
    pub fn subject(&self) -> Subject {
        self.segments[0].head.subject
    }

    /// Whether bodies are in it.
    pub fn has_content(&self) -> bool {
        self.segments[0].head.content
    }

    /// Whether a replay decodes every byte again, and compares every byte that was sent or told. Otherwise it takes what was
    /// decoded from the log: bodies are masked, or nobody here knows the wire.
    pub fn is_whole(&self) -> bool {
        self.segments[0].head.whole
    }

    /// The numbers of its segments.
    pub fn segments(&self) -> core::ops::RangeInclusive<u64> {
        let first = self.segments[0].head.segment;
        first..=first + self.segments.len() as u64 - 1
    }
}

/// The segments, in the order in which they stand; and what is wrong before the first.
fn find_segments(bytes: &[u8]) -> Result<(Vec<Segment<'_>>, Option<Damage>), Damage> {
    let mut segments: Vec<Segment<'_>> = Vec::new();
    let mut at = 0;
    let mut lead = None;
    // Whether blocks may follow that belong to the last segment.
    let mut open_end = false;
    while at < bytes.len() {
        let what = match open(&bytes[at..]) {
            Ok((head, payload)) => {
                if head.part == Part::Head {
                    segments.extend(begin(at, head, payload));
                    open_end = true;
                } else if let Some(last) = segments.last_mut() {
                    open_end = last.take(at, &head, payload, open_end);
                }
                at += HEAD + payload.len();
                continue;
            }
            Err(what) => what,
        };
        let zeros = bytes[at..].iter().take(HEAD).all(|&byte| byte == 0);
        let damage = Damage { at, segment: segments.last().map_or(0, |last| last.head.segment), what };
        if !zeros {
            if segments.is_empty() {
                lead = lead.or(Some(damage));
            }
            if let Some(last) = segments.last_mut().filter(|_| open_end) {
                last.damage = Some(damage);
            }
        }
        open_end = false;
        at += 1 + next_magic(&bytes[at + 1..]);
    }
    if segments.is_empty() {
        let nothing = Damage { at: 0, segment: 0, what: What::NoBlock };
        return Err(lead.unwrap_or(nothing));
    }
    Ok((segments, lead))
}

fn next_magic(bytes: &[u8]) -> usize {
    memchr::memmem::find(bytes, &MAGIC).unwrap_or(bytes.len())
}

fn begin(at: usize, head: BlockHead, payload: &[u8]) -> Option<Segment<'_>> {
    let mut from = Reader::new(payload);
    let before = u32::try_from(from.varint().ok()?).ok()?;
    let now = Instant::from_nanos(from.varint().ok()?);
    let hash = from.varint().ok()?;
    let (snapshot, blocks) = (from.left(), Vec::new());
    Some(Segment { head, at, before, now, hash, snapshot, blocks, ended: false, damage: None })
}

/// The most bytes that are not in the log, but are written in their place where it is replayed.
pub(crate) const CLAIMS: u64 = 1 << 30;

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) kind: Kind,
    pub(crate) side: Side,
    /// How many nanoseconds have passed since the one before.
    pub(crate) passed: u64,
    /// The highest byte of the hash of all that has come out by then.
    pub(crate) check: u8,
    pub(crate) fields: [u64; FIELDS],
    pub(crate) bytes: &'a [u8],
}

impl<'a> Record<'a> {
    pub(crate) fn read(from: &mut Reader<'a>) -> Result<Self, Damaged> {
        let first = from.byte()?;
        let kind = Kind::of(first & !TIME).ok_or(from.invalid(1))?;
        let check = from.byte()?;
        let passed = if first & TIME == 0 { 0 } else { from.varint()? };
        let (count, tail, side) = kind.shape();
        let mut fields = [0; FIELDS];
        for field in &mut fields[..count] {
            *field = from.varint()?;
        }
        let bytes = match tail {
            Tail::Bytes => from.bytes()?,
            Tail::Nothing | Tail::Id => &[],
        };
        if tail == Tail::Id {
            let [low, high, other] = [from.byte()?, from.byte()?, from.byte()?];
            (fields[0], fields[1]) = (u16::from_le_bytes([low, high]).into(), other.into());
        }
        let record = Record { kind, side, passed, check, fields, bytes };
        if record.claims() > CLAIMS { Err(from.invalid(1)) } else { Ok(record) }
    }

    /// How many bytes that are not in the log are to be written for it.
    pub(crate) fn claims(&self) -> u64 {
        let [a, _, c, d, ..] = self.fields;
        match self.kind {
            Kind::Need
            | Kind::Greeting
            | Kind::Question
            | Kind::Written
            | Kind::Converted
            | Kind::Asked
            | Kind::Reply
            | Kind::Fail => a,
            Kind::LateReply | Kind::LateFail => c,
            Kind::Request => c.saturating_add(d),
            Kind::Message => super::mask::masked_len(self.bytes),
            _ => 0,
        }
    }
}
