//! Any valid plan.

use std::time::Duration;

use forebay_sim::link::{Capacity, Link, Loss, NAMED, Path};
use forebay_sim::plan::{
    Act, Actor, Direction, DiskCalls, DiskFault, Leave, Line, Moment, MomentKind, Plan, Play,
    Player, Publish, Quirk, Receive, Refusal, Speech, Start, Target, TargetQuirk, When,
};
use forebay_sim::time::SimTime;
use proptest::prelude::*;
use proptest::sample::select;

fn micros() -> impl Strategy<Value = u64> {
    prop_oneof![
        (0..100_u64).prop_map(|n| n * 100_000),
        (0..100_000_u64).prop_map(|n| n * 1_000),
        0..100_000_000_u64
    ]
}

fn duration() -> impl Strategy<Value = Duration> {
    micros().prop_map(Duration::from_micros)
}

fn time() -> impl Strategy<Value = SimTime> {
    micros().prop_map(SimTime::from_micros)
}

fn maybe<S: Strategy>(of: S) -> impl Strategy<Value = Option<S::Value>>
where
    S::Value: Clone,
{
    proptest::option::of(of)
}

fn rate() -> impl Strategy<Value = u64> {
    prop_oneof![(0..100_u64).prop_map(|n| n * 500_000), 0..10_000_000_000_u64]
}

fn len() -> impl Strategy<Value = u64> {
    prop_oneof![(0..1_000_u64).prop_map(|n| n << 10), 0..100_000_000_u64]
}

fn capacity() -> impl Strategy<Value = Capacity> {
    let trace = proptest::collection::vec((1..5_000_000_u64, rate()), 1..6).prop_map(|parts| {
        let mut at = 0;
        let mut step = |(length, bits): (u64, u64)| {
            let from = at;
            at += length;
            (Duration::from_micros(from), bits)
        };
        let steps = parts.into_iter().map(&mut step).collect();
        Capacity::Trace { steps, period: Duration::from_micros(at) }
    });
    prop_oneof![Just(Capacity::Unlimited), rate().prop_map(Capacity::Constant), trace]
}

fn path() -> impl Strategy<Value = Path> {
    let loss = prop_oneof![
        Just(Loss::NONE),
        (0.0..=1.0, duration(), duration()).prop_map(|(share, bad, good)| Loss {
            share,
            bad,
            good
        })
    ];
    (capacity(), duration(), duration(), len(), loss, maybe(1..3_000_u64), duration()).prop_map(
        |(capacity, delay, jitter, queue, loss, segment, burst)| Path {
            capacity,
            delay,
            jitter,
            queue,
            loss,
            segment,
            burst,
        },
    )
}

fn link() -> impl Strategy<Value = Link> {
    let named = select(NAMED.to_vec()).prop_map(|(_, link)| link());
    let free = (path(), path(), 1..1_u64 << 30);
    let free = free.prop_map(|(down, up, window)| Link { down, up, window });
    let lopsided =
        (select(NAMED.to_vec()), path(), any::<bool>()).prop_map(|(base, path, both)| {
            let mut link = base.1();
            link.down.clone_from(&path);
            if both {
                link.up = path;
            }
            link
        });
    prop_oneof![3 => named, 1 => free, 1 => lopsided]
}

/// Every quirk there is, by its index.
fn a_quirk(index: u8, n: u32, signed: i32) -> Quirk {
    let from_1 = n.max(1);
    let quirks = [
        Quirk::StartsAt(n),
        Quirk::NoExtendedOnType3,
        Quirk::Jumps { at_tag: n, by_ms: signed },
        Quirk::AllZero,
        Quirk::AudioLate(n),
        Quirk::NoAudio,
        Quirk::NoVideo,
        Quirk::VideoAfter(n),
        Quirk::HeadersRepeated,
        Quirk::HeaderChanges { every: from_1, offset: signed },
        Quirk::CodecChanges(n),
        Quirk::HeadersLate(n),
        Quirk::NoHeaders,
        Quirk::KeyframeEvery(n),
        Quirk::AllKeyframes,
        Quirk::Disposable(from_1),
        Quirk::CompositionTime(signed),
        Quirk::Huge { len: n, every: from_1 },
        Quirk::Storm(n),
        Quirk::EmptyTags(from_1),
        Quirk::ChunkSize(from_1 & 0x7fff_ffff | 1),
        Quirk::ChunkSizeChanges,
        Quirk::Interleaved,
        Quirk::Aborts,
        Quirk::Aggregates,
        Quirk::UnknownTypes,
        Quirk::MetadataUpdates,
        Quirk::Bursts(n),
        Quirk::Drift(signed),
        Quirk::Swings(from_1),
        Quirk::Republishes(from_1),
        Quirk::Thin(from_1),
        Quirk::Window(from_1),
    ];
    quirks[usize::from(index) % quirks.len()]
}

