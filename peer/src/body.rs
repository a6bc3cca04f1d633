//! Bodies of requests and answers between members.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::{Body, Frame, SizeHint};

use crate::outgoing::Outgoing;

/// What members send one another.
#[derive(Debug)]
pub struct PeerBody(Kind);

#[derive(Debug)]
enum Kind {
    Whole(Full<Bytes>),
    /// Frames as messages come.
    Stream(Box<Outgoing>),
    /// A snapshot, as it is read.
    Snapshot(UnsyncBoxBody<Bytes, io::Error>),
}

impl PeerBody {
    /// All of it is there.
    pub fn whole(bytes: impl Into<Bytes>) -> PeerBody {
        PeerBody(Kind::Whole(Full::new(bytes.into())))
    }

    pub(crate) fn stream(outgoing: Outgoing) -> PeerBody {
        PeerBody(Kind::Stream(Box::new(outgoing)))
    }

    pub(crate) fn snapshot(body: impl Body<Data = Bytes, Error = io::Error> + Send + 'static) -> PeerBody {
        PeerBody(Kind::Snapshot(body.boxed_unsync()))
    }
}

impl Body for PeerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let never = |never: Infallible| match never {};
        match &mut self.0 {
            Kind::Whole(body) => Pin::new(body).poll_frame(cx).map_err(never),
            Kind::Stream(body) => Pin::new(&mut **body).poll_frame(cx).map_err(never),
            Kind::Snapshot(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole(body) => body.is_end_stream(),
            Kind::Stream(_) => false,
            Kind::Snapshot(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(body) => body.size_hint(),
            Kind::Stream(_) => SizeHint::default(),
            Kind::Snapshot(body) => body.size_hint(),
        }
    }
}
