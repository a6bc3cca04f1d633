//! Putting pieces together: asks for so many bytes, and gets them when they are there.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// What arrived and was not read. Takes memory for what is there, not for what a length promises.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    pieces: VecDeque<Bytes>,
    length: usize,
}

impl Assembly {
    pub(super) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.length += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// Exactly `length` bytes, or nothing yet. They are copied only if they arrived in several pieces.
    pub(super) fn take(&mut self, length: usize) -> Option<Bytes> {
        if length > self.length {
            return None;
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