fn quirk() -> impl Strategy<Value = Quirk> {
    (any::<u8>(), any::<u32>(), any::<i32>())
        .prop_map(|(index, n, signed)| a_quirk(index, n, signed))
}

fn node() -> impl Strategy<Value = String> {
    select(vec!["node", "edge", "b"]).prop_map(str::to_owned)
}

fn key() -> impl Strategy<Value = String> {
    select(vec!["live/a", "live/b", "a/b/c?start=gop"]).prop_map(str::to_owned)
}

prop_compose! {
    fn publish()(
        key in key(),
        capture in select(vec!["obs-360p30-base", "enh-av1-opus", "link"]),
        part in maybe((micros(), 1..9_000_000_u64)),
        repeats in any::<bool>(),
        quirks in proptest::collection::vec(quirk(), 0..3),
        link in link(),
        again in maybe(duration()),
        node in node(),
    ) -> Publish {
        let part = part.map(|(from, len)| {
            (SimTime::from_micros(from), SimTime::from_micros(from + len))
        });
        Publish { key, capture: capture.to_owned(), part, repeats, quirks, link, again, node }
    }
}

prop_compose! {
    fn play()(
        key in key(),
        player in select(vec![Player::Rtmp, Player::Flv, Player::Rml]),
        start in maybe(select(vec![Start::Gop, Start::Live, Start::Auto])),
        link in link(),
        stay in maybe(duration()),
        again in maybe(duration()),
        apart in duration(),
        node in node(),
    ) -> Play {
        Play { key, player, start, link, stay, again, apart, node }
    }
}

fn target_quirk() -> impl Strategy<Value = TargetQuirk> {
    let refusal = select(vec![Refusal::BadName, Refusal::Auth, Refusal::Busy]);
    prop_oneof![
        (refusal, maybe(1..9_u32))
            .prop_map(|(refusal, times)| TargetQuirk::Refuses { refusal, times }),
        (1..10_000_000_u64).prop_map(TargetQuirk::Cuts),
        Just(TargetQuirk::Silent),
        select(vec![*b"av01", *b"hvc1"]).prop_map(TargetQuirk::Takes),
        (1..=u32::MAX).prop_map(TargetQuirk::Window),
    ]
}

prop_compose! {
    fn target()(
        streams in select(vec!["live/*", "live/a"]),
        key in maybe("[a-z0-9]{1,9}"),
        quirks in proptest::collection::vec(target_quirk(), 0..3),
        link in link(),
        node in node(),
    ) -> Target {
        Target { streams: streams.to_owned(), key, quirks, link, node }
    }
}

fn speech() -> impl Strategy<Value = Speech> {
    select(Speech::ALL.to_vec())
}

const ANY_PEER: [MomentKind; 2] = [MomentKind::Connected, MomentKind::Closed];

/// A peer's name, its first line's act, what can be waited for, and what only such a peer can do.
fn peer() -> impl Strategy<Value = (Act, Vec<MomentKind>, Vec<Act>)> {
    use MomentKind::{Header, Keyframe, Lag, Picture, Playing, Publishing, Tag};
    let receive = select(vec![
        Receive::Pause,
        Receive::Resume,
        Receive::AudioOff,
        Receive::AudioOn,
        Receive::VideoOff,
        Receive::VideoOn,
    ]);
    let with = |kinds: &[MomentKind]| [&ANY_PEER, kinds].concat();
    let (publishes, plays) =
        (with(&[Publishing, Keyframe, Header, Tag]), with(&[Playing, Picture, Lag]));
    prop_oneof![
        (publish(), duration()).prop_map(move |(publish, stall)| {
            (Act::Publish(publish), publishes.clone(), vec![Act::Stall(stall)])
        }),
        (play(), receive).prop_map(move |(play, receive)| {
            (Act::Play(play), plays.clone(), vec![Act::Receive(receive)])
        }),
        (speech(), node()).prop_map(|(speech, node)| {
            (Act::Speak { speech, node }, ANY_PEER.to_vec(), Vec::new())
        }),
        target().prop_map(move |target| {
            let own = vec![Act::Crash { down: None, silent: true }];
            (Act::Target(target), with(&[Publishing, Keyframe, Header, Tag]), own)
        }),
    ]
}

fn peer_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        duration().prop_map(Act::StopReading),
        select(vec![Leave::Goodbye, Leave::Close, Leave::HalfClose, Leave::Reset, Leave::Vanish])
            .prop_map(Act::Leave),
        (link(), maybe(duration())).prop_map(|(link, lasts)| Act::Link(link, lasts)),
        (select(vec![Direction::Both, Direction::Up, Direction::Down]), duration())
            .prop_map(|(direction, lasts)| Act::Cut(direction, lasts)),
        select(vec![Act::Forget, Act::Reset, Act::Cancel, Act::Panic]),
    ]
}

