use super::budget::weight;
use super::*;
use alloc::vec::Vec;
use quickcheck::{TestResult, quickcheck};

/// A toy wire: a frame is its length as four bytes, then so many copies of one byte.
const HEAD: usize = 4;

fn frame(len: u32) -> Vec<u8> {
    let mut bytes = len.to_le_bytes().to_vec();
    bytes.resize(HEAD + len as usize, len as u8);
    bytes
}

/// Decodes one frame of `slot`, as a machine would: its length if it was whole and right.
fn decode(receiver: &mut Receiver, slot: u32) -> Option<u32> {
    let bytes = receiver.bytes(slot);
    let Some(head) = bytes.first_chunk::<HEAD>() else {
        receiver.need(slot, HEAD);
        return None;
    };
    let len = u32::from_le_bytes(*head);
    let total = HEAD + len as usize;
    if bytes.len() < total {
        receiver.need(slot, total);
        return None;
    }
    let lent = receiver.consume(slot, total);
    let content = receiver.lent(&lent, HEAD..total);
    assert!(content.iter().all(|&byte| byte == len as u8), "the bytes of another frame");
    Some(len)
}

quickcheck! {
    /// Three connections, frames of many sizes, reads of any length in any order, decoded at once or later:
    /// every connection gets its own frames, whole and in order.
    fn frames_arrive_whole_on_any_schedule(lens: Vec<(u8, u32)>, reads: Vec<(u8, u16, bool)>) -> TestResult {
        if reads.is_empty() {
            return TestResult::discard();
        }
        let mut receiver = Receiver::new(8 << 20);
        let mut wires = [Vec::new(), Vec::new(), Vec::new()];
        let mut expected = [Vec::new(), Vec::new(), Vec::new()];
        for (conn, len) in lens.into_iter().take(12) {
            let len = if len % 5 == 0 { len % 600_000 } else { len % 9_000 };
            wires[usize::from(conn % 3)].extend(frame(len));
            expected[usize::from(conn % 3)].push(len);
        }
        let mut got = [Vec::new(), Vec::new(), Vec::new()];
        (0..3).for_each(|slot| receiver.open(slot));
        for (conn, n, decode_now) in reads.iter().cycle().take(100_000).copied() {
            let slot = u32::from(conn % 3);
            let wire = &mut wires[slot as usize];
            let buf = receiver.buf(slot);
            let n = buf.len().min(wire.len()).min(1 + usize::from(n) * 4);
            buf[..n].copy_from_slice(&wire[..n]);
            wire.drain(..n);
            receiver.filled(slot, n);
            if decode_now || n == 0 {
                while let Some(len) = decode(&mut receiver, slot) {
                    got[slot as usize].push(len);
                }
            }
        }
        for slot in 0..3u32 {
            loop {
                let wire = &mut wires[slot as usize];
                let n = receiver.feed_all(slot, wire);
                wire.drain(..n);
                let mut progress = n > 0;
                while let Some(len) = decode(&mut receiver, slot) {
                    got[slot as usize].push(len);
                    progress = true;
                }
                if !progress {
                    break;
                }
            }
        }
        let held_is_true = receiver.held() == receiver.inboxes.iter().map(|inbox| weight(inbox.own.len())).sum::<usize>();
        TestResult::from_bool(got == expected && held_is_true)
    }
}

impl Receiver {
    fn feed_all(&mut self, slot: u32, bytes: &[u8]) -> usize {
        let buf = self.buf(slot);
        let n = buf.len().min(bytes.len());
        buf[..n].copy_from_slice(&bytes[..n]);
        self.filled(slot, n);
        n
    }
}

#[test]
fn a_claimed_length_allocates_at_most_four_times_what_arrived() {
    let mut receiver = Receiver::new(64 << 20);
    receiver.open(0);
    receiver.feed_all(0, &(50_000_000u32).to_le_bytes());
    assert_eq!(decode(&mut receiver, 0), None);
    let mut arrived = HEAD;
    while arrived < 3_000_000 {
        arrived += receiver.feed_all(0, &[0; 1000]);
        assert!(receiver.held() <= 4 * arrived.max(CARRY) + STEP, "{} for {arrived}", receiver.held());
    }
}

#[test]
fn a_long_frame_whose_length_is_found_out_step_by_step_is_moved_only_a_few_times() {
    let mut receiver = Receiver::new(64 << 20);
    receiver.open(0);
    let (mut moves, mut before) = (0, 0);
    for need in (BLOCK + 1..8 << 20).step_by(1_000) {
        receiver.need(0, need);
        while !receiver.is_due(0) {
            receiver.feed_all(0, &[0; 1_000]);
            let size = receiver.inboxes[0].own.len();
            moves += u32::from(core::mem::replace(&mut before, size) != size);
        }
    }
    assert!(moves <= 16, "{moves}");
}

