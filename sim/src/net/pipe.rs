//! Pipe: one direction of a connection: written, sent, queued, served, on its way, arrived, read.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;

use super::physics::Physics;
use crate::landmark::Landmarks;
use crate::link::{Capacity, Path};
use crate::random::Rng;
use crate::time::SimTime;

/// A piece of the stream; without bytes it is its end.
#[derive(Debug)]
pub(super) struct Piece {
    /// Where it starts in the stream.
    pub(super) offset: u64,
    pub(super) bytes: Bytes,
}

/// Pieces in order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pieces: VecDeque<Piece>,
    pub(super) len: usize,
}

impl Queue {
    pub(super) fn push(&mut self, piece: Piece) {
        self.len += piece.bytes.len();
        self.pieces.push_back(piece);
    }

    /// The first piece, or at most `max` bytes of it. The end has no bytes and always fits.
    pub(super) fn pop(&mut self, max: usize) -> Option<Piece> {
        let first = self.pieces.front_mut()?;
        if first.bytes.len() > max {
            if max == 0 {
                return None;
            }
            self.len -= max;
            let piece = Piece { offset: first.offset, bytes: first.bytes.split_to(max) };
            first.offset += max as u64;
            return Some(piece);
        }
        self.len -= first.bytes.len();
        self.pieces.pop_front()
    }

    pub(super) fn front(&self) -> Option<&Piece> {
        self.pieces.front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// A piece on its way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) due: SimTime,
    pub(super) piece: Piece,
}

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) path: Path,
    pub(super) window: u64,
    random: Rng,

    /// Written, not sent.
    pub(super) unsent: Queue,
    /// What its socket takes before it says "later".
    send_buffer: usize,
    unsent_max: usize,
    written: u64,
    /// Its end was written.
    pub(super) is_finished: bool,
    pub(super) writer: Option<Waker>,

    /// It is in its host's NIC's turn.
    pub(super) in_nic: bool,
    /// In front of the bottleneck.
    pub(super) queue: Queue,
    /// What is being served, and the service it belongs to: a change of the link begins it anew.
    pub(super) serving: Option<Piece>,
    pub(super) service: u64,
    /// When what is served has passed, and the bits that could pass besides by then: they are the
    /// next one's, if it follows at once.
    spare: (SimTime, f64),
    /// The queue was too short for a burst, and has not been empty since.
    has_overflowed: bool,
    /// Nothing is sent before: a retransmission is waited for.
    pub(super) stalled_until: SimTime,

    pub(super) flights: VecDeque<Flight>,
    last_due: SimTime,
    jitter: f64,
    losses_in_a_row: u32,
    /// Since when nothing passes.
    pub(super) cut_since: Option<SimTime>,
    /// A box on the way has forgotten the connection: nothing arrives any more.
    pub(super) is_forgotten: bool,
    /// What was sent must be acknowledged within this.
    pub(super) unacknowledged_max: Option<Duration>,
    /// Since when something has not been, as far as anybody waits for it.
    pub(super) unheard_since: Option<SimTime>,

    pub(super) arrived: Queue,
    /// Sent and not read.
    pub(super) outstanding: u64,
    pub(super) reader: Option<Waker>,
    /// What must have come for the reader to be woken, if it is not the end.
    pub(super) receive_len_min: usize,
    pub(super) landmarks: Landmarks,

    pub(super) physics: Physics,
}

impl Pipe {
    pub(super) fn new(path: Path, window: u64, send_buffer: usize, random: Rng) -> Self {
        Self {
            path,
            window,
            random,
            unsent: Queue::default(),
            send_buffer,
            unsent_max: send_buffer,
            unacknowledged_max: None,
            unheard_since: None,
            written: 0,
            is_finished: false,
            writer: None,
            in_nic: false,
            queue: Queue::default(),
            serving: None,
            service: 0,
            spare: (SimTime::ZERO, 0.0),
            has_overflowed: false,
            stalled_until: SimTime::ZERO,
            flights: VecDeque::new(),
            last_due: SimTime::ZERO,
            jitter: 0.0,
            losses_in_a_row: 0,
            cut_since: None,
            is_forgotten: false,
            arrived: Queue::default(),
            outstanding: 0,
            reader: None,
            receive_len_min: 1,
            landmarks: Landmarks::default(),
            physics: Physics::default(),
        }
    }

