//! What a receiver is saved as.

use alloc::vec;

use super::budget::{Budget, weight};
use super::{BLOCK, Inbox, Receiver, STEP, largest};
use crate::save::{Damaged, Reader, Save, Writer};

/// Of the buffers, what nobody has consumed; what else is in them is never read.
impl Save for Receiver {
    fn save(&self, out: &mut Writer) {
        // What is held follows from the sizes of the buffers.
        let Receiver { block, owner, inboxes, budget, done } = self;
        let Budget { limit, held: _, turn, starved: waiting } = budget;
        limit.save(out);
        turn.save(out);
        // How large it has grown decides into which pieces the next bytes are cut.
        block.len().save(out);
        out.length(inboxes.len());
        for (slot, Inbox { in_block, own, start, end, want, open_ended, starved }) in (0..).zip(inboxes) {
            in_block.save(out);
            // A long frame that has been consumed is saved as if it were freed already: before that, nothing is decided.
            let (size, start_at) = match done.contains(&slot) && !in_block {
                true => ((end - start).next_multiple_of(STEP), 0),
                false => (own.len(), *start),
            };
            size.save(out);
            start_at.save(out);
            out.bytes(&if *in_block { block } else { own }[*start..*end]);
            want.save(out);
            open_ended.save(out);
            starved.save(out);
        }
        owner.save(out);
        waiting.save(out);
        done.save(out);
    }

    fn load(from: &mut Reader<'_>) -> Result<Self, Damaged> {
        let mut receiver = Receiver::new(Save::load(from)?);
        receiver.budget.turn = Save::load(from)?;
        let block: usize = Save::load(from)?;
        if block > BLOCK {
            return Err(from.invalid(0));
        }
        receiver.block = vec![0; block];
        let mut left = receiver.budget.limit;
        for slot in (0..).take(from.length()?) {
            let inbox = receiver.load_inbox(from, slot, &mut left)?;
            receiver.inboxes.push(inbox);
        }
        receiver.owner = Save::load(from)?;
        receiver.budget.starved = Save::load(from)?;
        receiver.done = Save::load(from)?;
        Ok(receiver)
    }
}

impl Receiver {
    /// `left`: what the others may hold.
    fn load_inbox(&mut self, from: &mut Reader<'_>, slot: u32, left: &mut usize) -> Result<Inbox, Damaged> {
        let (in_block, size): (bool, usize) = Save::load(from)?;
        let start: usize = Save::load(from)?;
        let bytes = from.bytes()?;
        let end = start.saturating_add(bytes.len());
        let has_turn = self.budget.has_turn(slot);
        let most = if has_turn { self.budget.limit.max(largest(bytes.len())) } else { *left };
        if weight(size) > most || end > if in_block { self.block.len() } else { size } {
            return Err(from.invalid(bytes.len()));
        }
        *left -= if has_turn { 0 } else { weight(size) };
        self.budget.resized(0, size);
        let mut own = vec![0; size];
        let storage = if in_block { &mut self.block } else { &mut own };
        storage[start..end].copy_from_slice(bytes);
        let (want, open_ended, starved) = Save::load(from)?;
        Ok(Inbox { in_block, own, start, end, want, open_ended, starved })
    }
}
