//! Viewer: takes a topic as bytes of one protocol, mostly straight from its wire log.

use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::cursor::{Cursor, HeadersDue, Step};
use super::given::GivenTag;
use super::topic::{SharedTopic, State};
use super::{Counters, Hub, Lag, Receive};
use crate::flv::{Tag, TagKind, VideoCodec, VideoHeader};
use crate::time::Timestamp;
use crate::wire_log::{Encoder, Protocol};

/// Takes bytes. Dropping it leaves the topic.
///
/// The loop of whoever has the socket: [`poll_batch`](Self::poll_batch), write some of the batch,
/// say how much with [`advance`](Self::advance). Between two tags, when
/// [`is_between_tags`](Self::is_between_tags), other bytes may be written too.
///
/// While it takes everything, it is a position in the log and a write is a few slices of it. With
/// audio or video turned off, or while it waits for a picture, its tags are encoded one by one.
pub struct Viewer {
    hub: Hub,
    topic: SharedTopic,
    protocol: Protocol,
    stream_id: u32,
    slot: usize,
    cursor: Cursor,
    /// Where in the log: it began at a place to start and has taken everything since.
    in_log: bool,
    /// For what is not in the log; made when it is needed.
    encoder: Option<Box<Encoder>>,
    /// The rest of a tag whose beginning was written, and what remains to be counted for it.
    rest: SmallVec<[Bytes; 2]>,
    rest_tag: Option<GivenTag>,
    /// Whether some of what the rest is of was written, so that nothing may come between.
    rest_is_begun: bool,
    batch: Batch,
    /// The batch was given out, and nobody has said yet how much of it is written.
    is_outstanding: bool,
    is_new: bool,
    /// The newest tag that was written and not looked at since.
    last_written: Option<u64>,
    /// The end of the stream was told in its own terms.
    has_ended: bool,
}

/// Bytes to write, as slices.
#[derive(Default)]
pub struct Batch {
    slices: SmallVec<[Bytes; 4]>,
    /// Bytes at the front that are headers for this viewer, not tags of the stream.
    headers_len: usize,
    /// Lent by the topic; empty while it waits.
    tags: Vec<GivenTag>,
    lags: SmallVec<[Lag; 1]>,
}

impl Batch {
    /// The slices to write, in order.
    pub fn slices(&self) -> &[Bytes] {
        &self.slices
    }

    /// Bytes in all slices.
    pub fn len(&self) -> usize {
        self.slices.iter().map(Bytes::len).sum()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// What was lost before these bytes.
    pub fn lags(&self) -> &[Lag] {
        &self.lags
    }

    fn clear(&mut self) {
        self.slices.clear();
        self.headers_len = 0;
        self.tags.clear();
        self.lags.clear();
    }
}

/// What a viewer's next bytes are.
pub enum Next<'a> {
    /// Write these.
    Batch(&'a Batch),
    /// The stream ended, and everything was written.
    End,
    /// It fell behind further than its policy allows.
    Disconnected,
}

impl Viewer {
    pub(super) fn new(
        hub: Hub,
        topic: SharedTopic,
        protocol: Protocol,
        stream_id: u32,
        slot: usize,
        cursor: Cursor,
    ) -> Self {
        Self {
            hub,
            topic,
            protocol,
            stream_id,
            slot,
            cursor,
            in_log: false,
            encoder: None,
            rest: SmallVec::new(),
            rest_tag: None,
            rest_is_begun: false,
            batch: Batch::default(),
            is_outstanding: false,
            is_new: true,
            last_written: None,
            has_ended: false,
        }
    }

