//! Where bytes are received, and how blocks return.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};

/// Where encoded bytes go: a buffer, or blocks one after the other.
pub trait Sink {
    /// Appends all of `bytes`.
    fn put(&mut self, bytes: &[u8]);
}

impl Sink for BytesMut {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// How large blocks are and how many of them are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLimits {
    /// Length of the first block in bytes, and of the smallest: a connection that only says hello
    /// costs a page.
    pub first_block_len: usize,
    /// Length of the largest block in bytes. Blocks become four times as long where half of one was
    /// taken at once, and a quarter where never more than a 64th was: a slice keeps all of its block,
    /// so that a stream of little in large blocks would keep more than it is.
    pub block_len: usize,
    /// What waits for its slices to be dropped, at most, in blocks of `block_len`. Past it a block is
    /// not waited for: it is freed with its last slice, and the next one is allocated.
    pub waiting_blocks_max: usize,
}

impl Default for BlockLimits {
    fn default() -> Self {
        // 256 KiB: at 6 Mbit/s a block lasts a third of a second, and one system call can take
        // all that a burst has left in the socket.
        Self { first_block_len: 4 << 10, block_len: 256 << 10, waiting_blocks_max: 512 }
    }
}

/// Bytes of the block of a connection that rests: thirty acknowledgements.
const REST_LEN: usize = 512;

/// What a pool holds and what it had to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockCounters {
    /// Blocks held: the current one and those that wait for their slices.
    pub held_blocks: usize,
    /// Bytes of those blocks, whether pinned or free for reuse.
    pub held_bytes: usize,
    /// Bytes of those blocks that cannot be used again yet: of each block, all or nothing, because
    /// a slice of any length keeps all of it. What was received and not taken counts as a slice.
    pub pinned_bytes: usize,
    /// Blocks allocated since the start.
    pub allocated: u64,
    /// Blocks used again since the start.
    pub reclaimed: u64,
    /// Blocks let go because too many were waiting already.
    pub past_bound: u64,
}

/// What several pools hold together and had to do. Each tells when it changes its block, so that
/// nobody has to ask them: what is pinned is as of then, and without the blocks in use.
#[derive(Debug, Default)]
pub struct BlockTotals {
    held_blocks: AtomicU64,
    held_bytes: AtomicU64,
    pinned_bytes: AtomicU64,
    allocated: AtomicU64,
    reclaimed: AtomicU64,
    past_bound: AtomicU64,
    pool_bytes_max: AtomicU64,
}

impl BlockTotals {
    /// The sums, as of the pools' last changes of blocks.
    pub fn counters(&self) -> BlockCounters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BlockCounters {
            held_blocks: load(&self.held_blocks) as usize,
            held_bytes: load(&self.held_bytes) as usize,
            pinned_bytes: load(&self.pinned_bytes) as usize,
            allocated: load(&self.allocated),
            reclaimed: load(&self.reclaimed),
            past_bound: load(&self.past_bound),
        }
    }

    /// The most that one pool has ever held, in bytes.
    pub fn pool_bytes_max(&self) -> u64 {
        self.pool_bytes_max.load(Ordering::Relaxed)
    }

    fn change(&self, from: &BlockCounters, to: &BlockCounters) {
        let change = |counter: &AtomicU64, from: u64, to: u64| {
            // Modulo 2^64, so that less is more, too.
            counter.fetch_add(to.wrapping_sub(from), Ordering::Relaxed);
        };
        change(&self.held_blocks, from.held_blocks as u64, to.held_blocks as u64);
        change(&self.held_bytes, from.held_bytes as u64, to.held_bytes as u64);
        change(&self.pinned_bytes, from.pinned_bytes as u64, to.pinned_bytes as u64);
        change(&self.allocated, from.allocated, to.allocated);
        change(&self.reclaimed, from.reclaimed, to.reclaimed);
        change(&self.past_bound, from.past_bound, to.past_bound);
        self.pool_bytes_max.fetch_max(to.held_bytes as u64, Ordering::Relaxed);
    }
}