    /// Whether the reader wants to know of what has come: enough, the end, or all that may come before
    /// he has read it.
    pub(super) fn is_worth_waking(&self) -> bool {
        let is_enough = self.arrived.len >= self.receive_len_min;
        let is_over = self.arrived.pieces.back().is_some_and(|piece| piece.bytes.is_empty());
        is_enough || is_over || !self.arrived.is_empty() && self.outstanding >= self.window
    }

    /// Bytes that may be written now.
    pub(super) fn room(&self) -> usize {
        match self.unsent.len >= self.unsent_max {
            true => 0,
            false => self.send_buffer.saturating_sub(self.unsent.len),
        }
    }

    /// From now on a writer waits while so many bytes were not sent; never more than the system
    /// takes.
    pub(super) fn set_unsent_max(&mut self, len: usize) {
        self.unsent_max = len.min(self.send_buffer);
    }

    /// Whether a writer that waits is told to go on: a socket does not for every packet.
    pub(super) fn has_room_again(&self) -> bool {
        self.unsent.len * 2 <= self.unsent_max
    }

    pub(super) fn write(&mut self, bytes: Bytes) {
        let offset = self.written;
        self.written += bytes.len() as u64;
        self.unsent.push(Piece { offset, bytes });
    }

    pub(super) fn finish(&mut self) {
        if !std::mem::replace(&mut self.is_finished, true) {
            self.write(Bytes::new());
        }
    }

    /// Bytes that may enter the path now; `None` if there is nothing to send or it may not be.
    pub(super) fn sendable(&self, now: SimTime) -> Option<usize> {
        let first = self.unsent.front()?;
        if now < self.stalled_until || self.cut_since.is_some() {
            return None;
        }
        if first.bytes.is_empty() {
            return Some(0);
        }
        let window = self.window.saturating_sub(self.outstanding);
        let queue = match self.path.capacity {
            Capacity::Unlimited => u64::MAX,
            _ => self.path.queue.max(1460).saturating_sub(self.queue.len as u64),
        };
        let len = (first.bytes.len() as u64).min(window).min(queue);
        (len > 0).then_some(len as usize)
    }

    /// Moves up to `max` bytes into the path.
    pub(super) fn send(&mut self, now: SimTime, max: usize) -> Result<(), String> {
        let Some(piece) = self.sendable(now).and_then(|len| self.unsent.pop(len.min(max))) else {
            return Ok(());
        };
        self.outstanding += piece.bytes.len() as u64;
        self.physics.enter(piece.bytes.len());
        let is_unlimited = self.path.capacity == Capacity::Unlimited;
        if is_unlimited && self.queue.is_empty() && self.serving.is_none() {
            return self.fly(now, piece);
        }
        self.queue.push(piece);
        let is_full = !is_unlimited && self.queue.len as u64 >= self.path.queue.max(1460);
        if is_full && !self.unsent.is_empty() && !self.has_overflowed {
            // What did not fit is sent again, a round trip later.
            self.has_overflowed = true;
            self.stalled_until = now + self.path.delay * 2;
        }
        Ok(())
    }

    /// Begins to serve what is first in the queue. Says when it will have passed.
    pub(super) fn begin_service(&mut self, now: SimTime) -> Option<SimTime> {
        if self.serving.is_some() || self.cut_since.is_some() {
            return None;
        }
        let Some(piece) = self.queue.pop(self.grain(now)) else {
            self.has_overflowed = false;
            return None;
        };
        self.service += 1;
        let passed = self.pass_time(now, piece.bytes.len());
        self.serving = Some(piece);
        Some(passed)
    }

    /// The link has changed: what is being served is served anew.
    pub(super) fn restart_service(&mut self, now: SimTime) -> Option<SimTime> {
        self.physics.forget_debt(now);
        self.spare.1 = 0.0;
        let len = self.serving.as_ref()?.bytes.len();
        self.service += 1;
        Some(self.pass_time(now, len))
    }

    /// What was being served has passed the bottleneck.
    pub(super) fn end_service(&mut self, now: SimTime) -> Result<(), String> {
        let Some(piece) = self.serving.take() else { return Ok(()) };
        self.fly(now, piece)
    }