    /// The next bytes, about `len_max` of them; if there are none, the task is woken at the
    /// publisher's next flush.
    pub fn poll_batch(&mut self, cx: &mut Context<'_>, len_max: usize) -> Poll<Next<'_>> {
        if self.is_outstanding {
            // Nothing of the last batch was written, and it is not the same if it is made again.
            self.advance(0);
        }
        self.batch.clear();
        if !self.rest.is_empty() {
            self.batch.slices.extend(self.rest.iter().cloned());
            if self.rest_is_begun || self.rest_tag.is_some() {
                self.is_outstanding = true;
                return Poll::Ready(Next::Batch(&self.batch));
            }
            // Headers of which nothing is written: what follows them goes with them.
            self.batch.headers_len = self.batch.len();
            self.rest.clear();
        }
        let topic = self.topic.clone();
        let mut state = topic.lock();
        if let Some(number) = self.last_written.take() {
            self.cursor.has_seen(&state.ring, number);
        }
        let end = loop {
            match self.cursor.step(&state) {
                Step::Headers(due) => self.encode_headers(&due),
                Step::Lag(lag) => {
                    self.in_log = false;
                    self.batch.lags.push(lag);
                }
                Step::Tag(number) => {
                    if self.batch.tags.capacity() == 0 {
                        self.batch.tags = state.given.lend();
                    }
                    self.take_tags(&state, number, len_max);
                    break None;
                }
                Step::Pending => break None,
                Step::End if self.protocol == Protocol::Flv && !self.has_ended => {
                    self.has_ended = true;
                    self.encode_end_of_sequence(&state);
                }
                Step::End => break Some(Next::End),
                Step::Disconnected => break Some(Next::Disconnected),
            }
        };
        let wait = self.batch.is_empty() && end.is_none();
        if wait {
            state.given.give_back(std::mem::take(&mut self.batch.tags));
        }
        state.note(self.slot, &self.cursor, wait.then_some(cx.waker()));
        drop(state);
        if !self.batch.is_empty() {
            // What ends the stream is found again once this is written.
            self.is_outstanding = true;
            return Poll::Ready(Next::Batch(&self.batch));
        }
        end.map_or(Poll::Pending, Poll::Ready)
    }

    /// `written` bytes of the last batch are written; the others will come again.
    pub fn advance(&mut self, written: usize) {
        self.is_outstanding = false;
        let mut left = written;
        let headers_len = std::mem::take(&mut self.batch.headers_len);
        let mut slices = std::mem::take(&mut self.batch.slices);
        slices.retain(|slice| {
            let take = left.min(slice.len());
            left -= take;
            let _written = slice.split_to(take);
            !slice.is_empty()
        });
        if !self.rest.is_empty() {
            self.rest_is_begun |= written > 0;
            self.rest = slices.into_iter().collect();
            if self.rest.is_empty() {
                self.rest_tag.take().into_iter().for_each(|tag| self.count(&[tag]));
            }
            return;
        }
        self.rest_is_begun = written > 0;
        if written < headers_len {
            self.keep_rest(slices, headers_len - written, None);
            self.forget_taken();
            return;
        }
        // Kept for its capacity.
        let mut tags = std::mem::take(&mut self.batch.tags);
        let whole = tags.partition_point(|tag| tag.end <= written);
        self.count(&tags[..whole]);
        if let Some(tag) = tags.get(whole) {
            let start = whole.checked_sub(1).map_or(headers_len, |last| tags[last].end);
            if written > start {
                self.keep_rest(slices, tag.end - written, Some(*tag));
            }
            self.forget_taken();
        }
        tags.clear();
        self.batch.tags = tags;
    }

    /// Only the log can give again what was not written; tags encoded for this viewer alone are
    /// one to a batch, and so either begun or not.
    fn forget_taken(&mut self) {
        if !self.in_log {
            self.encoder.iter_mut().for_each(|encoder| encoder.reset());
        }
    }

    fn keep_rest(
        &mut self,
        slices: impl IntoIterator<Item = Bytes>,
        len: usize,
        tag: Option<GivenTag>,
    ) {
        let mut left = len;
        self.rest_tag = tag;
        self.rest = slices
            .into_iter()
            .map_while(|mut slice| {
                slice.truncate(left);
                left -= slice.len();
                (!slice.is_empty()).then_some(slice)
            })
            .collect();
    }

    fn count(&mut self, tags: &[GivenTag]) {
        for tag in tags {
            match tag.is_orphan {
                true => self.cursor.skipped_orphan(u64::from(tag.payload_len)),
                false => {
                    self.last_written = Some(self.cursor.number());
                    self.cursor.given(1, u64::from(tag.payload_len));
                }
            }
        }
    }

    fn encode_headers(&mut self, due: &HeadersDue) {
        self.in_log = false;
        // What follows counts its time from these.
        self.encoder = None;
        let mut out = BytesMut::new();
        let mut encoder = Encoder::new(self.protocol, self.stream_id);
        let is_new = std::mem::take(&mut self.is_new);
        for tag in due.headers.tags() {
            // The first tag of an FLV file has time 0 (FLV E.4.1), and ffmpeg takes metadata at any
            // other time for a subtitle.
            let is_first =
                is_new && (self.protocol == Protocol::Flv || tag.kind == TagKind::Script);
            let timestamp = if is_first { Timestamp::ZERO } else { due.timestamp };
            encoder.encode_at(tag, timestamp, &mut out);
        }
        self.batch.headers_len += out.len();
        self.batch.slices.extend((!out.is_empty()).then(|| out.freeze()));
    }

    /// FLV E.4.3.1: a stream of pictures ends with an end of sequence. OBS sends none.
    fn encode_end_of_sequence(&mut self, state: &State) {
        let last =
            state.ring.back_from(state.end_number()).find(|entry| entry.tag.kind == TagKind::Video);
        let Some(last) = last else { return };
        let Ok(header) = VideoHeader::parse(&last.tag.payload) else { return };
        let payload = header
            .codec
            .filter(|_| !header.is_end_of_sequence())
            .and_then(VideoCodec::end_of_sequence);
        if let Some(payload) = payload {
            let tag = Tag { kind: TagKind::Video, timestamp: last.tag.timestamp, payload };
            let mut out = BytesMut::new();
            Encoder::new(self.protocol, self.stream_id).encode(&tag, &mut out);
            self.batch.headers_len += out.len();
            self.batch.slices.push(out.freeze());
        }
    }

    fn take_tags(&mut self, state: &State, number: u64, len_max: usize) {
        let starts_here = state.ring.entry_point_at(number).is_some();
        let own_stream_id =
            self.protocol == Protocol::Rtmp && self.stream_id != Encoder::RTMP_STREAM_ID;
        self.in_log = (self.in_log || starts_here)
            && self.cursor.takes_all()
            // What follows a tag in the log counts its time from that tag.
            && !self.cursor.has_skipped()
            && !own_stream_id
            && !self.cursor.is_pressed(&state.ring);
        match state.log(self.protocol).filter(|log| self.in_log && log.first() <= number) {
            Some(log) => {
                self.encoder = None;
                let (start, limit) = (log.start_of(number), len_max as u64);
                let mut end = start;
                for (tag_end, entry) in log.ends_from(number).zip(state.ring.from(number)) {
                    if tag_end - start > limit && end > start {
                        break;
                    }
                    self.batch.tags.push(GivenTag {
                        end: self.batch.headers_len + (tag_end - start) as usize,
                        payload_len: entry.tag.payload.len() as u32,
                        is_orphan: tag_end == end,
                    });
                    end = tag_end;
                }
                self.batch.slices.extend(log.slices(start, end));
            }
            None => {
                self.in_log = false;
                let Some(entry) = state.ring.get(number) else { return };
                let mut out = BytesMut::new();
                let (protocol, stream_id) = (self.protocol, self.stream_id);
                let encoder =
                    self.encoder.get_or_insert_with(|| Box::new(Encoder::new(protocol, stream_id)));
                encoder.encode(&entry.tag, &mut out);
                let payload_len = entry.tag.payload.len() as u32;
                let end = self.batch.headers_len + out.len();
                self.batch.tags.push(GivenTag { end, payload_len, is_orphan: false });
                self.batch.slices.push(out.freeze());
            }
        }
    }

    /// The batch of the last [`poll_batch`](Self::poll_batch).
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// What has to be written before anything else if the viewer is dropped now: the rest of a tag.
    pub fn take_rest(&mut self) -> impl Iterator<Item = Bytes> + use<> {
        let is_begun = std::mem::take(&mut self.rest_is_begun);
        std::mem::take(&mut self.rest).into_iter().filter(move |_| is_begun)
    }

    /// Whether the last byte written was the last of a tag.
    pub fn is_between_tags(&self) -> bool {
        self.rest.is_empty() || !self.rest_is_begun
    }

    /// What kinds it wants from now on.
    pub fn set_receive(&mut self, receive: Receive) {
        self.cursor.set_receive(receive);
    }

    /// The account: published, delivered, lost, unsent.
    pub fn counters(&self) -> Counters {
        self.cursor.counters(&self.topic.lock().ring)
    }

    /// Which kinds of media the stream had so far: audio, video.
    pub fn has_audio_video(&self) -> (bool, bool) {
        let state = self.topic.lock();
        (state.gop.has_audio(), state.gop.has_video())
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.topic.lock().leave(self.slot);
        self.hub.forget_if_unused(self.topic.key());
    }
}
