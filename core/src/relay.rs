//! When to connect, back off and resume; what of a stream a target is sent.
//!
//! A relay publishes one stream to one target, for as long as the stream lasts. It is in one of four
//! [`State`]s, and does nothing by itself: who has the socket and the clock asks for the state, does
//! what it says, and tells what came of it.
//!
//! ```text
//!               started                 lost: the next pause is a first one if it lasted `stable`
//! Connecting ─────────────→ Live ───────────────→ Backoff ──→ Connecting
//!     │ │ failed: a longer pause                     ↑
//!     │ └────────────────────────────────────────────┘
//!     └ refused for good, or a codec the target does not take → Rejected
//! ```
//!
//! # Invariants
//!
//! - On every connection the target gets metadata and sequence headers, then a keyframe, then what
//!   follows. It is never given what it cannot decode, wherever the last connection was cut.
//! - Pauses grow and are capped, and only a connection that lasted makes them short again.
//! - A key is in nothing that is shown: not in a [`Target`]'s name, not in a reason.

mod backoff;
mod failure;
mod feed;
mod target;

use std::time::{Duration, Instant};

use self::feed::Feed;
use crate::flv::Tag;
use crate::rtmp::ServerCodecs;

pub(crate) use self::backoff::Backoff;
pub use self::backoff::BackoffLimits;
pub use self::failure::{Failure, Outlook};
pub use self::target::{Key, Target, TargetError};

/// How patient a relay is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RelayLimits {
    /// Pauses between attempts.
    pub backoff: BackoffLimits,
    /// How long a target may say that the name is in use, or wrong, before it is believed.
    pub doubt: Duration,
}

impl Default for RelayLimits {
    fn default() -> Self {
        // Servers notice a publisher that vanished after one to three minutes.
        Self { backoff: BackoffLimits::default(), doubt: Duration::from_secs(180) }
    }
}

/// What a relay is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It dials, or waits for the target to accept.
    Connecting,
    /// The target accepted.
    Live {
        /// When.
        since: Instant,
    },
    /// It waits before the next attempt.
    Backoff {
        /// Until when.
        until: Instant,
    },
    /// It has given up on this stream, unless the next publish of it has another codec.
    Rejected,
}

/// One stream's way to one target.
///
/// ```
/// # use std::time::Instant;
/// # use forebay::{flv::{Tag, TagKind}, rtmp::ServerCodecs, time::Timestamp};
/// use forebay::relay::{Failure, Relay, RelayLimits, State};
/// # let now = Instant::now();
/// # let metadata = Tag {
/// #     kind: TagKind::Script, timestamp: Timestamp::ZERO, payload: b"\x02\x00\x0aonMetaData\x05".as_slice().into(),
/// # };
/// let mut relay = Relay::new(RelayLimits::default());
/// let mut to_send = Vec::new();
/// assert_eq!(relay.state(), State::Connecting);
/// relay.handle_started(now, ServerCodecs::default());
/// relay.handle_tag(&metadata, &mut to_send);
/// assert!(to_send.is_empty(), "there is nothing to start with yet");
/// # let random = 4;
/// relay.handle_failure(now, Failure::passing("the connection was lost"), random);
/// let State::Backoff { until } = relay.state() else { unreachable!() };
/// relay.handle_timeout(until);
/// assert_eq!(relay.state(), State::Connecting);
/// ```
pub struct Relay {
    limits: RelayLimits,
    state: State,
    backoff: Backoff,
    feed: Feed,
    /// Given up because of a codec, which another encoder may change.
    is_codec_refused: bool,
    /// Since when the target says that the name is in use or wrong, without a success between.
    doubted_since: Option<Instant>,
    attempts: u64,
    reason: Option<String>,
}

impl Relay {
    /// A relay that is to connect at once.
    pub fn new(limits: RelayLimits) -> Self {
        Self {
            limits,
            state: State::Connecting,
            backoff: Backoff::new(limits.backoff),
            feed: Feed::new(),
            is_codec_refused: false,
            doubted_since: None,
            attempts: 1,
            reason: None,
        }
    }

    /// What it is doing, and so what is to be done.
    pub fn state(&self) -> State {
        self.state
    }

    /// Attempts to connect, the one under way included.
    pub fn attempts(&self) -> u64 {
        self.attempts
    }

    /// Why the last connection, or the last attempt, came to nothing.
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The target accepted, and said which codecs it takes.
    pub fn handle_started(&mut self, now: Instant, codecs: ServerCodecs) {
        self.feed.begin(codecs);
        self.doubted_since = None;
        self.state = State::Live { since: now };
    }