fn node_act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (maybe(duration()), any::<bool>()).prop_map(|(down, silent)| Act::Crash { down, silent }),
        maybe(duration()).prop_map(Act::Stop),
        duration().prop_map(Act::Freeze),
        (duration(), duration()).prop_map(|(up_to, lasts)| Act::Late(up_to, lasts)),
        (rate(), maybe(duration())).prop_map(|(bits, lasts)| Act::Egress(bits, lasts)),
        duration().prop_map(Act::Refuse),
        duration().prop_map(Act::Hang),
        (disk_fault(), maybe(duration())).prop_map(|(fault, lasts)| {
            Act::Disk(fault, lasts.filter(|_| fault != DiskFault::Leftovers))
        }),
    ]
}

fn disk_fault() -> impl Strategy<Value = DiskFault> {
    use DiskFault::{Fail, Flip, Full, Leftovers, Lie, NoFiles, ReadOnly, Short, Stall};
    let calls = [DiskCalls::Write, DiskCalls::Sync, DiskCalls::Names].map(Fail);
    let plain = [Stall, Full, Lie, Short, Flip, ReadOnly, NoFiles, Leftovers];
    prop_oneof![
        duration().prop_map(DiskFault::Slow),
        rate().prop_map(|bits| DiskFault::Rate(bits.max(1))),
        select([&plain[..], &calls[..]].concat()),
    ]
}

/// A line before it is known who there is: the numbers choose.
type Choice = (u8, u8, u8, (bool, u8, u32), (SimTime, Duration), (Act, Act));

pub(crate) fn plan() -> impl Strategy<Value = Plan> {
    let choice = (
        any::<u8>(),
        any::<u8>(),
        any::<u8>(),
        (any::<bool>(), any::<u8>(), 1..5_u32),
        (time(), duration()),
        (peer_act(), node_act()),
    );
    let peers = proptest::collection::vec((peer(), 1..30_u32, time()), 1..6);
    let head = (
        maybe("[ -~]{0,20}(\n[ -~]{0,20}){0,2}"),
        any::<u64>(),
        1..1_000_000_u64,
        proptest::collection::vec("[a-z]{1,5}[.][a-z_]{1,8}=[!-\"$-~]{0,5}", 0..3),
    );
    let tail = (maybe(micros()), micros());
    (head, peers, proptest::collection::vec(choice, 0..12), tail).prop_map(
        |((title, seed, tick, settings), mut peers, choices, (quiet, rest))| {
            for ((act, ..), count, _) in &mut peers {
                if is_target(act) {
                    *count = 1;
                }
            }
            let mut lines = Vec::new();
            for (index, ((act, ..), count, at)) in peers.iter().enumerate() {
                let who = Actor { name: format!("peer-{}x", index + 1), count: *count };
                lines.push(Line { when: When::At(*at), who, act: act.clone() });
            }
            lines.extend(choices.into_iter().map(|choice| chosen(&peers, choice)));
            let quiet = quiet.map(SimTime::from_micros);
            let end = quiet.unwrap_or(SimTime::ZERO) + Duration::from_micros(rest + 1);
            let (title, tick) = (title.unwrap_or_default(), Duration::from_micros(tick));
            Plan { title, seed, tick, settings, lines, quiet, end }
        },
    )
}

fn is_target(act: &Act) -> bool {
    matches!(act, Act::Target(_))
}

#[allow(clippy::type_complexity, reason = "proptest's tuples")]
fn chosen(peers: &[((Act, Vec<MomentKind>, Vec<Act>), u32, SimTime)], choice: Choice) -> Line {
    let (peer, waits_for, kind, (on, act, count), (at, delay), (peer_act, node_act)) = choice;
    let name = |index: u8| {
        let index = usize::from(index) % peers.len();
        let member = if peers[index].1 > 1 && act % 2 == 0 { "-1" } else { "" };
        (index, format!("peer-{}x{member}", index + 1))
    };
    let (waited, who) = name(waits_for);
    let kinds = &peers[waited].0.1;
    let event = kinds[usize::from(kind) % kinds.len()];
    let moment = Moment { who, event, count };
    let when = if on { When::On { moment, delay } } else { When::At(at) };
    let (index, name) = name(peer);
    let own = &peers[index].0.2;
    // Nobody comes to a node who could leave.
    let stays = matches!(peer_act, Act::Leave(_) | Act::Cancel | Act::Panic);
    let peer_act = if stays && is_target(&peers[index].0.0) { Act::Reset } else { peer_act };
    let (name, act) = match (act % 4, own.first()) {
        (0, _) => ("node".to_owned(), node_act),
        (1, Some(own)) => (name, own.clone()),
        _ => (name, peer_act),
    };
    Line { when, who: Actor { name, count: 1 }, act }
}
