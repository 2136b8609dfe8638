//! A payload as the slices it arrived in, never joined.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{BufMut, Bytes};
use smallvec::SmallVec;

/// Payload bytes copied in user space since the process started, in all ropes.
static COPIED: AtomicU64 = AtomicU64::new(0);

/// Payload bytes copied in user space since the process started.
///
/// Every copy of a payload goes through a [`Rope`], so this counts them all; the budget is none
/// from `recv` to the hub, one per protocol that has viewers, none per viewer.
pub fn copied_bytes() -> u64 {
    COPIED.load(Ordering::Relaxed)
}

pub(crate) fn count_copied(len: usize) {
    COPIED.fetch_add(len as u64, Ordering::Relaxed);
}

/// A payload: slices of the blocks it was received into, in order.
///
/// Cloning shares the slices and costs one reference count, however many there are. When the last
/// clone goes, the blocks are released at once and the rope's own memory, which only a payload
/// received in several pieces has, returns to the pool it came from.
#[derive(Clone, Default)]
pub struct Rope {
    /// All there is of nearly every payload: it was received in one piece. Empty if there are many.
    ///
    /// Not a variant beside them: what is moved as often as this is, is to be moved by its fields.
    one: Run,
    many: Many,
}

/// Memory of a rope's own, if it has several runs; shared by its clones.
#[derive(Clone, Default)]
struct Many(Option<Arc<Inner>>);

#[derive(Default)]
struct Inner {
    runs: SmallVec<[Run; 2]>,
    len: usize,
    /// Where this memory goes when nobody needs it. Taken out while it is there.
    home: Option<Arc<Home>>,
}

/// A stretch of received bytes with payload at regular places: `first` bytes, then a chunk header
/// of `gap` bytes and `stride` bytes of payload, over and over.
///
/// One run describes a keyframe cut into a thousand chunks, where a slice per chunk would cost
/// 32 bytes and a reference count each.
#[derive(Clone, Default)]
struct Run {
    bytes: Bytes,
    first: u32,
    stride: u32,
    gap: u32,
    /// Payload bytes.
    len: u32,
}

impl Run {
    const EMPTY: Self = Self { bytes: Bytes::new(), first: 0, stride: 0, gap: 0, len: 0 };

    fn whole(bytes: Bytes) -> Self {
        let len = bytes.len() as u32;
        Self { bytes, first: len, stride: 0, gap: 0, len }
    }

    fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let len = self.bytes.len();
        let (stride, gap) = (self.stride as usize, self.gap as usize);
        let mut next = 0..(self.first as usize).min(len);
        std::iter::from_fn(move || {
            if next.start >= len {
                return None;
            }
            let range = next.clone();
            let start = range.end + gap;
            next = start..(start + stride).min(len);
            Some(range)
        })
    }
}

impl Rope {
    /// The empty payload.
    pub const fn new() -> Self {
        Self { one: Run::EMPTY, many: Many(None) }
    }

    /// `len` payload bytes in chunks of `chunk_size`, with headers of one byte between them.
    #[inline(always)]
    pub(crate) fn chunks(bytes: Bytes, len: usize, chunk_size: usize) -> Self {
        let (len, stride) = (len as u32, chunk_size as u32);
        Self { one: Run { bytes, first: len.min(stride), stride, gap: 1, len }, many: Many(None) }
    }

    /// Bytes in all slices.
    pub fn len(&self) -> usize {
        self.many.0.as_ref().map_or(self.one.len as usize, |many| many.len)
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn runs(&self) -> &[Run] {
        match &self.many.0 {
            Some(many) => &many.runs,
            None if self.one.len == 0 => &[],
            None => std::slice::from_ref(&self.one),
        }
    }

    /// The slices, in order; none is empty.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        self.runs().iter().flat_map(|run| run.ranges().map(|range| &run.bytes[range]))
    }

    /// The slices, each holding on to its block.
    pub fn owned_slices(&self) -> impl Iterator<Item = Bytes> {
        self.runs().iter().flat_map(|run| run.ranges().map(|range| run.bytes.slice(range)))
    }

    /// The first `N` bytes, if there are that many.
    pub fn first_chunk<const N: usize>(&self) -> Option<[u8; N]> {
        let mut out = [0; N];
        (self.read_at(0, &mut out) == N).then_some(out)
    }

    /// The byte at `index`.
    pub fn get(&self, index: usize) -> Option<u8> {
        let mut out = [0];
        (self.read_at(index, &mut out) == 1).then_some(out[0])
    }