    /// There is no connection, or no longer. `random` is any number: it keeps relays apart.
    pub fn handle_failure(&mut self, now: Instant, failure: Failure, random: u64) {
        if let State::Live { since } = self.state {
            self.backoff.lasted(now.saturating_duration_since(since));
        }
        let is_final = match failure.outlook {
            Outlook::Passing => false,
            Outlook::Final => true,
            Outlook::Doubtful => {
                let since = *self.doubted_since.get_or_insert(now);
                now.saturating_duration_since(since) >= self.limits.doubt
            }
        };
        self.reason = Some(failure.reason);
        self.state = match is_final {
            true => State::Rejected,
            false => State::Backoff { until: now + self.backoff.next(random) },
        };
    }

    /// The time has come, or not yet.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let State::Backoff { until } = self.state
            && now >= until
        {
            self.state = State::Connecting;
            self.attempts += 1;
        }
    }

    /// Another publish of the same stream begins with the next tag: what was in force is not.
    pub fn handle_session(&mut self, now: Instant, random: u64) {
        self.feed.begin_session();
        if std::mem::take(&mut self.is_codec_refused) {
            self.state = State::Backoff { until: now + self.backoff.next(random) };
        }
    }

    /// Takes the stream's next tag, and appends what is to be sent for it. Look at the state behind
    /// it: a codec that the target does not take ends the connection.
    pub fn handle_tag(&mut self, tag: &Tag, to_send: &mut Vec<Tag>) {
        let is_live = matches!(self.state, State::Live { .. });
        if is_live && let Some(four_cc) = self.feed.refused_codec(tag) {
            let (codec, codecs) = (four_cc.escape_ascii(), self.feed.codecs());
            self.reason = Some(format!("the target does not take {codec}: it lists {codecs}"));
            self.state = State::Rejected;
            self.is_codec_refused = true;
            return;
        }
        self.feed.take(tag, is_live.then_some(to_send));
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "the clock is only a place to count from")]
mod tests {
    use super::*;
    use crate::flv::TagKind;
    use crate::time::Timestamp;

    const SECOND: Duration = Duration::from_secs(1);

    fn tag(kind: TagKind, ms: u32, payload: &[u8]) -> Tag {
        Tag { kind, timestamp: Timestamp::from_ms(ms), payload: payload.to_vec().into() }
    }

    /// Headers at 0, and a keyframe each second between pictures and sound every 200 ms.
    fn stream(seconds: u32) -> Vec<Tag> {
        let mut tags = vec![
            tag(TagKind::Script, 0, b"\x02\x00\x0aonMetaData\x05"),
            tag(TagKind::Audio, 0, &[0xAF, 0, 0x12, 0x10]),
            tag(TagKind::Video, 0, &[0x17, 0, 0, 0, 0, 1]),
        ];
        for ms in (0..seconds * 1000).step_by(200) {
            let frame = if ms % 1000 == 0 { 0x17 } else { 0x27 };
            tags.push(tag(TagKind::Video, ms, &[frame, 1, 0, 0, 0, 9]));
            tags.push(tag(TagKind::Audio, ms, &[0xAF, 1, 9]));
        }
        tags
    }

    fn pause(relay: &Relay, now: Instant) -> Duration {
        let State::Backoff { until } = relay.state() else { panic!("{:?}", relay.state()) };
        until - now
    }

    fn refusal(outlook: Outlook) -> Failure {
        Failure { reason: "no".into(), outlook }
    }

    #[test]
    fn every_connection_begins_with_headers_and_a_keyframe_wherever_the_last_one_was_cut() {
        let now = Instant::now();
        let tags = stream(4);
        for cut in 0..tags.len() {
            let mut relay = Relay::new(RelayLimits::default());
            let mut sent = [Vec::new(), Vec::new()];
            relay.handle_started(now, ServerCodecs::default());
            tags[..cut].iter().for_each(|tag| relay.handle_tag(tag, &mut sent[0]));
            relay.handle_failure(now, Failure::passing("cut"), 0);
            relay.handle_timeout(now + SECOND);
            relay.handle_started(now + SECOND, ServerCodecs::default());
            tags[cut..].iter().for_each(|tag| relay.handle_tag(tag, &mut sent[1]));
            assert_eq!(sent[0], tags[..cut][..sent[0].len()], "cut at {cut}: all that came");
            let Some(first) = sent[1].first() else {
                assert!(tags[cut..].iter().all(|tag| tag.payload.get(0) != Some(0x17)), "{cut}");
                continue;
            };
            let headers: Vec<_> = tags[..3]
                .iter()
                .map(|tag| Tag { timestamp: first.timestamp, ..tag.clone() })
                .collect();
            assert_eq!(sent[1][..3], headers, "cut at {cut}");
            assert_eq!(sent[1][3].payload.get(0), Some(0x17), "cut at {cut}");
            assert_eq!(sent[1][3..], tags[tags.len() - (sent[1].len() - 3)..], "cut at {cut}");
        }
    }

