//! Story: a run written by hand. It begins as a good one; a test changes what it is about.
//!
//! Ten pictures a second, a keyframe every two seconds, every other picture disposable, a sound
//! behind each picture. Node `a`, publisher `studio`, stream `live/a`.

use std::collections::BTreeSet;
use std::time::Duration;

use forebay_sim::invariant::{ALL, Judged, Limits, judge};
use forebay_sim::link::Link;
use forebay_sim::plan::{
    Act, Actor, Line, Plan, Play, Player, Publish, Quirk, Speech, Start, When,
};
use forebay_sim::tag::{Kind, Role, TagSeen};
use forebay_sim::time::SimTime;
use forebay_sim::trace::{Account, Close, LagCause, Trace, What};

pub(crate) const KEY: &str = "live/a";

/// When the first tag is sent.
pub(crate) const BEGIN_MS: u64 = 200;

/// A tag on its way into the hub.
#[derive(Clone, Copy)]
pub(crate) struct OnWay {
    pub(crate) sent_ms: u64,
    pub(crate) sent: Option<TagSeen>,
    pub(crate) entered_ms: u64,
    pub(crate) entered: Option<TagSeen>,
    pub(crate) session: u64,
}

pub(crate) struct Viewer {
    pub(crate) name: &'static str,
    pub(crate) dialed_ms: u64,
    pub(crate) playing_ms: u64,
    pub(crate) start: Option<Start>,
    pub(crate) link: Link,
    pub(crate) got: Vec<(u64, TagSeen)>,
    pub(crate) lags: Vec<(u64, LagCause, u64, u64)>,
    pub(crate) reads: Vec<(u64, bool)>,
    pub(crate) ends: Vec<u64>,
    pub(crate) account: Option<(u64, Account)>,
    pub(crate) closed: Option<(u64, Close)>,
}

pub(crate) struct Story {
    pub(crate) end_ms: u64,
    pub(crate) tags: Vec<OnWay>,
    /// When the publisher's connection of a session ended, and how.
    pub(crate) closes: Vec<(u64, u64, Close)>,
    pub(crate) viewers: Vec<Viewer>,
    pub(crate) more: Vec<(u64, &'static str, What)>,
    pub(crate) lines: Vec<Line>,
    pub(crate) quirks: Vec<Quirk>,
    pub(crate) limits: Limits,
    pub(crate) leading: BTreeSet<u64>,
}

pub(crate) fn tag(kind: Kind, role: Role, timestamp_ms: u32, len: u32, digest: u64) -> TagSeen {
    let codec = match kind {
        Kind::Audio => *b"mp4a",
        Kind::Video => *b"avc1",
        Kind::Script => *b"----",
    };
    TagSeen { kind, role, codec, timestamp_ms, len, digest }
}

pub(crate) fn metadata(digest: u64) -> TagSeen {
    tag(Kind::Script, Role::Script, 0, 300, digest)
}

pub(crate) fn video_header(digest: u64) -> TagSeen {
    tag(Kind::Video, Role::Header, 0, 40, digest)
}

pub(crate) fn audio_header(digest: u64) -> TagSeen {
    tag(Kind::Audio, Role::Header, 0, 4, digest)
}

fn picture(index: u64, timestamp_ms: u32, digest: u64) -> TagSeen {
    let (role, len) = match (index % 20, index % 2) {
        (0, _) => (Role::Keyframe, 20_000),
        (_, 0) => (Role::Disposable, 2_000),
        _ => (Role::Inter, 5_000),
    };
    tag(Kind::Video, role, timestamp_ms, len, digest)
}

/// A good encoder's tags of so many seconds. Digests begin with `digest`.
pub(crate) fn stream(seconds: u64, begin_ms: u64, session: u64, digest: u64) -> Vec<OnWay> {
    let mut tags =
        vec![(0, metadata(digest)), (0, video_header(digest + 1)), (0, audio_header(digest + 2))];
    for index in 0..seconds * 10 {
        let (ms, digest) = (index * 100, digest + 10 + 2 * index);
        tags.push((ms, picture(index, ms as u32, digest)));
        let sound = tag(Kind::Audio, Role::Sound, ms as u32 + 50, 200, digest + 1);
        tags.push((ms + 50, sound));
    }
    let on_way = |(ms, tag)| OnWay {
        sent_ms: begin_ms + ms,
        sent: Some(tag),
        entered_ms: begin_ms + ms + 10,
        entered: Some(tag),
        session,
    };
    tags.into_iter().map(on_way).collect()
}

impl Story {
    /// So many seconds of a good stream that goes on to the end.
    pub(crate) fn new(seconds: u64) -> Self {
        Self {
            end_ms: BEGIN_MS + seconds * 1_000,
            tags: stream(seconds, BEGIN_MS, 1, 1_000),
            closes: Vec::new(),
            viewers: Vec::new(),
            more: Vec::new(),
            lines: Vec::new(),
            quirks: Vec::new(),
            limits: Limits::default(),
            leading: BTreeSet::new(),
        }
    }