/// Blocks to receive into, first in first out, used again once every slice of them is dropped.
///
/// ```
/// use forebay::blocks::{BlockLimits, BlockPool};
/// let mut pool = BlockPool::new(BlockLimits::default());
/// pool.writable().extend_from_slice(b"what recv wrote");
/// let received = pool.take_received();
/// assert_eq!(&received[..], b"what recv wrote");
/// ```
pub struct BlockPool {
    limits: BlockLimits,
    /// What is in it was received and not yet taken.
    current: BytesMut,
    current_len: usize,
    /// The most that was taken of the current block at once, in bytes.
    most_taken: usize,
    /// Length of the next block.
    next_len: usize,
    waiting: VecDeque<Waiting>,
    /// Bytes of those that wait, and of those of them that could not be used again when one was
    /// looked for.
    waiting_len: usize,
    pinned_len: usize,
    counters: BlockCounters,
    /// Where to tell it, and what was told.
    totals: Option<Arc<BlockTotals>>,
    told: BlockCounters,
}

/// A block that is full.
struct Waiting {
    /// An empty slice behind its last byte: a slice can tell whether it is the last one, which a
    /// buffer cannot.
    end: Bytes,
    len: usize,
}

impl BlockPool {
    /// A pool that has not allocated anything yet.
    pub fn new(limits: BlockLimits) -> Self {
        Self {
            limits,
            current: BytesMut::new(),
            current_len: 0,
            most_taken: 0,
            next_len: limits.first_block_len.clamp(1, limits.block_len),
            waiting: VecDeque::new(),
            waiting_len: 0,
            pinned_len: 0,
            counters: BlockCounters::default(),
            totals: None,
            told: BlockCounters::default(),
        }
    }

    /// A pool that counts into these totals as long as it lives.
    pub fn counted(limits: BlockLimits, totals: Arc<BlockTotals>) -> Self {
        let mut pool = Self::new(limits);
        pool.totals = Some(totals);
        pool
    }

    /// A block with room to receive: at least 16 KiB once blocks have grown to four times that,
    /// and a quarter of a block before.
    ///
    /// Receive into its spare capacity; never make it grow.
    pub fn writable(&mut self) -> &mut BytesMut {
        let wanted = (16 << 10).min(self.current_len / 4).max(1);
        self.with_room(wanted)
    }

    /// Gives the block up for a small one, because little will come from now on: a player's
    /// acknowledgements. If more comes, blocks grow again. What was received has to be taken before.
    pub fn rest(&mut self) {
        assert!(self.current.is_empty(), "what was received and not taken would be lost");
        (self.current, self.current_len, self.most_taken) = (BytesMut::new(), 0, 0);
        self.next_len = REST_LEN.min(self.limits.block_len);
        self.tell();
    }

    fn with_room(&mut self, len: usize) -> &mut BytesMut {
        if self.room() < len {
            assert!(self.current.is_empty(), "take what was received before asking for more room");
            self.replace_current();
            self.tell();
        }
        &mut self.current
    }

    /// Room left in the current block, in bytes.
    pub fn room(&self) -> usize {
        self.current.capacity() - self.current.len()
    }

