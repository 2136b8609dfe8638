//! Tags: what an encoder sends and when, known before any byte of it is written.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::quirk::{self, Media, Quirks};
use super::source::Source;
use crate::capture::CaptureTag;
use crate::tag::{Kind, Role, role_and_codec};

/// A tag to be sent.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    /// Since the encoder may publish.
    pub(super) at: Duration,
    pub(super) tag: CaptureTag,
    /// The number of the GOP that it begins.
    pub(super) gop: Option<u32>,
    /// The stream is deleted and published again before it.
    pub(super) republish: bool,
}

/// The tags of an encoder in the order of sending, round by round if the capture repeats.
pub(super) struct Tags {
    source: Source,
    quirks: Quirks,
    repeats: bool,
    /// How often the encoder has begun before.
    take: u32,
    /// By time in microseconds, then by number.
    queue: BTreeMap<(u64, u64), Planned>,
    number: u64,
    rounds: u32,
    keyframes_seen: u32,
    inter_frames: u32,
    gops: u32,
    sounds: u32,
    sent: u32,
    /// Metadata and sequence headers as they are now.
    in_force: Vec<CaptureTag>,
    video_started: bool,
    converted: bool,
}

/// A tag of the source on its way to being planned.
struct Draft {
    at_ms: u64,
    index: u32,
    tag: CaptureTag,
    role: Role,
    gop: Option<u32>,
    /// The video's sequence header has been held back until here.
    needs_header: bool,
}

fn is_end_of_sequence(tag: &CaptureTag) -> bool {
    match tag.payload[..] {
        [first, 2, ..] if tag.kind == Kind::Video && first & 0x8F == 7 => true,
        [first, ..] => tag.kind == Kind::Video && first & 0x8F == 0x82,
        [] => false,
    }
}

impl Iterator for Tags {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        loop {
            // A later round may hold what is to be sent before this.
            let complete_to = match self.rounds {
                0 => 0,
                _ if !self.repeats => u64::MAX,
                rounds => (self.source.cycle() * rounds).as_micros() as u64,
            };
            match self.queue.first_entry() {
                Some(first) if first.key().0 < complete_to => return Some(first.remove()),
                None if complete_to == u64::MAX => return None,
                _ => self.plan_round(),
            }
        }
    }
}

impl Tags {
    pub(super) fn new(source: Source, quirks: Quirks, repeats: bool, take: u32) -> Self {
        Self {
            video_started: quirks.video_after == 0,
            source,
            quirks,
            repeats,
            take,
            queue: BTreeMap::new(),
            number: 0,
            rounds: 0,
            keyframes_seen: 0,
            inter_frames: 0,
            gops: 0,
            sounds: 0,
            sent: 0,
            in_force: Vec::new(),
            converted: false,
        }
    }

    fn plan_round(&mut self) {
        if self.rounds == 0 {
            self.plan_preamble();
        }
        let drafts = self.drafts();
        let mut changes = self.header_changes(&drafts).into_iter().peekable();
        for (index, draft) in drafts.into_iter().enumerate() {
            while let Some((_, version)) = changes.next_if(|(place, _)| *place <= index) {
                self.change_header(version, &draft);
            }
            self.plan(draft);
        }
        self.rounds += 1;
    }

    fn plan_preamble(&mut self) {
        for mut tag in self.source.preamble.clone() {
            if self.quirks.starts_at.is_some() {
                tag.timestamp_ms = self.source.first_ms;
            }
            let is_header = quirk::is_header(&tag);
            if is_header && self.quirks.no_headers {
                continue;
            }
            self.in_force.push(tag.clone());
            let late_ms = if is_header { self.quirks.headers_late } else { 0 };
            if is_header && tag.kind == Kind::Video && !self.video_started {
                continue;
            }
            tag.timestamp_ms = self.stamp(&tag, 0, 0).wrapping_add(late_ms);
            self.enqueue(u64::from(late_ms) * 1_000, tag, None, false);
        }
    }

    /// The round's tags as far as each is itself changed, kept or left out.
    fn drafts(&mut self) -> Vec<Draft> {
        let start_ms = u64::from(self.rounds) * self.source.cycle_ms;
        let mut drafts = Vec::with_capacity(self.source.media.len());
        for (due_ms, index, tag) in self.source.media.clone() {
            let at_ms = start_ms + due_ms;
            if self.repeats && is_end_of_sequence(&tag)
                || self.quirks.no_headers && quirk::is_header(&tag)
            {
                continue;
            }
            let (role, _) = role_and_codec(tag.kind, &tag.payload);
            let mut draft = Draft { at_ms, index, tag, role, gop: None, needs_header: false };
            if draft.tag.kind == Kind::Video && !self.starts_video(&mut draft) {
                continue;
            }
            self.change_frame_type(&mut draft);
            if !self.is_kept(draft.role) {
                continue;
            }
            if draft.role == Role::Keyframe {
                draft.gop = Some(self.gops);
                self.gops += 1;
            }
            drafts.push(draft);
        }
        drafts
    }

