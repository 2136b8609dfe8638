//! 1.7 Relay: a target called `tube` that cuts its first connection after six seconds.

use std::sync::Arc;
use std::time::Duration;

use forebay_sim::invariant::RelayBounds;
use forebay_sim::link::Link;
use forebay_sim::plan::{Act, Target, TargetQuirk};
use forebay_sim::tag::{Kind, Role, TagSeen};
use forebay_sim::trace::{Close, Level, RelaySeen, RelayState, RelayTold, What, Who};

use crate::story::{KEY, Story};
use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case("R1", || tube(lost_picture), || tube(|_| {})),
    case("R1", || tube(new_clock), || tube(|tube| tube.begins_at(8_000))),
    case("R2", || tube(no_headers), || tube(|_| {})),
    case("R2", || tube(inter_first), || tube(|tube| tube.begins_at(8_000))),
    case("R2", || tube(|tube| tube.begins_at(4_000)), || tube(|tube| tube.begins_at(6_000))),
    case("R3", || tube(|tube| tube.dials_at(6_400)), || tube(|tube| tube.dials_at(6_460))),
    case("R3", || tube(|tube| tube.dials_at(7_800)), || tube(|tube| tube.dials_at(7_200))),
    case(
        "R3",
        || refused("NetConnection.Connect.Rejected", 500),
        || refused("NetStream.Failed", 500),
    ),
    case("R3", || refused("NetStream.Failed", 200), || refused("NetStream.Failed", 500)),
    case("R4", || silent(true), || silent(false)),
    case("R7", || over(12_000), || over(3_000)),
    case(
        "R10",
        || tube(|tube| tube.says(8_000, RelayState::Backoff)),
        || tube(|tube| tube.says(6_200, RelayState::Backoff)),
    ),
    case(
        "R10",
        || tube(|tube| tube.says(7_500, RelayState::Rejected)),
        || tube(|tube| tube.says(8_000, RelayState::Live)),
    ),
    case("R10", || tube(stays_live), || tube(|_| {})),
    case("R10", || tube(|tube| tube.sent = 3), || tube(|_| {})),
    case("R10", || leak("rtmp://tube/live/a?key=s3cret"), || leak("rtmp://tube/live/{key}")),
];

/// A connection.
struct Connection {
    dialed_ms: u64,
    refused: Option<&'static str>,
    got: Vec<(u64, TagSeen)>,
    over: Option<(u64, Close)>,
}

/// What the target sees, and what its node says of it.
struct Tube {
    story: Story,
    connections: Vec<Connection>,
    told: Vec<(u64, RelayState)>,
    sent: u64,
}

impl Tube {
    fn of(mut story: Story) -> Self {
        let first = got_from(&mut story, 0, 210);
        let first = Connection {
            dialed_ms: 210,
            refused: None,
            got: first.into_iter().filter(|got| got.0 < 6_150).collect(),
            over: Some((6_150, Close::Left)),
        };
        let second = Connection { dialed_ms: 6_500, refused: None, got: Vec::new(), over: None };
        let told = vec![(400, RelayState::Live), (6_250, RelayState::Backoff)];
        let connections = vec![first, second];
        let mut tube = Self { story, connections, told, sent: 10_000 };
        tube.begins_at(6_000);
        tube
    }

    /// The second connection begins with the keyframe of this time.
    fn begins_at(&mut self, ms: u32) {
        let dialed_ms = self.connections[1].dialed_ms;
        self.connections[1].got = got_from(&mut self.story, ms, dialed_ms);
    }

    fn dials_at(&mut self, ms: u64) {
        self.connections[1].dialed_ms = ms;
        self.begins_at(6_000);
    }

    fn says(&mut self, at_ms: u64, state: RelayState) {
        self.told.push((at_ms, state));
    }

    fn tell(self) -> Story {
        let Self { mut story, connections, told, sent } = self;
        let target = Who(2);
        let mut see = |at, who, seen| story.push(at, who, What::Relay(seen));
        for (number, connection) in (1..).zip(connections) {
            let from: Arc<str> = format!("10.0.0.1:{number}").into();
            let at = connection.dialed_ms;
            see(at, "a", RelaySeen::Dialed { target, from: from.clone() });
            see(at + 2, "tube", RelaySeen::Accepted { connection: number, from });
            match connection.refused {
                Some(code) => {
                    see(
                        at + 10,
                        "tube",
                        RelaySeen::Refused { connection: number, code: code.into() },
                    );
                }
                None => {
                    let key = KEY.into();
                    see(at + 10, "tube", RelaySeen::Publishing { connection: number, key });
                }
            }
            for (at, tag) in connection.got {
                see(at, "tube", RelaySeen::Got { connection: number, tag });
            }
            if let Some((at, close)) = connection.over {
                let is_partial = close == Close::Left;
                see(at, "tube", RelaySeen::Over { connection: number, close, is_partial });
            }
        }
        for (at, state) in told {
            let told = RelayTold {
                key: KEY.to_owned(),
                target: format!("rtmp://tube/{KEY}"),
                state,
                attempts: 1,
                sent_tags: sent,
                lag_tags: 0,
                skipped_tags: 0,
            };
            see(at, "a", RelaySeen::Told(Arc::new(told)));
        }
        story
    }
}

