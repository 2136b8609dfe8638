//! Input cut into the pieces that a socket delivers, and what of them is still held.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// The byte that says how to cut, and the rest.
pub(crate) fn split(data: &[u8]) -> Option<(u8, &[u8])> {
    data.split_first().map(|(&cuts, rest)| (cuts, rest))
}

/// `data` in pieces: byte by byte for 0, in one piece for 255, else of lengths that look random and
/// are longer on average the higher `cuts` is.
pub(crate) fn cut(data: &[u8], cuts: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    let mut state = u64::from(cuts);
    std::iter::from_fn(move || {
        let len = match cuts {
            0 => 1,
            u8::MAX => rest.len(),
            // Knuth's MMIX generator; its high bits are the good ones.
            _ => {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                1 + (state >> 33) as usize % (usize::from(cuts) * 4)
            }
        };
        let piece;
        (piece, rest) = rest.split_at(len.min(rest.len()));
        (!piece.is_empty()).then_some(piece)
    })
}

/// Counts the bytes of pieces that somebody still holds on to: a slice pins all of its piece.
#[derive(Clone, Default)]
pub(crate) struct Ledger {
    held: Arc<AtomicUsize>,
}

impl Ledger {
    /// A piece in memory of its own, as if just received.
    pub(crate) fn receive(&self, piece: &[u8]) -> Bytes {
        self.held.fetch_add(piece.len(), Ordering::Relaxed);
        Bytes::from_owner(Piece { bytes: piece.into(), held: self.held.clone() })
    }

    /// Bytes of all pieces that are not dropped.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

struct Piece {
    bytes: Box<[u8]>,
    held: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_whole_however_it_is_cut() {
        let data: Vec<u8> = (0..=255).cycle().take(3000).collect();
        for cuts in 0..=255 {
            assert_eq!(cut(&data, cuts).collect::<Vec<_>>().concat(), data, "cuts {cuts}");
        }
        assert_eq!(cut(&data, 0).count(), 3000);
        assert_eq!(cut(&data, 255).count(), 1);
    }

    #[test]
    fn a_slice_holds_its_piece() {
        let ledger = Ledger::default();
        let slice = ledger.receive(&[1, 2, 3]).slice(1..2);
        assert_eq!(ledger.held(), 3);
        drop(slice);
        assert_eq!(ledger.held(), 0);
    }
}
