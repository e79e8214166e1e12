//! The words of a log, by numbers: what is named again and again stands in it once, for as long as it has a number.

use alloc::boxed::Box;
use alloc::vec::Vec;

/// So many words have a number at a time.
pub(crate) const NAMES: usize = 64;

/// The words that have a number.
#[derive(Clone, Debug)]
pub(super) struct Names {
    words: Vec<Box<[u8]>>,
    /// The number of the word that was used last.
    last: usize,
    /// The length of that word, and its [`ends`].
    last_word: (usize, [u64; 2]),
}

/// No word has this length.
const NO_WORD: (usize, [u64; 2]) = (usize::MAX, [0; 2]);

impl Default for Names {
    fn default() -> Self {
        Names { words: Vec::new(), last: 0, last_word: NO_WORD }
    }
}

impl Names {
    /// The number of a word, if it is the one that was used last.
    #[inline]
    pub(super) fn last(&self, name: &[u8]) -> Option<u64> {
        let is_last = match ends(name) {
            Some(ends) => self.last_word == (name.len(), ends),
            None => self.words.get(self.last).is_some_and(|last| **last == *name),
        };
        is_last.then_some(self.last as u64)
    }

    /// The number of a word, which is used now.
    pub(super) fn find(&mut self, name: &[u8]) -> Option<u64> {
        let at = self.words.iter().position(|known| **known == *name)?;
        Some(self.use_word(at, name))
    }

    /// Gives a word its number, and uses it. Once all are given, no other word has one any more.
    pub(super) fn add(&mut self, name: &[u8]) -> u64 {
        if self.words.len() == NAMES {
            self.words.clear();
        }
        self.words.push(name.into());
        self.use_word(self.words.len() - 1, name)
    }

    /// No word has a number any more.
    pub(super) fn clear(&mut self) {
        self.words.clear();
        (self.last, self.last_word) = (0, NO_WORD);
    }

    fn use_word(&mut self, at: usize, name: &[u8]) -> u64 {
        self.last = at;
        self.last_word = (name.len(), ends(name).unwrap_or_default());
        at as u64
    }
}

/// Up to 16 bytes as two numbers, which may overlap: together with the length they say all of them.
#[inline]
pub(super) fn ends(bytes: &[u8]) -> Option<[u64; 2]> {
    if bytes.len() > 16 {
        return None;
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return Some([u64::from_le_bytes(*first), u64::from_le_bytes(*last)]);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return Some([u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into()]);
    }
    Some([bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)), 0])
}
