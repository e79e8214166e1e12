//! What a machine notes while it is recorded.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::alike::Alike;
use super::format::{self, BlockHead, HEAD, Part, Record};
use super::kinds::{FIELDS, Kind};
use super::mask;
use super::names::{Names, ends};
use super::script::Script;
use super::{Options, Subject};
use crate::buf::SendQueue;
use crate::id::ConnId;
use crate::machine::{Action, Input};
use crate::save::{Reader, Save, Writer};
use crate::time::Instant;
use crate::wire::ipc::{ConvertError, Format};

/// Records are sealed, with a checksum, in blocks of about this many bytes.
const BLOCK: usize = 16 * 1024;
/// A record without its bytes takes less than this: kind, check, time, numbers.
const WINDOW: usize = 128;
const _: () = assert!(2 + 10 + 10 * (FIELDS + 1) < WINDOW);

/// Some blocks of a segment, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which segment they belong to.
    pub segment: u64,
    /// Where they belong in it, in bytes from its start.
    pub at: u64,
    /// The blocks.
    pub bytes: Vec<u8>,
}

/// The log of one machine, as it is written. It lives in the machine.
#[derive(Clone, Debug)]
pub struct Recorder {
    subject: Subject,
    options: Options,
    has_ids: bool,
    /// Whether all bytes are noted, and fold into the hash.
    whole: bool,
    /// The block that is being filled: room for its head, then records.
    block: Vec<u8>,
    at: usize,
    segment: u64,
    /// The number of the block in its segment, and the bytes of those before it.
    index: u32,
    written: u64,
    /// The next segment begins when so many bytes are written in this one.
    ends_at: u64,
    /// Blocks that nobody has taken, oldest first.
    pieces: VecDeque<Piece>,
    /// Segments that were dropped before anybody took them.
    dropped: u64,
    pub(super) now: Instant,
    /// Of everything that has come out of the machine.
    hash: u64,
    /// Where the machine was asked for room, before it is known whether anything was read.
    pub(super) room: Option<(ConnId, bool)>,
    pub(super) alike: Alike,
    names: Names,
    /// Contents whose verdict was good since the last that was not.
    pub(crate) verdicts: u64,
    /// The length of the frame that was encoded last, where nobody else knows it.
    pub(crate) frame: usize,
    /// What was received last, if content is kept.
    received: Vec<u8>,
    /// Whether records are only compared, and never sealed.
    compares: bool,
    /// What comes next, in a replay.
    pub(super) script: Script,
}

impl Recorder {
    /// A log without records; a segment is to be begun first.
    pub(crate) fn new(subject: Subject, options: Options, has_ids: bool) -> Self {
        let block = vec![0; BLOCK + WINDOW];
        Recorder {
            subject,
            options,
            has_ids,
            whole: false,
            block,
            at: HEAD,
            segment: 0,
            index: 0,
            written: 0,
            ends_at: 0,
            pieces: VecDeque::new(),
            dropped: 0,
            now: Instant::ZERO,
            hash: 0,
            room: None,
            alike: Alike::default(),
            names: Names::default(),
            verdicts: 0,
            frame: 0,
            received: Vec::new(),
            compares: false,
            script: Script::default(),
        }
    }

    /// One that writes what a replay does, to be compared with what was recorded.
    pub(crate) fn comparing(subject: Subject, options: Options, has_ids: bool, whole: bool) -> Self {
        Recorder { compares: true, whole, ..Self::new(subject, options, has_ids) }
    }

