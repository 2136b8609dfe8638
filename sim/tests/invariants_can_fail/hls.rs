//! 1.5 HLS: a player called `web` that sees a playlist of segments of two seconds, and fetches all.

use std::sync::Arc;
use std::time::Duration;

use forebay_sim::link::{Capacity, Link};
use forebay_sim::plan::{Act, Play, Player};
use forebay_sim::time::SimTime;
use forebay_sim::trace::{Fetched, HlsSeen, Listed, Reloaded, Resource, What};
use forebay_sim::viewer::hls::{Part, Playlist, Segment, Span};

use crate::story::{BEGIN_MS, KEY, Story};
use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case("S1", || web(|web| web.renumber(6, -1)), || web(|web| drop(web.versions.remove(6)))),
    case("S2", || web(|web| web.segment(7, 5).said = 1), || web(|web| web.forget_parts(7, 5))),
    case("S3", || web(|web| web.lasts(4, 2_500)), || web(|web| web.lasts(4, 2_499))),
    case("S4", || web(|web| web.window(2)), || web(|web| web.window(3))),
    case("S5", || web(|web| web.fetched(5).status = 404), || web(late_request)),
    case(
        "S6",
        || web(|web| web.span(5, true).begins_with_sync = false),
        || web(|web| web.span(5, false).begins_with_sync = false),
    ),
    case("S7", || web(|web| _ = web.fetched(5).tags.remove(7)), || web(declared_hole)),
    case("S8", || web(jump), || web(declared_jump)),
    case("S8", || web(uncounted), || web(declared_jump)),
    case(
        "S9",
        || web(|web| drop(web.versions.drain(5..9))),
        || web(|web| drop(web.versions.drain(5..7))),
    ),
    case(
        "S10",
        || web(|web| web.versions[10].1.is_ended = true),
        || web(|web| web.versions.last_mut().expect("it saw some").1.is_ended = true),
    ),
    case("S10", || web(|web| ends_twice(web, 1)), || web(|web| ends_twice(web, 0))),
    case("S11", || web(|web| web.again(5, |it| it.len -= 1)), || web(|web| web.again(5, |_| {}))),
    case(
        "S12",
        || web(|web| web.fetched(5).is_its_parts = Some(false)),
        || web(|web| web.fetched(5).is_its_parts = Some(true)),
    ),
    case("S12", || web(|web| web.reloads(5, 0)), || web(|web| web.reloads(5, 1))),
    case(
        "S13",
        || web(|web| web.again(5, |it| it.digest += 1)),
        || web(|web| web.again(5, |it| (it.digest, it.uri) = (7, "other".into()))),
    ),
    case(
        "S15",
        || web(|web| web.stalled_ms = Some(300)),
        || web(|web| (web.stalled_ms, web.rate) = (Some(300), 10_000)),
    ),
];

/// Of the first segment.
const FIRST: u64 = 100;

/// What the player sees.
struct Web {
    /// When, and what; version `n` is the one that lists segment `n` as its newest.
    versions: Vec<(u64, Playlist)>,
    fetches: Vec<(u64, Fetched)>,
    reload: Option<(u64, Reloaded)>,
    stalled_ms: Option<u64>,
    rate: u64,
}

fn web(change: impl FnOnce(&mut Web)) -> Story {
    let mut story = Story::new(30);
    let mut web = Web::of(&story);
    change(&mut web);
    let mut link = Link::lan();
    link.down.capacity = Capacity::Constant(web.rate);
    let play = Play {
        key: KEY.to_owned(),
        player: Player::Hls,
        start: None,
        link,
        stay: None,
        again: None,
        apart: Duration::ZERO,
        node: "a".to_owned(),
    };
    story.line("web", Act::Play(play));
    story.dial("web", 1_000);
    story.push(2_300, "web", What::Playing { key: KEY.into() });
    let versions = web.versions.into_iter().map(|(at, it)| (at, HlsSeen::Version(Arc::new(it))));
    let fetches = web.fetches.into_iter().map(|(at, it)| (at, HlsSeen::Fetched(Arc::new(it))));
    let reload = web.reload.map(|(at, it)| (at, HlsSeen::Reloaded(it)));
    let stall = web.stalled_ms.map(|ms| (20_000, HlsSeen::Stalled(Duration::from_millis(ms))));
    for (at, seen) in versions.chain(fetches).chain(reload).chain(stall) {
        story.push(at, "web", What::Hls(seen));
    }
    story
}

impl Web {
    fn of(story: &Story) -> Self {
        let count = 14_u64;
        let versions = (0..count).map(|newest| {
            let first = newest.saturating_sub(5);
            let playlist = Playlist {
                target_duration: 2,
                media_sequence: FIRST + first,
                segments: (first..=newest).map(segment).collect(),
                ..Playlist::default()
            };
            (listed_ms(newest), playlist)
        });
        let fetches = (0..count).map(|n| {
            let ms = n * 2_000;
            let is_in = |time: u32| (ms..ms + 2_000).contains(&u64::from(time));
            let media = story.tags.iter().filter_map(|tag| tag.entered);
            let media = media.filter(|tag| tag.digest >= 1_010 && is_in(tag.timestamp_ms));
            let at = listed_ms(n) + 20;
            (at, fetched(n, at, media.collect()))
        });
        let (versions, fetches) = (versions.collect(), fetches.collect());
        Self { versions, fetches, reload: None, stalled_ms: None, rate: 100_000_000 }
    }

    fn fetched(&mut self, n: usize) -> &mut Fetched {
        &mut self.fetches[n].1
    }