    /// Bytes served at once: five milliseconds of the rate.
    fn grain(&self, now: SimTime) -> usize {
        let bytes = self.path.capacity.rate_at(now) / 8 / 200;
        bytes.clamp(1460, 64 << 10) as usize
    }

    fn pass_time(&mut self, now: SimTime, len: usize) -> SimTime {
        let (at, bits) = self.spare;
        let spare = if at == now { bits } else { 0.0 };
        self.spare = self.path.capacity.pass(now, (len as f64 * 8.0 - spare).max(0.0));
        self.spare.0
    }

    fn fly(&mut self, now: SimTime, piece: Piece) -> Result<(), String> {
        let passed = self.physics.pass(now, piece.bytes.len(), &self.path.capacity);
        let due =
            now + self.path.delay + self.next_jitter() + self.next_stall(now, piece.bytes.len());
        let burst = self.path.burst.as_micros() as u64;
        let due = match burst {
            0 => due,
            burst => SimTime::from_micros(due.micros().div_ceil(burst) * burst),
        };
        // Order is kept: what comes behind a late piece is late, too.
        let due = due.max(self.last_due);
        self.last_due = due;
        self.flights.push_back(Flight { due, piece });
        passed
    }

    fn next_jitter(&mut self) -> Duration {
        if self.path.jitter.is_zero() {
            return Duration::ZERO;
        }
        // Each draw moves a third of the way towards a new one: delays of neighbours are alike.
        self.jitter += (self.random.f64() - self.jitter) / 3.0;
        self.path.jitter.mul_f64(self.jitter.clamp(0.0, 1.0))
    }

    fn next_stall(&mut self, now: SimTime, len: usize) -> Duration {
        let loss = self.path.loss;
        let period = (loss.bad + loss.good).as_micros() as u64;
        if loss.share <= 0.0 || period == 0 || len == 0 {
            return Duration::ZERO;
        }
        let is_bad = now.micros() % period < loss.bad.as_micros() as u64;
        let packets = len.div_ceil(1460) as i32;
        let lost = is_bad && self.random.f64() < 1.0 - (1.0 - loss.share).powi(packets);
        if !lost {
            self.losses_in_a_row = 0;
            return Duration::ZERO;
        }
        let stall = Duration::from_millis(200) * 2u32.pow(self.losses_in_a_row.min(6));
        self.losses_in_a_row += 1;
        stall
    }

    /// Nothing passes from now on.
    pub(super) fn cut(&mut self, now: SimTime) {
        self.cut_since.get_or_insert(now);
    }

    /// Things pass again; what was on its way comes with the first retransmission after now, whose
    /// times grow twofold from 200 ms on.
    pub(super) fn heal(&mut self, now: SimTime) {
        let Some(since) = self.cut_since.take() else { return };
        if self.outstanding == 0 && self.unsent.is_empty() {
            return;
        }
        let mut resume = since;
        let mut timeout = Duration::from_millis(200);
        while resume < now {
            resume += timeout;
            timeout *= 2;
        }
        self.stalled_until = self.stalled_until.max(resume);
        self.last_due = self.last_due.max(resume);
        self.flights.iter_mut().for_each(|flight| flight.due = flight.due.max(resume));
        self.physics.forget_debt(now);
    }

    /// What has reached the other end by now.
    pub(super) fn land(&mut self, now: SimTime) -> Option<Piece> {
        if self.cut_since.is_some() || self.is_forgotten {
            return None;
        }
        let is_due = self.flights.front().is_some_and(|flight| flight.due <= now);
        is_due.then(|| self.flights.pop_front()).flatten().map(|flight| flight.piece)
    }

    /// Bytes that one read may take.
    pub(super) fn read_max(&mut self, room: usize) -> usize {
        match self.path.segment {
            Some(max) => room.min(self.random.u64(1..=max.max(1)) as usize),
            None => room,
        }
    }

    /// Forgets everything: the connection is gone.
    pub(super) fn clear(&mut self) {
        self.unsent.clear();
        self.queue.clear();
        self.serving = None;
        self.service += 1;
        self.flights.clear();
    }
}
