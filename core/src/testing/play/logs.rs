//! Logs that somebody has changed, or made up.

use alloc::vec::Vec;

/// A log in which `this` stands instead of `that`, wherever that was, with checksums that fit. Both have the same length.
pub fn changed(log: &[u8], that: &[u8], this: &[u8]) -> Vec<u8> {
    assert_eq!(that.len(), this.len(), "nothing moves");
    let mut changed = log.to_vec();
    for at in 0..=log.len().saturating_sub(that.len()) {
        if log[at..].starts_with(that) {
            changed[at..at + this.len()].copy_from_slice(this);
        }
    }
    resealed(changed)
}

/// The log that begins with the head of `log`, and has these records behind it.
pub fn forged(log: &[u8], records: &[u8]) -> Vec<u8> {
    crate::record::forged(log, &[records])
}

/// A log whose checksums are written anew.
pub fn resealed(mut log: Vec<u8>) -> Vec<u8> {
    crate::record::reseal(&mut log);
    log
}
