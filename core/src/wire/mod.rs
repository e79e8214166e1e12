//! Bytes ↔ frames: incremental, and with every length checked before anything is allocated for it.

use core::fmt;
use core::time::Duration;

use uuid::Uuid;

pub mod ipc;
mod json;
mod msgpack;
pub mod uw;

/// How many objects and arrays may stand within each other in what a peer sends; the same that `serde_json` allows.
pub const MAX_DEPTH: u32 = 128;

/// How busy a server says that it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Requests that it has taken and not answered, of all its clients.
    pub in_flight: u32,
    /// What a request took lately, on average, from being taken to its answer.
    pub latency: Duration,
}

/// The id of a request on the wire: the 16 bytes of a UUID, in the order in which they are written as text.
///
/// Our own ids are UUIDs of version 8 (RFC 9562, section 5.8) that say where the request stands, so that an
/// answer is found without hashing; the salt keeps them from being guessed or mixed up between clients.
///
/// ```
/// use plimsoll_core::wire::WireId;
///
/// let id = WireId::new(7, 2, 0x1234);
/// assert_eq!((id.slot(), id.generation()), (7, 2));
/// assert_eq!(id.to_string(), "00000007-0000-8000-8000-800000001234");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireId(pub [u8; 16]);
crate::saved!(struct WireId { 0 });

impl WireId {
    /// Version 8 in its place, of the high half.
    const VERSION: u64 = 0x8000;
    /// The variant of RFC 9562 in its place, of the low half.
    const VARIANT: u64 = 1 << 63;

    /// The id of the tenant number `generation` of `slot`; the low 58 bits of `salt` fill the rest.
    ///
    /// From the highest bit: slot 32, generation 16, version 4, salt 12, variant 2, generation 16, salt 46.
    pub const fn new(slot: u32, generation: u32, salt: u64) -> Self {
        Ids::new(salt).id(slot, generation)
    }

    /// The slot that [`new`](Self::new) wrote; any number if the id is a stranger's.
    pub const fn slot(self) -> u32 {
        (self.bits() >> 96) as u32
    }

    /// The generation that [`new`](Self::new) wrote; any number if the id is a stranger's.
    pub const fn generation(self) -> u32 {
        let bits = self.bits();
        (bits >> 64) as u32 & 0xffff_0000 | (bits >> 46) as u32 & 0xffff
    }

    const fn bits(self) -> u128 {
        u128::from_be_bytes(self.0)
    }
}

/// The ids of one salt: what they share is put together once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ids {
    high: u64,
    low: u64,
}
crate::saved!(struct Ids { high, low });

impl Ids {
    pub(crate) const fn new(salt: u64) -> Self {
        Ids { high: WireId::VERSION | salt >> 46 & 0xfff, low: WireId::VARIANT | salt & ((1 << 46) - 1) }
    }

    #[inline]
    pub(crate) const fn id(self, slot: u32, generation: u32) -> WireId {
        let (slot, generation) = (slot as u64, generation as u64);
        let high = slot << 32 | generation >> 16 << 16 | self.high;
        let low = (generation & 0xffff) << 46 | self.low;
        WireId(((high as u128) << 64 | low as u128).to_be_bytes())
    }
}

impl From<Uuid> for WireId {
    fn from(uuid: Uuid) -> Self {
        WireId(uuid.into_bytes())
    }
}

impl From<WireId> for Uuid {
    fn from(id: WireId) -> Self {
        Uuid::from_bytes(id.0)
    }
}

impl fmt::Display for WireId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Uuid::from(*self), f)
    }
}

impl fmt::Debug for WireId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use quickcheck::quickcheck;

    quickcheck! {
        fn our_ids_are_uuids_of_version_8_that_say_slot_and_generation(slot: u32, generation: u32, salt: u64) -> bool {
            let id = WireId::new(slot, generation, salt);
            let uuid = Uuid::from(id);
            let salted = WireId::new(slot, generation, salt ^ 1 << 57);
            id.slot() == slot
                && id.generation() == generation
                && uuid.get_version_num() == 8
                && uuid.get_variant() == uuid::Variant::RFC4122
                && id != WireId::new(slot, generation, salt ^ 1)
                && id != salted
                && (salted.slot(), salted.generation()) == (slot, generation)
        }

        fn an_id_is_its_uuid_in_textual_order(high: u64, low: u64) -> bool {
            let uuid = Uuid::from_u64_pair(high, low);
            let id = WireId::from(uuid);
            Uuid::from(id) == uuid && id.to_string() == uuid.to_string() && id.0 == *uuid.as_bytes()
        }
    }
}