    /// Copies as much of `bytes` as the current block has room for, at least one byte. Says how
    /// much. When there is no [`room`](Self::room), take what is in the block first.
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let block = self.with_room(1);
        let take = bytes.len().min(block.capacity() - block.len());
        block.extend_from_slice(&bytes[..take]);
        take
    }

    /// Takes what was received since the last call. The slices of it pin their block.
    pub fn take_received(&mut self) -> Bytes {
        self.most_taken = self.most_taken.max(self.current.len());
        self.current.split().freeze()
    }

    /// What the pool holds now and what it did so far. Looks at every block, so it is for whoever
    /// watches, not for each tag.
    ///
    /// The current block starts over if it happens to be free: there is no other way to ask.
    pub fn counters(&mut self) -> BlockCounters {
        let held = self.held();
        let pinned = self.waiting.iter().filter(|block| !block.end.is_unique());
        let pinned_len: usize = pinned.map(|block| block.len).sum();
        // A block with bytes in it is in use, whoever else has slices of it.
        let is_free = self.current.is_empty() && self.current.try_reclaim(self.current_len);
        BlockCounters {
            pinned_bytes: pinned_len + if is_free { 0 } else { self.current_len },
            ..held
        }
    }

    fn held(&self) -> BlockCounters {
        BlockCounters {
            held_blocks: self.waiting.len() + usize::from(self.current_len > 0),
            held_bytes: self.waiting_len + self.current_len,
            pinned_bytes: self.pinned_len,
            ..self.counters
        }
    }

    fn tell(&mut self) {
        let Some(totals) = &self.totals else { return };
        let held = self.held();
        totals.change(&self.told, &held);
        self.told = held;
    }

    fn replace_current(&mut self) {
        self.adapt();
        // Nobody reads from it any more: start over where it began.
        if self.current_len == self.next_len && self.current.try_reclaim(self.current_len) {
            self.counters.reclaimed += 1;
            return;
        }
        let full = std::mem::take(&mut self.current);
        self.wait_for(Waiting { end: full.freeze(), len: self.current_len });
        self.current = self.reclaim().unwrap_or_else(|| {
            self.counters.allocated += 1;
            BytesMut::with_capacity(self.next_len)
        });
        self.current_len = self.next_len;
    }

    /// How long the next block is, by what was taken of the one that is used up.
    fn adapt(&mut self) {
        let BlockLimits { first_block_len, block_len, .. } = self.limits;
        let most_taken = std::mem::take(&mut self.most_taken);
        if most_taken == 0 {
            return;
        }
        self.next_len = match self.current_len {
            len if most_taken >= len.div_ceil(2) => (len * 4).min(block_len),
            len if most_taken < len / 64 && len > first_block_len => (len / 4).max(first_block_len),
            len => len,
        };
    }

    /// How long it is counts from when [`reclaim`](Self::reclaim) has looked at all that wait.
    fn wait_for(&mut self, full: Waiting) {
        if full.len == 0 {
            return;
        }
        let BlockLimits { block_len, waiting_blocks_max, .. } = self.limits;
        if self.waiting_len + full.len > waiting_blocks_max.saturating_mul(block_len) {
            self.counters.past_bound += 1;
            return;
        }
        self.waiting.push_back(full);
    }

    /// A block as long as is needed whose slices are all gone. Beyond it, as many are kept as are
    /// still in use; the rest is freed, so that memory follows the stream down as well as up.
    fn reclaim(&mut self) -> Option<BytesMut> {
        let len = self.next_len;
        let (mut found, mut free, mut pinned) = (None, 0, 0);
        (self.waiting_len, self.pinned_len) = (0, 0);
        self.waiting.retain_mut(|block| {
            let is_pinned = !block.end.is_unique();
            if is_pinned {
                pinned += 1;
                self.pinned_len += block.len;
            } else if block.len != len {
                return false;
            } else if found.is_none() {
                found = Some(std::mem::take(&mut block.end));
                return false;
            } else {
                free += 1;
            }
            let is_kept = is_pinned || free <= pinned + 1;
            self.waiting_len += if is_kept { block.len } else { 0 };
            is_kept
        });
        let mut block = found?.try_into_mut().expect("it was the last slice, and it is ours");
        assert!(block.try_reclaim(len), "the last slice has the whole block");
        self.counters.reclaimed += 1;
        Some(block)
    }
}