    /// Fills `out` with the bytes from `start` on and says how many there were.
    ///
    /// For headers of a few bytes; it is not counted as a copy of the payload.
    pub fn read_at(&self, start: usize, out: &mut [u8]) -> usize {
        // Headers are in front, and nearly always in one piece.
        if start + out.len() <= self.one.first as usize
            && let Some(bytes) = self.one.bytes.get(start..start + out.len())
        {
            out.copy_from_slice(bytes);
            return out.len();
        }
        let (mut skip, mut filled) = (start, 0);
        for slice in self.slices() {
            if skip >= slice.len() {
                skip -= slice.len();
                continue;
            }
            let take = (slice.len() - skip).min(out.len() - filled);
            out[filled..filled + take].copy_from_slice(&slice[skip..skip + take]);
            (filled, skip) = (filled + take, 0);
            if filled == out.len() {
                break;
            }
        }
        filled
    }

    /// Copies all of it behind what `out` holds.
    pub fn copy_to(&self, out: &mut impl BufMut) {
        count_copied(self.len());
        self.slices().for_each(|slice| out.put_slice(slice));
    }

    /// All of it in one piece: shared if it already is, else copied.
    pub fn to_bytes(&self) -> Bytes {
        if let [run] = self.runs()
            && run.first as usize >= run.bytes.len()
        {
            return run.bytes.clone();
        }
        let mut out = Vec::with_capacity(self.len());
        self.copy_to(&mut out);
        Bytes::from(out)
    }

    /// A copy in memory of its own, for what outlives the blocks it arrived in: a sequence header
    /// kept for hours must not hold a block of 256 KiB.
    pub fn detach(&self) -> Self {
        let mut out = Vec::with_capacity(self.len());
        self.copy_to(&mut out);
        Self::from(Bytes::from(out))
    }

    /// How many received pieces the payload is spread over.
    pub fn run_count(&self) -> usize {
        self.runs().len()
    }

    /// The bytes of `range`, sharing the slices.
    ///
    /// # Panics
    ///
    /// If `range` goes past the end.
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "{range:?} of {}", self.len());
        let mut builder = RopeBuilder::default();
        let mut at = 0;
        for bytes in self.owned_slices() {
            let start = range.start.clamp(at, at + bytes.len()) - at;
            let end = range.end.clamp(at, at + bytes.len()) - at;
            at += bytes.len();
            builder.push(bytes.slice(start..end));
        }
        builder.finish()
    }
}

impl Drop for Many {
    fn drop(&mut self) {
        let Some(mut arc) = self.0.take() else { return };
        // Two last clones dropped at the same moment both fail here: then the memory is freed
        // instead of recycled, and nothing else is lost.
        let Some(inner) = Arc::get_mut(&mut arc) else { return };
        let Some(home) = inner.home.take() else { return };
        inner.runs.clear();
        inner.len = 0;
        home.put(arc);
    }
}

impl From<Bytes> for Rope {
    #[inline(always)]
    fn from(bytes: Bytes) -> Self {
        Self { one: Run::whole(bytes), many: Many(None) }
    }
}

impl From<&'static [u8]> for Rope {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}

impl From<Vec<u8>> for Rope {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl FromIterator<Bytes> for Rope {
    fn from_iter<T: IntoIterator<Item = Bytes>>(slices: T) -> Self {
        let mut builder = RopeBuilder::default();
        slices.into_iter().for_each(|bytes| builder.push(bytes));
        builder.finish()
    }
}

impl PartialEq for Rope {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.slices().flatten().eq(other.slices().flatten())
    }
}

impl Eq for Rope {}

impl PartialEq<[u8]> for Rope {
    fn eq(&self, other: &[u8]) -> bool {
        self.len() == other.len() && self.slices().flatten().eq(other)
    }
}

impl fmt::Debug for Rope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut head = [0; 8];
        let n = self.read_at(0, &mut head);
        write!(f, "Rope({} bytes, {:02x?}…)", self.len(), &head[..n])
    }
}

/// A rope in the making. One message has one.
#[derive(Default)]
pub(crate) struct RopeBuilder {
    rope: Rope,
}

impl RopeBuilder {
    /// What the bookkeeping of one more run costs, beside the bytes themselves.
    pub(crate) const RUN_LEN: usize = size_of::<Run>();

    /// How many runs there are.
    pub(crate) fn run_count(&self) -> usize {
        self.rope.run_count()
    }

