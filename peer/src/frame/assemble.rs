//! Putting pieces together: asks for so many bytes, and gets them when they are there.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// A piece that is shorter is copied behind the one before it: what holds a piece together, and what keeps it, would be
/// many times what is in it.
const SHORT_BYTES: usize = 1 << 10;

/// What arrived and was not read. Takes memory for what is there, not for what a length promises.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    pieces: VecDeque<Bytes>,
    /// Short pieces that arrived behind the others.
    short: BytesMut,
    length: usize,
}

impl Assembly {
    pub(super) fn push(&mut self, piece: Bytes) {
        self.length += piece.len();
        // While nothing waits, a piece is a frame, most likely, and is read without a copy.
        if piece.len() < SHORT_BYTES && self.length > piece.len() {
            self.short.extend_from_slice(&piece);
        } else if !piece.is_empty() {
            self.end_short();
            self.pieces.push_back(piece);
        }
    }

    fn end_short(&mut self) {
        if !self.short.is_empty() {
            self.pieces.push_back(self.short.split().freeze());
        }
    }

    /// Exactly `length` bytes, or nothing yet. They are copied only if they arrived in several pieces.
    pub(super) fn take(&mut self, length: usize) -> Option<Bytes> {
        if length > self.length {
            return None;
        }
        if self.length - self.short.len() < length {
            self.end_short();
        }
        self.length -= length;
        match self.pieces.front_mut() {
            Some(front) if front.len() > length => return Some(front.split_to(length)),
            Some(front) if front.len() == length => return self.pieces.pop_front(),
            _ => {}
        }
        let mut whole = BytesMut::with_capacity(length);
        while whole.len() < length {
            let front = self.pieces.front_mut().expect("as many bytes as counted");
            whole.extend_from_slice(&front.split_to(front.len().min(length - whole.len())));
            if front.is_empty() {
                self.pieces.pop_front();
            }
        }
        Some(whole.freeze())
    }

    pub(super) fn take_u8(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    pub(super) fn take_u64(&mut self) -> Option<u64> {
        self.take(8).map(|mut number| number.get_u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_comes_out_however_it_is_cut() {
        let bytes: Vec<u8> = (0..20_000u32).map(|number| (number % 251) as u8).collect();
        for size in [1, 3, 1000, SHORT_BYTES, 3000] {
            for taken in [1, 7, 900, 5000] {
                let (mut assembly, mut out) = (Assembly::default(), Vec::new());
                for piece in bytes.chunks(size) {
                    assembly.push(Bytes::copy_from_slice(piece));
                    while let Some(part) = assembly.take(taken) {
                        out.extend_from_slice(&part);
                    }
                }
                assert_eq!(out, bytes[..bytes.len() / taken * taken], "pieces of {size}, taken by {taken}");
            }
        }
    }

    #[test]
    fn tiny_pieces_take_no_more_than_their_bytes() {
        let mut assembly = Assembly::default();
        for _ in 0..100_000 {
            assembly.push(Bytes::from_static(b"x"));
        }
        assert!(assembly.pieces.len() < 3, "{} pieces", assembly.pieces.len());
        assert_eq!(assembly.take(100_000).unwrap().len(), 100_000);
    }
}