    /// The run goes on for so many seconds after the stream's last tag.
    pub(crate) fn and_then(mut self, seconds: u64) -> Self {
        self.end_ms += seconds * 1_000;
        self
    }

    pub(crate) fn place(&self, timestamp_ms: u32, kind: Kind) -> usize {
        let is_it = |tag: &OnWay| {
            let media = |tag: TagSeen| tag.role.is_picture() || tag.role == Role::Sound;
            tag.entered
                .is_some_and(|t| t.timestamp_ms == timestamp_ms && t.kind == kind && media(t))
        };
        self.tags.iter().position(is_it).expect("a tag of that time")
    }

    pub(crate) fn entered(&self, place: usize) -> TagSeen {
        self.tags[place].entered.expect("it entered")
    }

    /// The newest keyframe's place when a viewer that dials now joins.
    pub(crate) fn keyframe_at(&self, dialed_ms: u64) -> usize {
        let there = self.tags.iter().take_while(|tag| tag.entered_ms <= dialed_ms + 5);
        let there: Vec<_> = there.collect();
        there
            .iter()
            .rposition(|tag| tag.entered.is_some_and(|t| t.role == Role::Keyframe))
            .expect("a keyframe before it joins")
    }

    /// A viewer on a good link that dials at `dialed_ms` and gets all from the newest keyframe on.
    pub(crate) fn watch(&mut self, name: &'static str, dialed_ms: u64) -> &mut Viewer {
        let first = self.keyframe_at(dialed_ms);
        self.watch_from(name, dialed_ms, first)
    }

    /// As above, with the place of its first tag behind the headers.
    pub(crate) fn watch_from(
        &mut self,
        name: &'static str,
        dialed_ms: u64,
        first: usize,
    ) -> &mut Viewer {
        let at = self.entered(first).timestamp_ms;
        let before = self.tags[..first].iter().filter_map(|tag| tag.entered);
        let (mut script, mut video, mut audio) = (None, None, None);
        for tag in before {
            match (tag.role, tag.kind) {
                (Role::Script, _) => script = Some(TagSeen { timestamp_ms: 0, ..tag }),
                (Role::Header, Kind::Video) => video = Some(TagSeen { timestamp_ms: at, ..tag }),
                (Role::Header, _) => audio = Some(TagSeen { timestamp_ms: at, ..tag }),
                _ => {}
            }
        }
        let headers = [script, audio, video].into_iter().flatten();
        let mut got: Vec<_> = headers.map(|tag| (dialed_ms + 20, tag)).collect();
        let tags = self.tags[first..].iter();
        got.extend(
            tags.filter_map(|tag| Some(((tag.entered_ms + 10).max(dialed_ms + 20), tag.entered?))),
        );
        self.viewers.push(Viewer {
            name,
            dialed_ms,
            playing_ms: dialed_ms + 15,
            start: None,
            link: Link::lan(),
            got,
            lags: Vec::new(),
            reads: Vec::new(),
            ends: Vec::new(),
            account: None,
            closed: None,
        });
        self.viewers.last_mut().expect("just pushed")
    }

    pub(crate) fn viewer(&mut self) -> &mut Viewer {
        self.viewers.last_mut().expect("a viewer")
    }