    fn span(&mut self, n: usize, is_video: bool) -> &mut Span {
        let spans = self.fetched(n).spans.iter_mut();
        spans.into_iter().find(|span| span.is_video == is_video).expect("both tracks")
    }

    /// Segment `n` as version `version` has it.
    fn segment(&mut self, version: usize, n: u64) -> &mut Segment {
        let segments = self.versions[version].1.segments.iter_mut();
        segments.into_iter().find(|it| it.sequence == FIRST + n).expect("it is listed")
    }

    /// From version `version` on, the parts of segment `n` are not told any more.
    fn forget_parts(&mut self, version: usize, n: u64) {
        let segments = self.versions[version..].iter_mut().flat_map(|(_, it)| &mut it.segments);
        segments.filter(|it| it.sequence == FIRST + n).for_each(|it| it.parts.clear());
    }

    /// In every version.
    fn every(&mut self, n: u64, change: impl Fn(&mut Segment)) {
        let segments = self.versions.iter_mut().flat_map(|(_, it)| &mut it.segments);
        segments.filter(|it| it.sequence == FIRST + n).for_each(change);
    }

    fn lasts(&mut self, n: u64, ms: u64) {
        self.every(n, |segment| segment.duration = Duration::from_millis(ms));
    }

    /// A version that counts otherwise.
    fn renumber(&mut self, version: usize, by: i64) {
        let before = self.versions[version - 1].1.media_sequence;
        let playlist_first = before.saturating_add_signed(by);
        let playlist = &mut self.versions[version].1;
        playlist.media_sequence = playlist_first;
        for (segment, sequence) in playlist.segments.iter_mut().zip(playlist_first..) {
            segment.sequence = sequence;
        }
    }

    /// All versions from the seventh on list only so many segments.
    fn window(&mut self, count: usize) {
        for (_, playlist) in self.versions.iter_mut().skip(7) {
            let surplus = playlist.segments.len() - count;
            playlist.segments.drain(..surplus);
            playlist.media_sequence += surplus as u64;
        }
    }

    /// Segment `n` is fetched once more.
    fn again(&mut self, n: usize, change: impl FnOnce(&mut Fetched)) {
        let (at, mut fetched) = self.fetches[n].clone();
        change(&mut fetched);
        self.fetches.push((at + 100, fetched));
    }

    /// A reload for a part of the next segment is answered with so many.
    fn reloads(&mut self, n: u64, parts: u64) {
        let at = listed_ms(n);
        self.reload = Some((
            at + 200,
            Reloaded {
                msn: FIRST + n + 1,
                part: Some(0),
                seen: (FIRST + n + 1, 0),
                asked: SimTime::from_millis(at + 10),
                status: 200,
                progress: Some((FIRST + n + 1, parts)),
                is_ended: false,
            },
        ));
    }

    /// A discontinuity before segment `n`, counted when it leaves.
    fn declare(&mut self, n: u64) {
        self.every(n, |segment| segment.is_discontinuity = true);
        for (_, playlist) in &mut self.versions {
            playlist.discontinuity_sequence = u64::from(playlist.media_sequence > FIRST + n);
        }
    }
}

fn listed_ms(n: u64) -> u64 {
    BEGIN_MS + (n + 1) * 2_000 + 30
}

fn segment(n: u64) -> Segment {
    let part = |part: u64| Part {
        duration: Duration::from_secs(1),
        uri: format!("{n}.{part}"),
        is_independent: part == 0,
        is_gap: false,
    };
    Segment {
        sequence: FIRST + n,
        duration: Duration::from_secs(2),
        uri: n.to_string(),
        map: "init".to_owned(),
        is_discontinuity: false,
        is_gap: false,
        parts: vec![part(0), part(1)],
        said: 1_000 + n,
    }
}

fn fetched(n: u64, at_ms: u64, tags: Vec<forebay_sim::tag::TagSeen>) -> Fetched {
    let span = |is_video| Span {
        is_video,
        start_us: n * 2_000_000,
        end_us: (n + 1) * 2_000_000,
        begins_with_sync: true,
    };
    Fetched {
        uri: n.to_string().into(),
        what: Resource::Segment(FIRST + n),
        listed: Listed::Yes,
        asked: SimTime::from_millis(at_ms - 10),
        status: 200,
        len: 1_000 + n,
        digest: 500 + n,
        garbled: None,
        spans: vec![span(true), span(false)],
        tags,
        configs: Vec::new(),
        is_its_parts: None,
    }
}

/// Behind the last legal moment.
/// A player that has left comes back, and sees the end again: the same, or another.
fn ends_twice(web: &mut Web, more: u64) {
    let (at, playlist) = web.versions.last_mut().expect("it saw some");
    playlist.is_ended = true;
    let (at, mut again) = (*at + 100, playlist.clone());
    again.target_duration += more;
    web.versions.push((at, again));
}

fn late_request(web: &mut Web) {
    web.again(0, |it| {
        it.status = 404;
        it.listed = Listed::RemovedUntil(SimTime::from_millis(listed_ms(0)));
    });
}

fn declared_hole(web: &mut Web) {
    web.fetched(4).tags.truncate(30);
    web.declare(5);
}

/// From segment 6 on everything is ten seconds later.
fn jump(web: &mut Web) {
    for (_, fetched) in web.fetches.iter_mut().skip(6) {
        for span in &mut fetched.spans {
            span.start_us += 10_000_000;
            span.end_us += 10_000_000;
        }
    }
}

fn declared_jump(web: &mut Web) {
    jump(web);
    web.declare(6);
}

fn uncounted(web: &mut Web) {
    declared_jump(web);
    web.versions.iter_mut().for_each(|(_, playlist)| playlist.discontinuity_sequence = 0);
}
