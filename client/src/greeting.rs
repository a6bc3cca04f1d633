//! Whether whoever accepted a connection speaks HTTP/2: a server begins with a frame of settings.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// Where the type stands in a frame, and that of settings.
const TYPE_AT: usize = 3;
const SETTINGS: u8 = 4;

/// A stream that is looked at until the greeting has come.
pub(crate) struct Greeting<S> {
    stream: S,
    /// How many bytes of the first frame have come.
    seen: usize,
    /// Dropped unused if something else has come.
    tell: Option<oneshot::Sender<()>>,
}

impl<S> Greeting<S> {
    /// The stream, and what resolves when it has brought the greeting: to an error if it brought something else.
    pub(crate) fn await_on(stream: S) -> (Greeting<S>, oneshot::Receiver<()>) {
        let (tell, greeted) = oneshot::channel();
        (Greeting { stream, seen: 0, tell: Some(tell) }, greeted)
    }

    fn look_at(&mut self, bytes: &[u8]) {
        let kind = TYPE_AT.checked_sub(self.seen).and_then(|at| bytes.get(at));
        self.seen += bytes.len();
        if let Some(kind) = kind
            && let Some(tell) = self.tell.take()
            && *kind == SETTINGS
        {
            let _ = tell.send(()); // whoever waited may have given up
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Greeting<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        if self.tell.is_some() {
            self.look_at(&into.filled()[before..]);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Greeting<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_server_is_known_by_its_first_frame() {
        async fn check(parts: &[&[u8]], expected: Option<bool>) {
            let (mut server, client) = tokio::io::duplex(64);
            let (mut stream, mut greeted) = Greeting::await_on(client);
            for part in parts {
                server.write_all(part).await.unwrap();
                let mut read = vec![0; part.len()];
                stream.read_exact(&mut read).await.unwrap();
                assert_eq!(&read, part, "all of it goes on");
            }
            let told = match greeted.try_recv() {
                Ok(()) => Some(true),
                Err(oneshot::error::TryRecvError::Closed) => Some(false),
                Err(oneshot::error::TryRecvError::Empty) => None,
            };
            assert_eq!(told, expected, "{parts:?}");
        }
        check(&[b"\0\0\0\x04\0\0\0\0\0"], Some(true)).await;
        check(&[b"\0\0", b"\x06", b"\x04\0", b"\0\0\0\0rest"], Some(true)).await;
        check(&[b"HTTP/1.1 400 Bad Request\r\n\r\n"], Some(false)).await;
        check(&[b"\0\0\0\x07\0\0\0\0\0\0\0\0\x04"], Some(false)).await;
        check(&[b"\0\0\0"], None).await;
    }
}
