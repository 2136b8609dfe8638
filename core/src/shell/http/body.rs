//! Body: what a response is made of, in as many pieces of memory as it happens to be in.

use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use smallvec::SmallVec;

use super::flv::FlvBody;
use super::hls::EndlessBody;

/// Bytes of one frame of a body. hyper writes all of them in one call.
pub(super) struct Slices {
    /// The last one first, none of them empty.
    slices: SmallVec<[Bytes; 4]>,
    len: usize,
}

impl FromIterator<Bytes> for Slices {
    fn from_iter<I: IntoIterator<Item = Bytes>>(slices: I) -> Self {
        let mut slices: SmallVec<_> =
            slices.into_iter().filter(|slice| !slice.is_empty()).collect();
        slices.reverse();
        let len = slices.iter().map(Bytes::len).sum();
        Self { slices, len }
    }
}

impl Slices {
    /// Bytes of all slices.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Buf for Slices {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.slices.last().map_or(&[], |slice| slice)
    }

    fn chunks_vectored<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let pairs = out.iter_mut().zip(self.slices.iter().rev());
        pairs.map(|(out, slice)| *out = IoSlice::new(slice)).count()
    }

    fn advance(&mut self, mut len: usize) {
        assert!(len <= self.len, "there are {} bytes, not {len}", self.len);
        self.len -= len;
        while let Some(slice) = self.slices.last_mut()
            && len > 0
        {
            let take = len.min(slice.len());
            slice.advance(take);
            len -= take;
            if slice.is_empty() {
                self.slices.pop();
            }
        }
    }
}

/// The body of any response.
pub(super) enum Body {
    /// Of a stream, which ends with it.
    Stream(Box<FlvBody>),
    /// Of a stream in fragments, which ends with it.
    Endless(Box<EndlessBody>),
    /// All of it, in memory that others share.
    Whole(Option<Slices>),
    /// Of anything else.
    Other(axum::body::Body),
}

impl From<axum::body::Body> for Body {
    fn from(body: axum::body::Body) -> Self {
        Self::Other(body)
    }
}

impl http_body::Body for Body {
    type Data = Slices;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Slices>, axum::Error>>> {
        match &mut *self {
            Self::Stream(body) => {
                let frame = Pin::new(body.as_mut()).poll_frame(cx);
                frame.map(|frame| frame.map(|frame| frame.map_err(|never| match never {})))
            }
            Self::Endless(body) => {
                let frame = Pin::new(body.as_mut()).poll_frame(cx);
                frame.map(|frame| frame.map(|frame| frame.map_err(|never| match never {})))
            }
            Self::Whole(slices) => {
                let slices = slices.take().filter(|slices| slices.len > 0);
                Poll::Ready(slices.map(|slices| Ok(Frame::data(slices))))
            }
            Self::Other(body) => {
                let frame = Pin::new(body).poll_frame(cx);
                let sliced = |bytes| Slices::from_iter([bytes]);
                frame.map(|frame| frame.map(|frame| frame.map(|frame| frame.map_data(sliced))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Stream(body) => body.is_end_stream(),
            Self::Endless(body) => body.is_end_stream(),
            Self::Whole(slices) => slices.as_ref().is_none_or(|slices| slices.len == 0),
            Self::Other(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Stream(body) => body.size_hint(),
            Self::Endless(body) => body.size_hint(),
            Self::Whole(slices) => {
                SizeHint::with_exact(slices.as_ref().map_or(0, |slices| slices.len as u64))
            }
            Self::Other(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_given_in_order_and_written_together() {
        let pieces = [&b"one"[..], b"", b"two", b"three"].map(Bytes::from_static);
        let mut slices: Slices = pieces.into_iter().collect();
        let mut out = [IoSlice::new(&[]); 8];
        assert_eq!(slices.chunks_vectored(&mut out), 3);
        assert_eq!(out.map(|slice| slice.to_vec()).concat(), b"onetwothree");
        slices.advance(4);
        assert_eq!((slices.remaining(), slices.chunk()), (7, &b"wo"[..]));
        assert_eq!(slices.copy_to_bytes(7), "wothree");
        assert_eq!((slices.remaining(), slices.chunk()), (0, &b""[..]));
    }
}