impl Drop for BlockPool {
    fn drop(&mut self) {
        if let Some(totals) = &self.totals {
            let nothing =
                BlockCounters { held_blocks: 0, held_bytes: 0, pinned_bytes: 0, ..self.told };
            totals.change(&self.told, &nothing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BufMut;

    fn limits() -> BlockLimits {
        BlockLimits { first_block_len: 1 << 10, block_len: 64 << 10, waiting_blocks_max: 8 }
    }

    fn receive(pool: &mut BlockPool, n: usize) -> Bytes {
        let block = pool.writable();
        let n = n.min(block.capacity() - block.len());
        block.put_bytes(7, n);
        pool.take_received()
    }

    #[test]
    fn a_dropped_stream_uses_the_same_blocks_for_ever() {
        let mut pool = BlockPool::new(limits());
        for _ in 0..10_000 {
            drop(receive(&mut pool, 9_000));
        }
        assert!(pool.counters().allocated <= 4, "{:?}", pool.counters());
        assert_eq!(pool.counters().held_blocks, 1);
    }

    #[test]
    fn a_connection_that_says_little_keeps_a_small_block() {
        let mut pool = BlockPool::new(limits());
        drop(receive(&mut pool, 64 << 10));
        pool.rest();
        for _ in 0..10_000 {
            drop(receive(&mut pool, 16));
        }
        assert_eq!(pool.counters().held_bytes, REST_LEN);
        // And one that says more than that has larger ones again.
        for _ in 0..10 {
            drop(receive(&mut pool, 64 << 10));
        }
        assert_eq!(pool.counters().held_bytes, limits().block_len);
    }

    #[test]
    fn a_ring_of_slices_settles_on_the_blocks_it_pins() {
        let mut pool = BlockPool::new(limits());
        let mut ring = VecDeque::new();
        for _ in 0..10_000 {
            ring.push_back(receive(&mut pool, 5_000));
            if ring.len() > 40 {
                ring.pop_front();
            }
        }
        let counters = pool.counters();
        assert!(counters.allocated <= 20, "{counters:?}");
        assert_eq!(counters.past_bound, 0);
        assert!(counters.held_bytes < 300_000, "to keep 200,000: {counters:?}");
    }

    #[test]
    fn blocks_are_as_long_as_what_is_taken_at_once_asks_for() {
        let mut pool = BlockPool::new(limits());
        let mut settled = |n: usize| {
            (0..1_000).for_each(|_| drop(receive(&mut pool, n)));
            let allocated = pool.counters().allocated;
            (0..1_000).for_each(|_| drop(receive(&mut pool, n)));
            assert_eq!(pool.counters().allocated, allocated, "takes of {n}");
            pool.counters().held_bytes >> 10
        };
        // Up at half a block, down below a 64th.
        assert_eq!(
            [100, 600, 3_000, 1_100, 9_000, 1_100].map(&mut settled),
            [1, 4, 16, 16, 64, 64]
        );
        assert_eq!([1_000, 250, 50, 8].map(&mut settled), [16, 4, 1, 1]);
    }

    #[test]
    fn blocks_of_another_length_go_when_their_slices_have_gone() {
        let totals = Arc::new(BlockTotals::default());
        let mut pool = BlockPool::counted(limits(), totals.clone());
        let mut held: Vec<_> = (0..40).map(|_| receive(&mut pool, 3_000)).collect();
        held.extend((0..4).map(|_| receive(&mut pool, 60_000)));
        // Ten of 16 KiB among them, and the current one, which nobody has asked yet.
        let (told, pinned) = (totals.counters().pinned_bytes, pool.counters().pinned_bytes);
        assert_eq!(told + limits().block_len, pinned, "{:?}", pool.counters());
        assert!(pinned > 10 * (16 << 10), "{:?}", pool.counters());
        drop(held);
        let mut last = receive(&mut pool, 60_000);
        for _ in 0..20 {
            last = receive(&mut pool, 60_000);
        }
        let counters = pool.counters();
        assert_eq!(counters.held_bytes % limits().block_len, 0, "{counters:?}");
        assert!(counters.held_blocks <= 4, "{counters:?}, {} bytes", last.len());
    }

    #[test]
    fn blocks_past_the_bound_are_counted_and_freed() {
        let mut pool = BlockPool::new(limits());
        let held: Vec<_> = (0..200).map(|_| receive(&mut pool, 16 << 10)).collect();
        let counters = pool.counters();
        assert!(counters.past_bound > 0, "{counters:?}");
        assert!(counters.held_bytes <= 9 * limits().block_len, "{counters:?}");
        drop(held);
    }

    #[test]
    fn a_read_has_16_kib_of_room_once_blocks_have_grown() {
        let mut pool = BlockPool::new(limits());
        (0..20).for_each(|_| drop(receive(&mut pool, 16 << 10)));
        for n in 0..1_000 {
            pool.writable();
            assert!(pool.room() >= 16 << 10, "read {n}: {} bytes", pool.room());
            drop(receive(&mut pool, 9_000));
        }
    }

    #[test]
    fn memory_follows_the_stream_down_as_well_as_up() {
        let mut pool = BlockPool::new(limits());
        let held: Vec<_> = (0..40).map(|_| receive(&mut pool, 16 << 10)).collect();
        assert!(pool.counters().pinned_bytes >= 8 * limits().block_len, "{:?}", pool.counters());
        drop(held);
        let mut last = receive(&mut pool, 16 << 10);
        for _ in 0..20 {
            last = receive(&mut pool, 16 << 10);
        }
        let counters = pool.counters();
        assert!(counters.held_blocks <= 4, "{counters:?}");
        assert_eq!(counters.pinned_bytes, limits().block_len, "{} bytes", last.len());
    }

    #[test]
    fn a_slice_of_one_byte_pins_its_block_until_it_is_dropped() {
        let mut pool = BlockPool::new(limits());
        let pinned = |pool: &mut BlockPool| pool.counters().pinned_bytes;
        assert_eq!(pinned(&mut pool), 0, "nothing is allocated yet");
        // The small first blocks, of 1, 4 and 16 KiB, are not kept.
        for _ in 0..3 {
            receive(&mut pool, usize::MAX);
        }
        let slices: Vec<_> = (0..3).map(|_| receive(&mut pool, usize::MAX).split_to(1)).collect();
        assert_eq!(pool.counters().held_blocks, 3);
        for (index, slice) in slices.into_iter().enumerate() {
            assert_eq!(pinned(&mut pool), (3 - index) * limits().block_len);
            assert_eq!(slice.len(), 1);
        }
        let counters = pool.counters();
        assert_eq!((counters.held_blocks, counters.pinned_bytes), (3, 0), "{counters:?}");
    }

    #[test]
    fn a_clone_pins_as_well() {
        let mut pool = BlockPool::new(limits());
        let slice = receive(&mut pool, 100);
        let clone = slice.clone();
        drop(slice);
        assert_eq!(pool.counters().pinned_bytes, limits().first_block_len);
        drop(clone);
        assert_eq!(pool.counters().pinned_bytes, 0);
    }

    #[test]
    fn what_is_received_and_not_taken_is_pinned() {
        let mut pool = BlockPool::new(limits());
        pool.writable().put_bytes(7, 100);
        assert_eq!(pool.counters().pinned_bytes, limits().first_block_len);
        assert_eq!(pool.take_received().len(), 100);
        assert_eq!(pool.counters().pinned_bytes, 0);
    }

    #[test]
    fn totals_are_the_sums_of_their_pools() {
        let totals = Arc::new(BlockTotals::default());
        let mut pools = [(); 2].map(|()| BlockPool::counted(limits(), totals.clone()));
        let held: Vec<_> = pools
            .iter_mut()
            .flat_map(|pool| (0..200).map(|_| receive(pool, 16 << 10)).collect::<Vec<_>>())
            .collect();
        let sum = |of: fn(BlockCounters) -> u64, pools: &mut [BlockPool]| {
            pools.iter_mut().map(|pool| of(pool.counters())).sum::<u64>()
        };
        let told = totals.counters();
        assert_eq!(told.held_bytes as u64, sum(|c| c.held_bytes as u64, &mut pools));
        assert_eq!(told.allocated, sum(|c| c.allocated, &mut pools));
        assert_eq!(told.past_bound, sum(|c| c.past_bound, &mut pools));
        assert!(told.past_bound > 0 && told.pinned_bytes >= 8 * limits().block_len, "{told:?}");
        let most = 8 * limits().block_len as u64..=9 * limits().block_len as u64;
        assert!(most.contains(&totals.pool_bytes_max()), "{}", totals.pool_bytes_max());
        drop(held);
        drop(pools);
        let told = totals.counters();
        assert_eq!((told.held_blocks, told.held_bytes, told.pinned_bytes), (0, 0, 0), "{told:?}");
    }

    #[test]
    fn one_old_slice_does_not_stop_the_others_from_returning() {
        let mut pool = BlockPool::new(limits());
        for _ in 0..20 {
            drop(receive(&mut pool, 16 << 10));
        }
        let pinned = receive(&mut pool, 100);
        for _ in 0..10_000 {
            drop(receive(&mut pool, 9_000));
        }
        assert!(pool.counters().allocated <= 6, "{:?}", pool.counters());
        assert!(pinned.iter().all(|&byte| byte == 7));
    }
}