    /// The newest viewer neither reads nor is given anything for a while, and resumes at the
    /// newest keyframe.
    pub(crate) fn tunnel(&mut self, from_ms: u64, to_ms: u64) {
        let resumed = self.tags[self.keyframe_at(to_ms)].entered.expect("it entered").digest;
        let viewer = self.viewer();
        viewer.reads = vec![(from_ms, false), (to_ms, true)];
        let from = viewer.got.iter().position(|got| got.0 > from_ms).expect("it gets more");
        let to = viewer.got.iter().position(|got| got.1.digest == resumed).expect("it resumes");
        viewer.lose(from, to, to_ms, LagCause::Overflow);
        viewer.got.iter_mut().skip(from).for_each(|got| got.0 = got.0.max(to_ms + 5));
    }

    pub(crate) fn push(&mut self, at_ms: u64, who: &'static str, what: What) {
        self.more.push((at_ms, who, what));
    }

    pub(crate) fn line(&mut self, who: &str, act: Act) {
        let who = Actor { name: who.to_owned(), count: 1 };
        self.lines.push(Line { when: When::At(SimTime::ZERO), who, act });
    }

    pub(crate) fn bad_neighbour(&mut self, name: &'static str, dialed_ms: u64) {
        self.line(name, Act::Speak { speech: Speech::Silence, node: "a".to_owned() });
        self.dial(name, dialed_ms);
    }

    pub(crate) fn dial(&mut self, name: &'static str, dialed_ms: u64) {
        // The trace's names are known when it is written: see `trace`.
        let address = format!("{name}:1").into();
        let node = forebay_sim::trace::Who(1);
        self.push(dialed_ms, name, What::Dialed { node, address });
        self.push(dialed_ms + 2, name, What::Connected);
    }

    fn plan(&self) -> Plan {
        let mut lines = self.lines.clone();
        let line = |name: &str, act: Act| Line {
            when: When::At(SimTime::ZERO),
            who: Actor { name: name.to_owned(), count: 1 },
            act,
        };
        lines.push(line(
            "studio",
            Act::Publish(Publish {
                key: KEY.to_owned(),
                capture: "a".to_owned(),
                part: None,
                repeats: false,
                quirks: self.quirks.clone(),
                link: Link::lan(),
                again: None,
                node: "a".to_owned(),
            }),
        ));
        for viewer in &self.viewers {
            lines.push(line(
                viewer.name,
                Act::Play(Play {
                    key: KEY.to_owned(),
                    player: Player::Rtmp,
                    start: viewer.start,
                    link: viewer.link.clone(),
                    stay: None,
                    again: None,
                    apart: Duration::ZERO,
                    node: "a".to_owned(),
                }),
            ));
        }
        Plan {
            title: String::new(),
            seed: 0,
            tick: Duration::from_millis(5),
            settings: Vec::new(),
            lines,
            quiet: None,
            end: SimTime::from_millis(self.end_ms),
        }
    }

    fn trace(&self) -> Trace {
        let mut trace = Trace::new();
        let node = trace.who("a");
        let mut events: Vec<(u64, &str, What)> = vec![(0, "a", What::Started)];
        let mut sessions: Vec<u64> = self.tags.iter().map(|tag| tag.session).collect();
        sessions.dedup();
        for session in sessions {
            let first = self.tags.iter().find(|tag| tag.session == session);
            let at = first.map_or(0, |tag| tag.sent_ms);
            let address = format!("studio:{session}").into();
            events.push((at - 100, "studio", What::Dialed { node, address }));
            events.push((at - 98, "studio", What::Connected));
            events.push((at - 90, "studio", What::Publishing { key: KEY.into() }));
            for (_, at, close) in self.closes.iter().filter(|close| close.0 == session) {
                events.push((*at, "studio", What::Closed(*close)));
            }
        }
        let mut number = 0;
        for tag in &self.tags {
            events.extend(tag.sent.map(|sent| (tag.sent_ms, "studio", What::Sent(sent))));
            if let Some(entered) = tag.entered {
                let (key, session) = (KEY.into(), tag.session);
                let what = What::Entered { key, session, number, tag: entered };
                events.push((tag.entered_ms, "a", what));
                number += 1;
            }
        }
        for viewer in &self.viewers {
            viewer.events(node, &mut events);
        }
        events.extend(self.more.iter().map(|(at, who, what)| (*at, *who, what.clone())));
        events.sort_by_key(|event| event.0);
        events.retain(|event| event.0 <= self.end_ms);
        for (at, who, what) in events {
            let who = trace.who(who);
            trace.push(SimTime::from_millis(at), who, what);
        }
        let world = trace.who("world");
        trace.push(SimTime::from_millis(self.end_ms), world, What::Finished);
        trace
    }