    /// Appends a slice.
    fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.append(Run::whole(bytes), Arc::default);
        }
    }

    /// Appends a slice. What memory that needs is the pool's.
    pub(crate) fn push_piece(&mut self, pool: &RopePool, bytes: Bytes) {
        if !bytes.is_empty() {
            self.append(Run::whole(bytes), || pool.take());
        }
    }

    /// Appends the `payload_len` payload bytes of a run; see [`Run`]. What memory that needs is the
    /// pool's.
    pub(crate) fn push_run(
        &mut self,
        pool: &RopePool,
        bytes: Bytes,
        payload_len: usize,
        first: usize,
        stride: usize,
        gap: usize,
    ) {
        if payload_len > 0 {
            let [first, stride, gap, len] = [first, stride, gap, payload_len].map(|n| n as u32);
            let run = Run { bytes, first, stride, gap, len };
            debug_assert_eq!(run.ranges().map(|range| range.len()).sum::<usize>(), payload_len);
            self.append(run, || pool.take());
        }
    }

    fn append(&mut self, run: Run, memory: impl FnOnce() -> Arc<Inner>) {
        let Rope { one, many: Many(many) } = &mut self.rope;
        if many.is_none() && one.len == 0 {
            *one = run;
            return;
        }
        let inner = Arc::get_mut(many.get_or_insert_with(memory));
        let inner = inner.expect("a rope in the making has one owner");
        for run in [std::mem::take(one), run] {
            if run.len > 0 {
                inner.len += run.len as usize;
                inner.runs.push(run);
            }
        }
    }

    pub(crate) fn finish(self) -> Rope {
        self.rope
    }
}

/// Where ropes' own memory waits to be used again, so that a tag costs no allocation.
pub(crate) struct RopePool {
    home: Arc<Home>,
}

struct Home {
    free: Mutex<Vec<Arc<Inner>>>,
    free_max: usize,
}

impl Home {
    fn free(&self) -> MutexGuard<'_, Vec<Arc<Inner>>> {
        // A panic elsewhere cannot leave a Vec of clean ropes in a bad state.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, clean: Arc<Inner>) {
        let mut free = self.free();
        if free.len() < self.free_max {
            free.push(clean);
        }
    }
}

impl RopePool {
    /// Keeps at most `free_max` unused ropes (about 130 bytes each).
    pub(crate) fn new(free_max: usize) -> Self {
        Self { home: Arc::new(Home { free: Mutex::new(Vec::new()), free_max }) }
    }

    fn take(&self) -> Arc<Inner> {
        let mut inner = self.home.free().pop().unwrap_or_default();
        let unique = Arc::get_mut(&mut inner).expect("a rope in the pool has one owner");
        unique.home = Some(self.home.clone());
        inner
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunked() -> Rope {
        // Payload bytes are digits, chunk headers are 'h'.
        let (pool, mut builder) = (RopePool::new(4), RopeBuilder::default());
        builder.push(Bytes::from_static(b"012"));
        builder.push_run(&pool, Bytes::from_static(b"3hh4567hh8901hh23"), 11, 1, 4, 2);
        builder.finish()
    }

    fn in_two_pieces(pool: &RopePool, mut bytes: Bytes) -> Rope {
        let mut builder = RopeBuilder::default();
        for bytes in [bytes.split_to(1), bytes] {
            builder.push_piece(pool, bytes);
        }
        builder.finish()
    }

    #[test]
    fn a_run_leaves_out_the_chunk_headers() {
        let rope = chunked();
        assert_eq!(rope.len(), 14);
        assert!(rope == *b"01234567890123".as_slice());
        assert_eq!(
            rope.slices().collect::<Vec<_>>(),
            [b"012".as_slice(), b"3", b"4567", b"8901", b"23"]
        );
    }

    #[test]
    fn slices_of_every_range_equal_the_range_of_the_whole() {
        let (rope, whole) = (chunked(), b"01234567890123");
        for start in 0..=whole.len() {
            for end in start..=whole.len() {
                assert!(rope.slice(start..end) == whole[start..end], "{start}..{end}");
                let mut out = vec![0; end - start];
                assert_eq!(rope.read_at(start, &mut out), out.len());
                assert_eq!(out, whole[start..end]);
            }
        }
    }

    #[test]
    fn the_last_clone_returns_the_rope_and_releases_its_block() {
        let pool = RopePool::new(1);
        let block = Bytes::from(vec![7; 100]);
        let rope = in_two_pieces(&pool, block.slice(10..20));
        let clone = rope.clone();
        drop(rope);
        assert!(!block.is_unique(), "a clone still reads from the block");
        drop(clone);
        assert!(block.is_unique(), "nothing may hold a block but a rope in use");
        assert_eq!(pool.home.free().len(), 1);
        assert_eq!(in_two_pieces(&pool, block).len(), 100, "a recycled rope starts empty");
    }

    #[test]
    fn the_pool_is_bounded() {
        let pool = RopePool::new(2);
        let rope = || in_two_pieces(&pool, Bytes::from_static(b"xy"));
        let ropes: Vec<_> = (0..5).map(|_| rope()).collect();
        drop(ropes);
        assert_eq!(pool.home.free().len(), 2);
    }
}