    /// Whether this video tag is sent: some encoders have pictures later than sound.
    fn starts_video(&mut self, draft: &mut Draft) -> bool {
        let is_late_enough = draft.at_ms >= u64::from(self.quirks.video_after);
        if !self.video_started && draft.role == Role::Keyframe && is_late_enough {
            self.video_started = true;
            draft.needs_header = true;
        }
        self.video_started
    }

    fn change_frame_type(&mut self, draft: &mut Draft) {
        let is_key = draft.role == Role::Keyframe;
        if is_key && let Some(every) = self.quirks.keyframe_every {
            let index = self.keyframes_seen;
            self.keyframes_seen += 1;
            // A multiple of 0 is 0 only.
            let stays = index.is_multiple_of(every);
            if !stays {
                quirk::set_frame_type(&mut draft.tag.payload, 2);
                draft.role = Role::Inter;
            }
        } else if draft.role.is_picture() && !is_key && self.quirks.all_keyframes {
            quirk::set_frame_type(&mut draft.tag.payload, 1);
            draft.role = Role::Keyframe;
        }
        if draft.role == Role::Inter
            && let Some(every) = self.quirks.disposable
        {
            self.inter_frames += 1;
            if self.inter_frames.is_multiple_of(every) {
                quirk::set_frame_type(&mut draft.tag.payload, 3);
                draft.role = Role::Disposable;
            }
        }
    }

    /// Whether a thin encoder sends it.
    fn is_kept(&mut self, role: Role) -> bool {
        let Some(every) = self.quirks.thin else { return true };
        self.sounds += u32::from(role == Role::Sound);
        match role {
            Role::Sound => self.sounds.is_multiple_of(every),
            role => role == Role::Keyframe || !role.is_picture(),
        }
    }

    /// Before which drafts the video's sequence header becomes which version. Offset 0 is directly
    /// before the keyframe, 1 directly behind it, -1 a tag before the one in front of it.
    fn header_changes(&self, drafts: &[Draft]) -> Vec<(usize, u32)> {
        let Some((every, offset)) = self.quirks.header_changes else { return Vec::new() };
        let keyframes = drafts.iter().enumerate().filter_map(|(place, draft)| {
            let gop = draft.gop.filter(|gop| *gop > 0 && gop % every == 0)?;
            let place = place.saturating_add_signed(offset as isize).min(drafts.len() - 1);
            Some((place, gop / every))
        });
        keyframes.collect()
    }

    fn change_header(&mut self, version: u32, before: &Draft) {
        self.replace_video_header(before, |payload| quirk::other_header(payload, version));
    }

    /// Changes the video's sequence header in force, and sends it.
    fn replace_video_header(&mut self, before: &Draft, change: impl Fn(&Bytes) -> Bytes) {
        let is_video = |tag: &&mut CaptureTag| tag.kind == Kind::Video && quirk::is_header(tag);
        let Some(header) = self.in_force.iter_mut().find(is_video) else { return };
        header.payload = change(&header.payload);
        let header = header.clone();
        self.plan_beside(header, before, false);
    }

    /// Plans a draft, and what comes with it.
    fn plan(&mut self, mut draft: Draft) {
        let begins = draft.gop;
        let due = |every: Option<u32>| {
            begins.zip(every).is_some_and(|(gop, every)| gop > 0 && gop % every == 0)
        };
        if let (Some(gop), Some(after)) = (begins, self.quirks.codec_changes)
            && gop >= after
            && !self.converted
        {
            self.converted = true;
            self.replace_video_header(&draft, quirk::to_hvc1);
        } else if draft.needs_header {
            self.replace_video_header(&draft, Bytes::clone);
        }
        let republish = due(self.quirks.republishes);
        if republish {
            for (index, tag) in self.in_force.clone().into_iter().enumerate() {
                self.plan_beside(tag, &draft, index == 0);
            }
        } else if let Some(gop) = begins.filter(|gop| *gop > 0) {
            self.plan_repeats(gop, &draft);
        }
        if self.converted && draft.tag.kind == Kind::Video {
            draft.tag.payload = quirk::to_hvc1(&draft.tag.payload);
        }
        if matches!(draft.role, Role::Header | Role::Script) {
            let same = |known: &&mut CaptureTag| {
                (known.kind, known.payload.first()) == (draft.tag.kind, draft.tag.payload.first())
            };
            match self.in_force.iter_mut().find(same) {
                Some(known) => known.clone_from(&draft.tag),
                None => self.in_force.push(draft.tag.clone()),
            }
        } else if draft.role != Role::Other {
            let (at_ms, is_picture) = (draft.at_ms, draft.role.is_picture());
            self.quirks
                .change_payload(&mut draft.tag.payload, Media { gop: begins, is_picture, at_ms });
            if (self.take, self.rounds) != (0, 0) {
                quirk::vary(&mut draft.tag.payload, self.take << 16 ^ self.rounds);
            }
        }
        let first_of_stream = republish && self.in_force.is_empty();
        self.plan_media(draft, first_of_stream);
    }

