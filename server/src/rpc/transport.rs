//! Between the h2 crate and the socket: batches writes, sees frames go by, and puts in what h2 cannot send.
//!
//!   h2 ──poll_write──▶ buffer ──flush, once per turn of the connection──▶ socket
//!   h2 ◀──poll_read── socket          (frame headers are looked at in both directions)
//!
//! h2 flushes after every larger frame; here that does nothing, the driver of the connection flushes when h2 has no
//! more to say. One write a turn, however many answers it carries.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::traffic::Traffic;

/// Unsent bytes of a connection. Full: h2 gets no more rid of, and its streams wait for capacity.
const OUT_BYTES: usize = 64 << 10;

/// What an idle connection keeps of its buffer: ten thousand of them should not keep what one burst of answers needed.
const KEPT_BYTES: usize = 8 << 10;

const FRAME_HEADER_BYTES: usize = 9;
const PREFACE_BYTES: usize = 24;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PING: u8 = 6;
const ACK: u8 = 1;

/// The socket of a connection, shared by h2's side and the driver.
pub(super) struct Link<S> {
    socket: RefCell<S>,
    out: RefCell<Out>,
    traffic: Rc<Traffic>,
}

#[derive(Default)]
struct Out {
    buffer: BytesMut,
    frames: Frames,
    /// Our own last word has been said; what h2 says after it is swallowed.
    ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    pub fn new(socket: S, traffic: Rc<Traffic>) -> Rc<Self> {
        Rc::new(Self { socket: RefCell::new(socket), out: RefCell::default(), traffic })
    }

    /// Sends what h2 has written. `Pending` means that the socket takes no more for now.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut out = self.out.borrow_mut();
        let mut socket = self.socket.borrow_mut();
        while !out.buffer.is_empty() {
            match Pin::new(&mut *socket).poll_write(cx, &out.buffer) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => {
                    out.buffer.advance(written);
                    self.traffic.progressed();
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.traffic.set_blocked();
                    return Poll::Pending;
                }
            }
        }
        self.traffic.set_unblocked();
        if out.buffer.capacity() > KEPT_BYTES {
            out.buffer = BytesMut::new();
        }
        Pin::new(&mut *socket).poll_flush(cx)
    }

    /// Ends the connection with GOAWAY, ENHANCE_YOUR_CALM and the text that gRPC clients look for. In the middle of
    /// one of h2's frames nothing can be said, and the connection just closes.
    pub fn say_too_many_pings(&self) {
        let mut out = self.out.borrow_mut();
        if out.ended {
            return;
        }
        out.ended = true;
        if out.frames.between_frames() {
            const TEXT: &[u8] = b"too_many_pings";
            const ENHANCE_YOUR_CALM: u32 = 0xb;
            let length = 8 + TEXT.len() as u32;
            out.buffer.extend_from_slice(&length.to_be_bytes()[1..]);
            out.buffer.extend_from_slice(&[7, 0, 0, 0, 0, 0]);
            out.buffer.extend_from_slice(&self.traffic.last_stream.get().to_be_bytes());
            out.buffer.extend_from_slice(&ENHANCE_YOUR_CALM.to_be_bytes());
            out.buffer.extend_from_slice(TEXT);
        }
    }

    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket.borrow_mut()).poll_shutdown(cx)
    }
}

/// h2's side of a link.
pub(super) struct Transport<S> {
    link: Rc<Link<S>>,
    /// What was read to find out which protocol the client speaks.
    first: Bytes,
    frames: Frames,
}

impl<S> Transport<S> {
    pub fn new(link: Rc<Link<S>>, first: Bytes) -> Self {
        Self { link, first, frames: Frames { skip: PREFACE_BYTES, ..Frames::default() } }
    }

    fn came(&mut self, bytes: &[u8]) {
        let traffic = &self.link.traffic;
        traffic.last_read.set(tokio::time::Instant::now());
        self.frames.see(bytes, |kind, flags, stream| {
            traffic.has_begun.set(true);
            match kind {
                PING if flags & ACK == 0 => traffic.ping_came(),
                HEADERS => traffic.last_stream.set(traffic.last_stream.get().max(stream)),
                _ => {}
            }
        });
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Transport<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let count = self.first.len().min(buf.remaining());
            let first = self.first.split_to(count);
            buf.put_slice(&first);
            self.came(&first);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut *self.link.socket.borrow_mut()).poll_read(cx, buf))?;
        let came = &buf.filled()[before..];
        self.came(came);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Transport<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let link = &self.link;
        if link.out.borrow().ended {
            return Poll::Ready(Ok(bytes.len()));
        }
        if link.out.borrow().buffer.len() >= OUT_BYTES {
            ready!(link.poll_flush(cx))?;
        }
        let out = &mut *link.out.borrow_mut();
        out.buffer.extend_from_slice(bytes);
        out.frames.see(bytes, |kind, _, _| {
            if matches!(kind, DATA | HEADERS) {
                link.traffic.sending();
            }
        });
        Poll::Ready(Ok(bytes.len()))
    }

    /// The driver flushes, once per turn.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.link.poll_flush(cx))?;
        self.link.poll_shutdown(cx)
    }
}

/// Finds the frame headers in a stream of bytes.
#[derive(Debug, Default)]
struct Frames {
    header: [u8; FRAME_HEADER_BYTES],
    have: usize,
    /// Bytes of payload (or preface) before the next header.
    skip: usize,
}

impl Frames {
    fn between_frames(&self) -> bool {
        self.have == 0 && self.skip == 0
    }

    fn see(&mut self, mut bytes: &[u8], mut frame: impl FnMut(u8, u8, u32)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (FRAME_HEADER_BYTES - self.have).min(bytes.len());
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == FRAME_HEADER_BYTES {
                let [a, b, c, kind, flags, s0, s1, s2, s3] = self.header;
                self.have = 0;
                self.skip = u32::from_be_bytes([0, a, b, c]) as usize;
                frame(kind, flags, u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_however_the_bytes_are_cut() {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        for (length, kind, flags, stream) in [(0u8, 4, 0, 0u8), (5, HEADERS, 4, 1), (8, PING, 0, 0), (3, DATA, 1, 1)] {
            bytes.extend_from_slice(&[0, 0, length, kind, flags, 0, 0, 0, stream]);
            bytes.extend(std::iter::repeat_n(0xff, length as usize));
        }
        for size in 1..bytes.len() {
            let mut frames = Frames { skip: PREFACE_BYTES, ..Frames::default() };
            let mut found = Vec::new();
            for piece in bytes.chunks(size) {
                frames.see(piece, |kind, flags, stream| found.push((kind, flags, stream)));
            }
            assert_eq!(found, [(4, 0, 0), (HEADERS, 4, 1), (PING, 0, 0), (DATA, 1, 1)], "cut every {size} bytes");
            assert!(frames.between_frames());
        }
    }
}