/// Announces a long frame on `slot`, and sends of it until no more is taken, or `most` is there.
fn fill_up(receiver: &mut Receiver, slot: u32, most: usize) {
    if receiver.bytes(slot).is_empty() {
        receiver.feed_all(slot, &(50_000_000u32).to_le_bytes());
        assert_eq!(decode(receiver, slot), None);
    }
    while receiver.bytes(slot).len() < most && receiver.feed_all(slot, &[0x80; 1000]) > 0 {}
}

#[test]
fn beyond_a_spent_budget_one_frame_at_a_time_is_read_to_its_end() {
    let mut receiver = Receiver::new(1 << 20);
    (0..3).for_each(|slot| receiver.open(slot));
    let bytes = frame(700_000);
    let mut sent = [0; 3];
    let mut whole = Vec::new();
    for round in 0..10_000 {
        let slot = round % 3;
        let piece = &bytes[sent[slot]..][..997.min(bytes.len() - sent[slot])];
        sent[slot] += receiver.feed_all(slot as u32, piece);
        if decode(&mut receiver, slot as u32).is_some() {
            whole.push(slot);
        }
        assert!(receiver.held() <= (1 << 20) + bytes.len() + STEP, "{} held", receiver.held());
        assert!(
            receiver.inboxes.iter().filter(|inbox| inbox.starved).count() < 3,
            "each waits for the others"
        );
        receiver.reclaim();
        while receiver.relieved().is_some() {}
    }
    assert_eq!(whole.len(), 3);
    assert_eq!((receiver.held(), receiver.budget.turn), (0, None));
}

#[test]
fn a_freed_turn_goes_to_who_has_waited_longest() {
    let mut receiver = Receiver::new(1 << 20);
    (0..4).for_each(|slot| receiver.open(slot));
    for slot in 0..4 {
        fill_up(&mut receiver, slot, 800_000);
    }
    assert_eq!([0, 1, 2, 3].map(|slot| receiver.is_starved(slot)), [false, true, true, true]);
    assert_eq!(receiver.relieved(), None);
    receiver.close(1);
    assert_eq!(receiver.relieved(), None, "a closed connection is not relieved");
    receiver.close(0);
    assert_eq!(receiver.relieved(), Some(2), "half of the budget is free");
    fill_up(&mut receiver, 2, 800_000);
    assert_eq!(receiver.relieved(), None, "the turn is taken again");
    receiver.close(2);
    assert_eq!(receiver.relieved(), Some(3));
    receiver.close(3);
    assert_eq!((receiver.relieved(), receiver.held()), (None, 0));
}

#[test]
fn little_that_follows_a_long_frame_does_not_keep_its_buffer() {
    let mut receiver = Receiver::new(8 << 20);
    receiver.open(0);
    let bytes = [frame(1_000_000), frame(10)].concat();
    let mut sent = 0;
    while decode(&mut receiver, 0).is_none() {
        sent += receiver.feed_all(0, &bytes[sent..bytes.len() - 1]);
    }
    assert!(receiver.bytes(0).len() > HEAD, "a part of the next frame came with it");
    while decode(&mut receiver, 0).is_none() {
        sent += receiver.feed_all(0, &bytes[sent..]);
    }
    receiver.reclaim();
    assert_eq!(receiver.held(), 0);
}

#[test]
fn greedy_connections_do_not_stop_the_others() {
    let mut receiver = Receiver::new(1 << 20);
    (0..40).for_each(|slot| receiver.open(slot));
    for slot in 0..20 {
        fill_up(&mut receiver, slot, 1_000_000);
        assert!(receiver.held() <= (1 << 20) + largest(1_001_000));
    }
    for slot in (20..40).chain(20..40) {
        let mut bytes = &[frame(900), frame(2_000)].concat()[..];
        while !bytes.is_empty() {
            let n = receiver.feed_all(slot, &bytes[..bytes.len().min(700)]);
            assert!(n > 0, "slot {slot} is stopped by others");
            bytes = &bytes[n..];
            while decode(&mut receiver, slot).is_some() {}
            receiver.feed_all(slot % 20, &[0x80; 1000]);
        }
        assert!(receiver.bytes(slot).is_empty());
    }
}

#[test]
fn an_idle_connection_holds_nothing() {
    let mut receiver = Receiver::new(1 << 20);
    for slot in 0..100 {
        receiver.open(slot);
        receiver.feed_all(slot, &frame(500));
        assert_eq!(decode(&mut receiver, slot), Some(500));
    }
    assert_eq!(receiver.held(), 0);
}

#[test]
fn a_block_full_of_undrained_frames_is_backpressure_not_loss() {
    let mut receiver = Receiver::new(1 << 20);
    receiver.open(0);
    let one = frame(996);
    let mut sent = 0;
    loop {
        let n = receiver.feed_all(0, &one[sent % 1000..]);
        sent += n;
        if n == 0 {
            break;
        }
    }
    assert_eq!(sent, BLOCK);
    assert!(!receiver.is_starved(0));
    assert_eq!(decode(&mut receiver, 0), Some(996));
    assert!(!receiver.buf(0).is_empty());
}