    /// What encoders repeat with every GOP.
    fn plan_repeats(&mut self, gop: u32, keyframe: &Draft) {
        let script = self.in_force.iter().position(|tag| tag.kind == Kind::Script);
        if let Some(tag) = script.and_then(|index| self.in_force.get_mut(index))
            && self.quirks.metadata_updates
        {
            tag.payload = quirk::other_metadata(&tag.payload, gop);
            let tag = tag.clone();
            self.plan_beside(tag, keyframe, false);
        }
        if self.quirks.headers_repeated {
            for tag in self.in_force.clone().into_iter().filter(quirk::is_header) {
                self.plan_beside(tag, keyframe, false);
            }
        }
    }

    fn plan_media(&mut self, draft: Draft, republish: bool) {
        let Draft { at_ms, index, mut tag, role, gop, .. } = draft;
        tag.timestamp_ms = self.stamp(&tag, index, at_ms);
        let mut at_ms = at_ms;
        if tag.kind == Kind::Audio {
            let late_ms = self.quirks.audio_late;
            tag.timestamp_ms =
                tag.timestamp_ms.wrapping_add(if self.quirks.all_zero { 0 } else { late_ms });
            at_ms += u64::from(late_ms);
        }
        let at_ms = match u64::from(self.quirks.bursts) {
            0 => at_ms,
            burst => (at_ms / burst + 1) * burst,
        };
        let micros = at_ms * 1_000;
        let beside = |payload| CaptureTag { payload, ..tag.clone() };
        self.enqueue(micros, tag.clone(), gop, republish);
        if role == Role::Sound {
            for index in 0..self.quirks.storm {
                self.enqueue(micros, beside(quirk::tiny(&tag.payload, index)), None, false);
            }
        }
        self.sent += 1;
        if self.quirks.empty_tags.is_some_and(|every| self.sent.is_multiple_of(every)) {
            self.enqueue(micros, beside(Bytes::new()), None, false);
        }
    }

    /// Plans a header or metadata with the time of `draft`, in front of it.
    fn plan_beside(&mut self, mut tag: CaptureTag, draft: &Draft, republish: bool) {
        tag.timestamp_ms = self.stamp(&draft.tag, draft.index, draft.at_ms);
        let burst_ms = u64::from(self.quirks.bursts);
        let at_ms = draft.at_ms.checked_div(burst_ms).map_or(draft.at_ms, |n| (n + 1) * burst_ms);
        self.enqueue(at_ms * 1_000, tag, None, republish);
    }

    /// The timestamp on the wire of a tag of the source in this round.
    fn stamp(&self, tag: &CaptureTag, index: u32, at_ms: u64) -> u32 {
        if self.quirks.all_zero {
            return 0;
        }
        let mut ms = self.source.timestamps_ms.wrapping_mul(self.rounds);
        ms = ms.wrapping_add(tag.timestamp_ms);
        if let Some(starts_at) = self.quirks.starts_at {
            ms = ms.wrapping_add(starts_at).wrapping_sub(self.source.first_ms);
        }
        for (at_tag, by_ms) in &self.quirks.jumps {
            if self.rounds > 0 || index >= *at_tag {
                ms = ms.wrapping_add_signed(*by_ms);
            }
        }
        let drift_ms = at_ms as i64 * i64::from(self.quirks.drift) / 1_000_000;
        ms.wrapping_add(drift_ms as u32)
    }

    fn enqueue(&mut self, micros: u64, tag: CaptureTag, gop: Option<u32>, republish: bool) {
        let planned = Planned { at: Duration::from_micros(micros), tag, gop, republish };
        self.queue.insert((micros, self.number), planned);
        self.number += 1;
    }
}
