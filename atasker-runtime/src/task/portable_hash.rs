//! A hash that is the same in every program, whatever its build and its machine.

use std::hash::Hasher;

/// FNV-1a with 128 bits. Numbers are hashed as 16 bytes in little-endian order, so that neither the
/// width nor the byte order of a machine matters.
pub(super) struct PortableHasher(u128);

impl Default for PortableHasher {
    fn default() -> Self {
        PortableHasher(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl PortableHasher {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b);
        }
    }

    /// Hashes bytes that something else may follow.
    pub(super) fn write_bytes(&mut self, bytes: &[u8]) {
        self.write_u128(bytes.len() as u128);
        self.add(bytes);
    }
}

impl PortableHasher {
    /// Returns all bits of the hash.
    pub(super) fn finish_all(&self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl Hasher for PortableHasher {
    fn finish(&self) -> u64 {
        self.0 as u64
    }

    fn write(&mut self, bytes: &[u8]) {
        self.add(bytes);
    }

    fn write_u8(&mut self, i: u8) {
        self.write_u128(i.into());
    }

    fn write_u16(&mut self, i: u16) {
        self.write_u128(i.into());
    }

    fn write_u32(&mut self, i: u32) {
        self.write_u128(i.into());
    }

    fn write_u64(&mut self, i: u64) {
        self.write_u128(i.into());
    }

    fn write_u128(&mut self, i: u128) {
        self.add(&i.to_le_bytes());
    }

    fn write_usize(&mut self, i: usize) {
        self.write_u128(i as u128);
    }

    fn write_i8(&mut self, i: i8) {
        self.write_u128(i128::from(i) as u128);
    }

    fn write_i16(&mut self, i: i16) {
        self.write_u128(i128::from(i) as u128);
    }

    fn write_i32(&mut self, i: i32) {
        self.write_u128(i128::from(i) as u128);
    }

    fn write_i64(&mut self, i: i64) {
        self.write_u128(i128::from(i) as u128);
    }

    fn write_i128(&mut self, i: i128) {
        self.write_u128(i as u128);
    }

    fn write_isize(&mut self, i: isize) {
        self.write_u128(i as i128 as u128);
    }
}
