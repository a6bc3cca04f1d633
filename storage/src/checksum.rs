//! CRC-32C of things laid end to end, from the checksums of the parts.
//!
//! HashKV is the CRC of `key`, then of every live revision's key bytes and value. Each record carries the CRC of its own
//! part, so the answer is put together from those, without reading a value.
//!
//! What holds: `combine(crc(a), crc(b), b.len()) == crc(a ‖ b)`. A CRC is linear: appending `n` bytes to `a` multiplies its
//! CRC by x^(8n) modulo the polynomial, and appending zeros is appending `b` up to `b`'s own CRC.

use std::sync::LazyLock;

/// The Castagnoli polynomial with its bits reversed, as CRC-32C uses it; x^0 is the highest bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// Lengths below 2^LOW_BITS are multiplied by table look-ups; records are nearly always that short.
const LOW_BITS: usize = 16;

/// What multiplies by one fixed power of x: for each byte of the multiplicand, its product.
type Product = [[u32; 256]; 4];

struct Powers {
    /// x^(8·2^k) modulo the polynomial, for each k.
    power: [u32; 64],
    /// The same for the first few k, as tables.
    product: Vec<Product>,
}

static POWERS: LazyLock<Powers> = LazyLock::new(|| {
    let mut power = [0; 64];
    power[0] = 1 << (31 - 8);
    for k in 1..64 {
        power[k] = multiply(power[k - 1], power[k - 1]);
    }
    let product = power[..LOW_BITS].iter().map(|&factor| product_by(factor)).collect();
    Powers { power, product }
});

/// A CRC, and how many bytes it is the CRC of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksum {
    pub crc: u32,
    pub length: u64,
}

impl Checksum {
    /// The checksum of `bytes`.
    pub fn of(bytes: &[u8]) -> Checksum {
        Checksum { crc: crc32c::crc32c(bytes), length: bytes.len() as u64 }
    }

    /// The checksum of what this one covers with what `next` covers behind it.
    pub fn then(self, next: Checksum) -> Checksum {
        Checksum { crc: combine(self.crc, next.crc, next.length), length: self.length + next.length }
    }
}

/// The CRC-32C of `a ‖ b` from those of `a` and `b`, and the length of `b` in bytes.
pub fn combine(crc_a: u32, crc_b: u32, length_b: u64) -> u32 {
    let powers = &*POWERS;
    let mut crc = crc_a;
    let mut rest = length_b;
    while rest != 0 {
        let k = rest.trailing_zeros() as usize;
        rest &= rest - 1;
        crc = match powers.product.get(k) {
            Some(product) => multiply_by(product, crc),
            None => multiply(powers.power[k], crc),
        };
    }
    crc ^ crc_b
}

/// a·b modulo the polynomial.
fn multiply(a: u32, b: u32) -> u32 {
    let mut product = 0;
    let mut shifted = b;
    for bit in (0..32).rev() {
        if a >> bit & 1 == 1 {
            product ^= shifted;
        }
        shifted = if shifted & 1 == 1 { shifted >> 1 ^ POLYNOMIAL } else { shifted >> 1 };
    }
    product
}

fn product_by(factor: u32) -> Product {
    let mut product = [[0; 256]; 4];
    for (place, table) in product.iter_mut().enumerate() {
        for (byte, entry) in table.iter_mut().enumerate() {
            *entry = multiply(factor, (byte as u32) << (8 * place));
        }
    }
    product
}

fn multiply_by(product: &Product, crc: u32) -> u32 {
    let [a, b, c, d] = crc.to_le_bytes();
    product[0][a as usize] ^ product[1][b as usize] ^ product[2][c as usize] ^ product[3][d as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_give_the_whole() {
        let bytes: Vec<u8> = (0..200_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for (cut, end) in [(0, 0), (0, 9), (9, 9), (3, 20), (1, 256), (17, 400), (5, 70_000), (65_536, 200_000)] {
            let (a, b) = bytes[..end].split_at(cut);
            assert_eq!(
                combine(crc32c::crc32c(a), crc32c::crc32c(b), b.len() as u64),
                crc32c::crc32c(&bytes[..end]),
                "{cut} of {end}"
            );
        }
    }

    #[test]
    fn a_long_chain_of_small_parts() {
        let bytes: Vec<u8> = (0..10_000u32).map(|i| ((i * i) >> 3) as u8).collect();
        let whole = bytes.chunks(37).fold(Checksum::default(), |sum, part| sum.then(Checksum::of(part)));
        assert_eq!(whole, Checksum::of(&bytes));
    }
}