    #[test]
    fn pauses_grow_until_a_connection_has_lasted() {
        let mut now = Instant::now();
        let mut relay = Relay::new(RelayLimits::default());
        let mut fail = |relay: &mut Relay, lasted: Option<Duration>| {
            if let Some(lasted) = lasted {
                relay.handle_started(now, ServerCodecs::default());
                now += lasted;
            }
            relay.handle_failure(now, Failure::passing("cut"), 0);
            let pause = pause(relay, now);
            relay.handle_timeout(now + pause - Duration::from_nanos(1));
            assert!(matches!(relay.state(), State::Backoff { .. }), "too early");
            now += pause;
            relay.handle_timeout(now);
            assert_eq!(relay.state(), State::Connecting);
            pause
        };
        let pauses: Vec<_> = (0..8).map(|_| fail(&mut relay, None).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        // Accepted and cut at once is no success.
        assert_eq!(fail(&mut relay, Some(19 * SECOND)), 30 * SECOND);
        assert_eq!(fail(&mut relay, Some(20 * SECOND)), SECOND);
        assert_eq!(fail(&mut relay, None), 2 * SECOND);
        assert_eq!(relay.attempts(), 12);
        assert_eq!(relay.reason(), Some("cut"));
    }

    #[test]
    fn a_name_in_use_is_believed_once_it_is_in_use_for_long() {
        let mut now = Instant::now();
        let mut relay = Relay::new(RelayLimits::default());
        let mut attempts = 0;
        let began = now;
        while relay.state() != State::Rejected {
            relay.handle_failure(now, refusal(Outlook::Doubtful), 0);
            attempts += 1;
            if let State::Backoff { until } = relay.state() {
                now = until;
                relay.handle_timeout(now);
            }
        }
        assert!(now - began >= 180 * SECOND && now - began < 240 * SECOND, "{:?}", now - began);
        assert!(attempts > 5, "{attempts}");
        // A success between is the end of the doubt.
        let mut relay = Relay::new(RelayLimits::default());
        for minute in 0..10 {
            let now = began + 60 * minute * SECOND;
            relay.handle_failure(now, refusal(Outlook::Doubtful), 0);
            relay.handle_started(now, ServerCodecs::default());
        }
        assert!(matches!(relay.state(), State::Live { .. }));
    }

    #[test]
    fn wrong_credentials_are_given_up_at_once_and_not_tried_again_with_another_encoder() {
        let now = Instant::now();
        let mut relay = Relay::new(RelayLimits::default());
        relay.handle_failure(now, refusal(Outlook::Final), 0);
        assert_eq!(relay.state(), State::Rejected);
        relay.handle_timeout(now + 1000 * SECOND);
        relay.handle_session(now, 0);
        assert_eq!((relay.state(), relay.attempts()), (State::Rejected, 1));
    }

    #[test]
    fn er_7_a_codec_that_the_target_does_not_list_is_named_and_not_sent() {
        let now = Instant::now();
        let av1_only = || ServerCodecs::from_iter([*b"av01"]);
        let hevc = [
            tag(TagKind::Video, 0, b"\x90hvc1\x01"),
            tag(TagKind::Video, 0, b"\x91hvc1\0\0\0\x09"),
        ];
        let mut sent = Vec::new();
        // As it comes, and where it is known before: the header came on another connection.
        for known in [0, 1] {
            let mut relay = Relay::new(RelayLimits::default());
            hevc[..known].iter().for_each(|tag| relay.handle_tag(tag, &mut sent));
            relay.handle_started(now, av1_only());
            hevc[known..].iter().for_each(|tag| relay.handle_tag(tag, &mut sent));
            assert_eq!(relay.state(), State::Rejected);
            assert_eq!(relay.reason(), Some("the target does not take hvc1: it lists av01"));
            // The next encoder may have another.
            relay.handle_session(now, 0);
            assert!(pause(&relay, now) > Duration::ZERO);
        }
        assert_eq!(sent, []);
        let mut relay = Relay::new(RelayLimits::default());
        relay.handle_started(now, av1_only());
        stream(1).iter().for_each(|tag| relay.handle_tag(tag, &mut sent));
        assert_eq!(sent.len(), 13, "what has no FourCC is always taken");
        let mut relay = Relay::new(RelayLimits::default());
        relay.handle_started(now, ServerCodecs::default());
        hevc.iter().for_each(|tag| relay.handle_tag(tag, &mut sent));
        assert_eq!(sent.len(), 15, "as is everything by a server that lists nothing");
    }
}