    /// Whether a replay decodes every byte again.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    pub(crate) fn is_comparing(&self) -> bool {
        self.compares
    }

    pub(crate) fn keeps_content(&self) -> bool {
        self.options.content
    }

    /// Whether the next segment is to be begun.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        !self.compares && self.written + self.at as u64 >= self.ends_at
    }

    /// Begins the next segment with a snapshot of the machine as it is now.
    pub(crate) fn begin_segment(&mut self, now: Instant, snapshot: &[u8], whole: bool) {
        self.seal();
        self.whole = whole;
        self.segment += u64::from(self.index > 0);
        let blocks = self.index;
        (self.index, self.written) = (0, 0);
        self.restart(now, self.hash);
        let mut head = Writer::new();
        head.varint(u64::from(blocks));
        head.varint(now.as_nanos());
        head.varint(self.hash);
        head.raw(snapshot);
        self.put_away(Part::Head, head.as_bytes());
        // However large the snapshots are, they are not most of the log by far.
        self.ends_at = self.written + u64::from(self.options.segment.get()).max(self.written / 2);
        self.drop_oldest();
    }

    /// Nothing in a segment refers to what was before it.
    pub(crate) fn restart(&mut self, now: Instant, hash: u64) {
        (self.now, self.hash) = (now, hash);
        self.names.clear();
        self.verdicts = 0;
        self.forget_alike();
    }

    /// A message of Bro IPC is taken, of a connection that speaks this format, if it has said anything.
    pub(crate) fn message(&mut self, format: Option<Format>, message: &[u8]) {
        let masked = mask::mask(format, message);
        self.find_bytes(Kind::Message, [], &masked);
    }

    /// A message was converted into so many bytes, or was not.
    pub(crate) fn converted(&mut self, result: Result<usize, ConvertError>) {
        let mut error = Writer::new();
        if let Err(failed) = result {
            failed.save(&mut error);
        }
        self.find_bytes(Kind::Converted, [result.unwrap_or(0) as u64], error.as_bytes());
    }

    /// What is kept of an error: its code, and the message behind a zero where all bytes are kept.
    pub(crate) fn words(&self, code: &str, message: &str) -> String {
        let kept = if self.whole { ["\0", message] } else { [""; 2] };
        String::from(code) + kept[0] + kept[1]
    }

    /// As [`restart`](Self::restart), in the middle of a replay: what was noted last belongs to the segment before.
    pub(crate) fn restart_at(&mut self, now: Instant) {
        self.write_room();
        self.at = HEAD;
        self.restart(now, self.hash);
    }

    /// Closes the block that is being filled, so that it can be taken.
    pub(crate) fn seal(&mut self) {
        if self.at > HEAD || self.room.is_some() || self.is_pending() {
            self.check();
        }
        self.seal_block();
    }

    /// Notes the whole hash.
    pub(crate) fn check(&mut self) {
        self.put(Kind::Check, None, [self.hash]);
    }

    /// Whether anything but that there is nothing to do waits to be sealed.
    pub(crate) fn has_news(&self) -> bool {
        let mut from = Reader::new(&self.block[HEAD..self.at]);
        let is_news = |kind| !matches!(kind, Kind::PolledNothing | Kind::NoEvent | Kind::Room);
        core::iter::from_fn(|| Record::read(&mut from).ok()).any(|record| is_news(record.kind))
            || self.is_pending()
    }

    /// What nobody has taken yet, and the end.
    pub(crate) fn end(mut self) -> Vec<Piece> {
        self.seal();
        self.put_away(Part::End, &[]);
        self.pieces.into()
    }

    fn seal_block(&mut self) {
        if self.at == HEAD || self.compares {
            return;
        }
        let mut block = core::mem::take(&mut self.block);
        self.put_away(Part::Records, &block[HEAD..self.at]);
        block.truncate(BLOCK + WINDOW);
        self.block = block;
        self.at = HEAD;
    }

    fn head(&self, part: Part, len: usize) -> BlockHead {
        BlockHead {
            part,
            subject: self.subject,
            content: self.options.content,
            has_ids: self.has_ids,
            whole: self.whole,
            segment: self.segment,
            index: self.index,
            len,
        }
    }

    fn put_away(&mut self, part: Part, payload: &[u8]) {
        let bytes = format::block(&self.head(part, payload.len()), payload);
        let at = self.written;
        self.written += bytes.len() as u64;
        self.index += 1;
        self.pieces.push_back(Piece { segment: self.segment, at, bytes });
    }

    fn drop_oldest(&mut self) {
        let oldest = self.segment.saturating_sub(u64::from(self.options.segments.get()) - 1);
        while let Some(piece) = self.pieces.pop_front_if(|piece| piece.segment < oldest) {
            self.dropped += u64::from(piece.at == 0);
        }
    }

    /// Takes the oldest piece that is finished.
    pub(crate) fn take(&mut self) -> Option<Piece> {
        self.pieces.pop_front()
    }

    /// Everything that nobody has taken, as one log that ends now.
    pub(crate) fn log(&mut self) -> Vec<u8> {
        self.seal();
        let end = format::block(&self.head(Part::End, 0), &[]);
        let pieces = self.pieces.iter().map(|piece| &piece.bytes[..]);
        pieces.chain([&end[..]]).collect::<Vec<_>>().concat()
    }

    /// Takes what a comparing recorder has written.
    pub(crate) fn written(&mut self) -> &[u8] {
        let end = core::mem::replace(&mut self.at, HEAD);
        &self.block[HEAD..end]
    }

    /// Folds in something that has come out of the machine. FxHash, of the Firefox and Rust compilers: fast, and no defence
    /// against who means harm.
    #[inline]
    pub(crate) fn mix(&mut self, value: u64) {
        self.hash = (self.hash.rotate_left(5) ^ value).wrapping_mul(0x517c_c1b7_2722_0a95);
    }

    /// Folds in bytes.
    #[inline]
    pub(crate) fn mix_bytes(&mut self, bytes: &[u8]) {
        match ends(bytes) {
            Some([first, last]) => self.mix(first ^ last.rotate_left(29)),
            None => self.mix_many(bytes),
        }
        self.mix(bytes.len() as u64);
    }

    fn mix_many(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        self.mix(ends(rest).map_or(0, |[first, last]| first ^ last.rotate_left(29)));
    }

    /// Folds in bytes that are told or sent, if they are in the log too.
    #[inline]
    pub(crate) fn mix_content(&mut self, bytes: &[u8]) {
        if self.whole {
            self.mix_bytes(bytes);
        }
    }

    /// So many bytes of a queue are about to be noted as sent.
    pub(crate) fn mix_sent(&mut self, queue: &SendQueue, n: usize) {
        if self.whole {
            let mut bytes = core::mem::take(&mut self.received);
            queue.copy_range(queue.sent(), queue.sent().saturating_add(n as u64), &mut bytes);
            self.mix_bytes(&bytes);
            bytes.clear();
            self.received = bytes;
        }
    }

    /// Folds in what has a form for people.
    pub(crate) fn mix_debug(&mut self, value: &impl core::fmt::Debug) {
        struct Mix<'a>(&'a mut Recorder);
        impl core::fmt::Write for Mix<'_> {
            fn write_str(&mut self, text: &str) -> core::fmt::Result {
                self.0.mix_bytes(text.as_bytes());
                Ok(())
            }
        }
        let _ = core::fmt::Write::write_fmt(&mut Mix(self), format_args!("{value:?}"));
    }

    /// Notes a call or a finding.
    #[inline]
    pub(crate) fn put<const N: usize>(&mut self, kind: Kind, now: Option<Instant>, fields: [u64; N]) {
        self.write_room();
        self.put_now(kind, now, fields);
    }

    /// Notes a call or a finding, with bytes.
    pub(crate) fn put_bytes<const N: usize>(
        &mut self,
        kind: Kind,
        now: Option<Instant>,
        fields: [u64; N],
        bytes: &[u8],
    ) {
        self.write_room();
        self.put_bytes_now(kind, now, fields, bytes);
    }

    /// Notes a finding, which may be made while a machine gives room.
    #[inline]
    pub(crate) fn find<const N: usize>(&mut self, kind: Kind, fields: [u64; N]) {
        self.put_now(kind, None, fields);
    }

    pub(crate) fn find_bytes<const N: usize>(&mut self, kind: Kind, fields: [u64; N], bytes: &[u8]) {
        self.put_bytes_now(kind, None, fields, bytes);
    }

    fn put_bytes_now<const N: usize>(
        &mut self,
        kind: Kind,
        now: Option<Instant>,
        fields: [u64; N],
        bytes: &[u8],
    ) {
        self.write(kind, now, fields, Some(bytes.len() as u64));
        self.append(bytes);
    }

    #[inline]
    fn put_now<const N: usize>(&mut self, kind: Kind, now: Option<Instant>, fields: [u64; N]) {
        self.write(kind, now, fields, None);
    }

    #[inline]
    fn write<const N: usize>(
        &mut self,
        kind: Kind,
        now: Option<Instant>,
        fields: [u64; N],
        len: Option<u64>,
    ) {
        self.write_pending();
        let mut passed = 0;
        if let Some(now) = now {
            passed = now.as_nanos().saturating_sub(self.now.as_nanos());
            self.now = self.now.max(now);
        }
        self.write_record(kind, self.top(), passed, fields, len);
    }

    /// Writes what was noted at the time of the last record, when the check was this.
    #[inline]
    pub(super) fn write_at_once<const N: usize>(&mut self, kind: Kind, check: u8, fields: [u64; N]) {
        self.write_record(kind, check, 0, fields, None);
    }

    #[inline]
    fn write_record<const N: usize>(
        &mut self,
        kind: Kind,
        check: u8,
        passed: u64,
        fields: [u64; N],
        len: Option<u64>,
    ) {
        let window = self.window();
        window[0] = kind as u8;
        window[1] = check;
        let mut end = 2;
        if passed > 0 {
            window[0] |= format::TIME;
            varint(window, &mut end, passed);
        }
        fields.iter().for_each(|&field| varint(window, &mut end, field));
        if let Some(len) = len {
            varint(window, &mut end, len);
        }
        self.at += end;
    }

    /// Writes a record that says by how much an id differs, in 3 bytes.
    #[inline]
    pub(super) fn write_id(&mut self, kind: Kind, check: u8, differs: u32) {
        let record = u64::from(kind as u8) | u64::from(check) << 8 | u64::from(differs) << 16;
        self.window()[..8].copy_from_slice(&record.to_le_bytes());
        self.at += 5;
    }

    /// Where the next record goes.
    #[inline]
    fn window(&mut self) -> &mut [u8; WINDOW] {
        if self.block.len() - self.at < WINDOW {
            self.make_room();
        }
        self.block[self.at..].first_chunk_mut().expect("a block has more room than one record takes")
    }

    /// What a record shows of the hash.
    #[inline]
    pub(super) fn top(&self) -> u8 {
        (self.hash >> 56) as u8
    }

    fn append(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        if self.block.len() < end + WINDOW {
            self.block.resize(end + WINDOW, 0);
        }
        self.block[self.at..end].copy_from_slice(bytes);
        self.at = end;
    }

    #[cold]
    fn make_room(&mut self) {
        if self.compares {
            let len = self.block.len();
            self.block.resize(2 * len, 0);
        } else {
            self.seal_block();
        }
    }

    /// The machine was asked for room, and something else came than bytes.
    #[inline]
    pub(super) fn write_room(&mut self) {
        if let Some((conn, room)) = self.room.take() {
            self.read_nothing(conn, room);
        }
    }

    #[cold]
    fn read_nothing(&mut self, conn: ConnId, room: bool) {
        self.put_now(Kind::Room, None, [conn.slot().into(), conn.generation().into(), room.into()]);
    }

    /// The number of a word.
    pub(crate) fn name(&mut self, name: &[u8]) -> u64 {
        if let Some(number) = self.last_name(name) {
            return number;
        }
        self.names.find(name).unwrap_or_else(|| self.new_name(name))
    }

    /// The number of a word, if it is the one that was used last.
    #[inline]
    pub(crate) fn last_name(&self, name: &[u8]) -> Option<u64> {
        self.names.last(name)
    }

    #[cold]
    fn new_name(&mut self, name: &[u8]) -> u64 {
        self.find_bytes(Kind::Name, [], name);
        self.names.add(name)
    }

    /// How much a connection has sent, and has yet to send.
    pub(crate) fn sent_from(&mut self, queue: &SendQueue) {
        self.mix(queue.sent());
        self.mix(queue.len() as u64);
    }

    /// The machine was asked for room.
    #[inline]
    pub(crate) fn gave_room(&mut self, conn: ConnId, room: bool) {
        if let Some((conn, room)) = self.room.replace((conn, room)) {
            self.read_nothing(conn, room);
        }
    }

    /// The last `n` of these bytes were received just now.
    #[inline]
    pub(crate) fn keep_received(&mut self, bytes: &[u8], n: usize) {
        if self.options.content {
            self.received.clear();
            self.received.extend_from_slice(&bytes[bytes.len().saturating_sub(n)..]);
        }
    }

    /// A runtime has told something.
    #[inline]
    pub(crate) fn input(&mut self, now: Instant, input: Input) {
        let now = Some(now);
        let both = |conn: ConnId| [conn.slot().into(), conn.generation().into()];
        let with = |conn: ConnId, more: u64| [conn.slot().into(), conn.generation().into(), more];
        match input {
            Input::Received(conn, n) => {
                if self.room.is_some_and(|(room, _)| room == conn) {
                    self.room = None;
                    let bytes = core::mem::take(&mut self.received);
                    self.put_bytes_now(Kind::Received, now, with(conn, n as u64), &bytes);
                    self.received = bytes;
                    self.received.clear();
                } else {
                    self.put(Kind::Filled, now, with(conn, n as u64));
                }
            }
            Input::Sent(conn, n) => self.put(Kind::Sent, now, with(conn, n as u64)),
            Input::Connected(conn) => self.put(Kind::Connected, now, both(conn)),
            Input::ReadClosed(conn) => self.put(Kind::ReadClosed, now, both(conn)),
            Input::Closed(conn, fault) => {
                self.put(Kind::Closed, now, with(conn, super::codes::of_fault(fault)))
            }
            Input::Tick => self.put(Kind::Tick, now, []),
            Input::Wall(unix_ms) => self.put(Kind::Wall, now, [unix_ms]),
        }
    }

    /// Somebody has connected.
    pub(crate) fn accepted(&mut self, now: Instant, peer: crate::machine::Peer, conn: Option<ConnId>) {
        let [slot, generation] = conn.map_or([0; 2], super::pair);
        let mut who = Writer::new();
        peer.save(&mut who);
        self.put_bytes(Kind::Accept, Some(now), [conn.is_some().into(), slot, generation], who.as_bytes());
    }

    /// A runtime was told what to do.
    #[inline]
    pub(crate) fn action(&mut self, action: Option<Action>) {
        let (kind, conn) = match action {
            None => return self.put(Kind::PolledNothing, None, []),
            Some(Action::Connect(conn)) => (Kind::PolledConnect, conn),
            Some(Action::Close(conn)) => (Kind::PolledClose, conn),
            Some(Action::Read(conn, true)) => (Kind::PolledReadOn, conn),
            Some(Action::Read(conn, false)) => (Kind::PolledReadOff, conn),
            Some(Action::Flush(conn)) => (Kind::PolledFlush, conn),
        };
        self.put(kind, None, [conn.slot().into(), conn.generation().into()]);
    }

    /// The application was told something.
    pub(crate) fn event(&mut self, what: super::Told, slot: u32, len: usize) {
        self.put(Kind::Event, None, [what as u64, slot.into(), len as u64]);
    }
}

/// Writes an integer in groups of 7 bits, from the lowest.
#[inline]
fn varint(window: &mut [u8; WINDOW], end: &mut usize, mut value: u64) {
    while value > 0x7f {
        window[*end % WINDOW] = value as u8 | 0x80;
        *end += 1;
        value >>= 7;
    }
    window[*end % WINDOW] = value as u8;
    *end += 1;
}
