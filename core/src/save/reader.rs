use super::Damaged;

/// Takes values from the front of bytes.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    left: &'a [u8],
    len: usize,
}

impl<'a> Reader<'a> {
    /// At the start of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Reader { left: bytes, len: bytes.len() }
    }

    /// How many bytes were taken.
    pub const fn at(&self) -> usize {
        self.len - self.left.len()
    }

    /// The bytes that were not taken yet.
    pub const fn left(&self) -> &'a [u8] {
        self.left
    }

    /// That the last `n` bytes cannot stand where they stand.
    pub const fn invalid(&self, n: usize) -> Damaged {
        Damaged::Invalid { at: self.at().saturating_sub(n) }
    }

    /// That nothing is left.
    ///
    /// # Errors
    /// [`Damaged::Trailing`] if something is.
    pub const fn finish(&self) -> Result<(), Damaged> {
        if self.left.is_empty() { Ok(()) } else { Err(Damaged::Trailing { at: self.at() }) }
    }

    /// One byte.
    ///
    /// # Errors
    /// [`Damaged::Truncated`] if nothing is left.
    pub fn byte(&mut self) -> Result<u8, Damaged> {
        let [byte, left @ ..] = self.left else { return Err(self.truncated()) };
        self.left = left;
        Ok(*byte)
    }

    /// The next `n` bytes as they are.
    ///
    /// # Errors
    /// [`Damaged::Truncated`] if fewer are left.
    pub fn raw(&mut self, n: usize) -> Result<&'a [u8], Damaged> {
        let (bytes, left) = self.left.split_at_checked(n).ok_or(self.truncated())?;
        self.left = left;
        Ok(bytes)
    }

    /// Bytes behind their number.
    ///
    /// # Errors
    /// [`Damaged`] if they are not there.
    pub fn bytes(&mut self) -> Result<&'a [u8], Damaged> {
        let n = self.length()?;
        self.raw(n)
    }

    /// The number of things that follow. They take at least a byte each, so it is at most the number of bytes left: who
    /// allocates by it allocates in proportion to what is there.
    ///
    /// # Errors
    /// [`Damaged`] if it is more.
    pub fn length(&mut self) -> Result<usize, Damaged> {
        let length = self.varint()?;
        match usize::try_from(length) {
            Ok(length) if length <= self.left.len() => Ok(length),
            _ => Err(self.truncated()),
        }
    }

    /// An integer, as [`Writer::varint`](super::Writer::varint) writes it and in no longer form.
    ///
    /// # Errors
    /// [`Damaged`] if it is none, or has more than 64 bits.
    pub fn varint(&mut self) -> Result<u64, Damaged> {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            // The tenth byte holds one bit; a last byte of 0 adds nothing, and is not written.
            if (shift == 63 && byte > 1) || (shift > 0 && byte == 0) {
                return Err(self.invalid(1));
            }
            if byte < 0x80 {
                return Ok(value);
            }
            shift += 7;
        }
    }

    /// A signed integer, as [`Writer::signed`](super::Writer::signed) writes it.
    ///
    /// # Errors
    /// [`Damaged`] if it is none.
    pub fn signed(&mut self) -> Result<i64, Damaged> {
        let folded = self.varint()?;
        Ok((folded >> 1) as i64 ^ -((folded & 1) as i64))
    }

    const fn truncated(&self) -> Damaged {
        Damaged::Truncated { at: self.len }
    }
}