fn got_from(story: &mut Story, keyframe_ms: u32, dialed_ms: u64) -> Vec<(u64, TagSeen)> {
    let first = story.place(keyframe_ms, Kind::Video);
    story.watch_from("tube", dialed_ms, first);
    story.viewers.pop().expect("just pushed").got
}

fn with_target(mut story: Story, key: Option<&str>, quirks: Vec<TargetQuirk>) -> Story {
    let ms = Duration::from_millis;
    story.limits.relays = RelayBounds {
        connect: ms(2_000),
        backoff_min: ms(300),
        backoff_max: ms(3_000),
        stable: ms(2_000),
        write_stall: ms(3_000),
        ..RelayBounds::default()
    };
    let target = Target {
        streams: KEY.to_owned(),
        key: key.map(str::to_owned),
        quirks,
        link: Link::lan(),
        node: "a".to_owned(),
    };
    story.line("tube", Act::Target(target));
    // It is the second name in the trace.
    story.push(0, "tube", What::Started);
    story
}

fn tube(change: impl FnOnce(&mut Tube)) -> Story {
    let story = with_target(Story::new(12), None, vec![TargetQuirk::Cuts(1_000_000)]);
    let mut tube = Tube::of(story);
    change(&mut tube);
    tube.tell()
}

fn lost_picture(tube: &mut Tube) {
    let is_it = |got: &(u64, TagSeen)| got.1.timestamp_ms == 3_100 && got.1.kind == Kind::Video;
    tube.connections[0].got.retain(|got| !is_it(got));
}

/// The second connection counts from its own beginning.
fn new_clock(tube: &mut Tube) {
    tube.connections[1].got.iter_mut().for_each(|got| {
        got.1.timestamp_ms = got.1.timestamp_ms.saturating_sub(6_000);
    });
}

fn no_headers(tube: &mut Tube) {
    tube.connections[1].got.retain(|got| !matches!(got.1.role, Role::Header | Role::Script));
}

fn inter_first(tube: &mut Tube) {
    tube.connections[1]
        .got
        .retain(|got| got.1.role != Role::Keyframe || got.1.timestamp_ms > 6_000);
}

fn stays_live(tube: &mut Tube) {
    tube.dials_at(6_600);
    tube.told[1] = (6_590, RelayState::Live);
    tube.connections[0].over = Some((5_500, Close::Left));
    tube.connections[0].got.retain(|got| got.0 < 5_500);
}

/// It is refused like this, and asks again so much later.
fn refused(code: &'static str, later_ms: u64) -> Story {
    let mut tube = Tube::of(with_target(Story::new(12), None, Vec::new()));
    let mut again = tube.connections.pop().expect("there are two");
    let first = &mut tube.connections[0];
    (first.refused, first.got, first.over) = (Some(code), Vec::new(), Some((225, Close::Eof)));
    again.dialed_ms = 220 + later_ms;
    again.got = got_from(&mut tube.story, 0, again.dialed_ms);
    tube.connections.push(again);
    tube.told = vec![(2_000, RelayState::Live)];
    tube.tell()
}

/// Nothing is done any more, and the target is dialed for the last time early on.
fn silent(is_forgotten: bool) -> Story {
    let mut story = with_target(Story::new(45), None, Vec::new());
    story.push(1_000, "world", What::Quiet);
    let mut tube = Tube::of(story);
    tube.connections.truncate(1);
    tube.connections[0].over = None;
    tube.connections[0].got = got_from(&mut tube.story, 0, 210);
    if is_forgotten {
        tube.connections[0].got.retain(|got| got.0 < 900);
    }
    tube.told.truncate(1);
    tube.tell()
}

/// The stream is over, and the connection so much later.
fn over(later_ms: u64) -> Story {
    let mut story = with_target(Story::new(10).and_then(20), None, Vec::new());
    story.push(10_300, "a", What::Over { key: KEY.into() });
    let mut tube = Tube::of(story);
    tube.connections.truncate(1);
    tube.connections[0].over = Some((10_300 + later_ms, Close::Eof));
    tube.connections[0].got = got_from(&mut tube.story, 0, 210);
    tube.told.truncate(1);
    tube.tell()
}

/// A line of the node's log.
fn leak(text: &str) -> Story {
    let mut story = with_target(Story::new(12), Some("s3cret"), Vec::new());
    story.push(5_000, "a", What::Log { level: Level::Info, text: text.into() });
    let mut tube = Tube::of(story);
    tube.connections.truncate(1);
    tube.connections[0].over = None;
    tube.told.truncate(1);
    tube.connections[0].got = got_from(&mut tube.story, 0, 210);
    tube.tell()
}