    /// Tells the judges, and gives what `look` makes of it.
    pub(crate) fn told<T>(&self, look: impl FnOnce(&Judged<'_>) -> T) -> T {
        let (trace, plan) = (self.trace(), self.plan());
        let mut run = Judged::new(&trace, &plan, self.limits.clone());
        run.leading = self.leading.clone();
        look(&run)
    }

    /// Numbers of the invariants that do not hold, each with what was seen.
    pub(crate) fn violations(&self) -> Vec<(&'static str, String)> {
        self.told(|run| {
            let violations = judge(run).into_iter().map(|violation| {
                let row = ALL.iter().find(|row| row.name == violation.invariant);
                (row.map_or("?", |row| row.id), format!("{} at {}", violation.saw, violation.at))
            });
            violations.collect()
        })
    }
}

impl Viewer {
    /// Does not get the tags from index `from` to index `to` of what it got; told right before
    /// the next, or at `told_ms`.
    pub(crate) fn lose(&mut self, from: usize, to: usize, told_ms: u64, cause: LagCause) {
        let lost: Vec<_> = self.got.drain(from..to).collect();
        let bytes = lost.iter().map(|got| u64::from(got.1.len)).sum();
        self.lags.push((told_ms, cause, lost.len() as u64, bytes));
    }

    /// Index of what it got first of this time and kind behind its headers.
    pub(crate) fn index(&self, timestamp_ms: u32, kind: Kind) -> usize {
        let is_it = |got: &(u64, TagSeen)| {
            let is_media = got.1.role.is_picture() || got.1.role == Role::Sound;
            got.1.timestamp_ms == timestamp_ms && got.1.kind == kind && is_media
        };
        self.got.iter().position(is_it).expect("it gets that tag")
    }

    /// Does not read for a while; what came meanwhile arrives then.
    pub(crate) fn deaf(&mut self, from_ms: u64, to_ms: u64) {
        self.reads.extend([(from_ms, false), (to_ms, true)]);
        let late = self.got.iter_mut().filter(|got| (from_ms..to_ms).contains(&got.0));
        late.for_each(|got| got.0 = to_ms);
    }

    /// Leaves in order, and its node says what it had.
    pub(crate) fn leaves(&mut self, at_ms: u64) {
        self.got.retain(|got| got.0 <= at_ms);
        let delivered = self.got.len() as u64 - 3;
        self.closed = Some((at_ms, Close::Left));
        let lag = self.lags.iter().map(|lag| lag.2).sum();
        let published = delivered + lag;
        self.account = Some((at_ms + 5, Account { published, delivered, lag, unsent: 0 }));
    }

    fn events(&self, node: forebay_sim::trace::Who, events: &mut Vec<(u64, &str, What)>) {
        let name = self.name;
        let address: std::sync::Arc<str> = format!("{name}:1").into();
        let from = || address.clone();
        events.push((self.dialed_ms, name, What::Dialed { node, address: from() }));
        events.push((self.dialed_ms + 2, name, What::Connected));
        events.push((self.playing_ms, name, What::Playing { key: KEY.into() }));
        for (at, cause, tags, bytes) in &self.lags {
            let (cause, tags, bytes) = (*cause, *tags, *bytes);
            events.push((*at, name, What::Lag { from: from(), cause, tags, bytes }));
        }
        events.extend(self.got.iter().map(|(at, tag)| (*at, name, What::Got(*tag))));
        events.extend(self.reads.iter().map(|(at, reads)| (*at, name, What::Reads(*reads))));
        events.extend(self.ends.iter().map(|at| (*at, name, What::ToldEnd)));
        events.extend(self.closed.iter().map(|(at, close)| (*at, name, What::Closed(*close))));
        events.extend(
            self.account.iter().map(|(at, account)| {
                (*at, name, What::Account { from: from(), account: *account })
            }),
        );
    }
}
