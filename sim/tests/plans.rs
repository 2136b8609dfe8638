//! What a plan's text says: both ways, for every plan, and what it answers to a text that is none.

use std::time::Duration;

use forebay_sim::link::{Capacity, Link, Loss, NAMED, Path};
use forebay_sim::plan::{
    Act, Actor, Direction, Leave, Line, Moment, MomentKind, Plan, PlanError, Play, Player, Publish,
    Quirk, Receive, Speech, Start, When,
};
use forebay_sim::time::SimTime;
use proptest::prelude::*;
use proptest::sample::select;

const EXAMPLE: &str = "\
plan 1
# resumes_decodable, seed 8412 (was: 14 viewers, 3 nodes, 211 events, 60 s)
seed     8412
tick     5 ms
set      play.backlog_ms_max=2000
0.000    studio   publish live/a obs-360p30-base 0.000..4.200 repeats quirk chunk-size 1 quirk starts-at 4294960000 link fiber
0.310    phone    play live/a rtmp start gop link 3 Mbit/s 40 ms queue 64 KiB
0.310    crowd*20 play live/a flv apart 0.005 stay 2.000 again 0.500
1.900    phone    link 0 bit/s for 1.300
studio.keyframe#3+0.005 phone    leave vanish
2.000    node     crash for 0.500
3.000    quiet
4.200    end
";

fn parse(text: &str) -> Plan {
    text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A text of one line with a time, between a viewer, a publisher, a group and the end.
fn with(line: &str) -> Result<Plan, PlanError> {
    let head =
        "plan 1\n0 studio publish live/a c\n0 phone play live/a rtmp\n0 crowd*3 play live/a flv\n";
    format!("{head}{line}\n9 end\n").parse()
}

#[test]
fn the_example_is_read_and_written_as_it_stands() {
    let plan = parse(EXAMPLE);
    assert_eq!(plan.to_string(), EXAMPLE);
    assert_eq!((plan.hosts(), plan.line_count()), (23, 6));
    assert_eq!(plan.check(), Ok(()));
    let Act::Play(play) = &plan.lines[1].act else { panic!("{:?}", plan.lines[1]) };
    let path = Path::constant(3_000_000, Duration::from_millis(40), 64 << 10);
    assert_eq!(play.link, Link { down: path.clone(), up: path, window: 1 << 20 });
}

#[test]
fn comments_and_blank_lines_are_allowed_anywhere_and_only_the_title_is_kept() {
    let text = "# before\n\nplan 1 # one\n# title\n#\n# more\n\n# not kept\nseed 7\n  # nor this\n1.5 end # over\n#\n";
    let plan = parse(text);
    assert_eq!(plan.title, "title\n\nmore");
    assert_eq!((plan.seed, plan.end), (7, SimTime::from_millis(1_500)));
    let printed = "plan 1\n# title\n#\n# more\nseed     7\ntick     5 ms\n1.500    end\n";
    assert_eq!(plan.to_string(), printed);
}

#[test]
fn every_act_is_written_as_it_is_read() {
    for line in [
        "1.000    studio   publish live/b x-1 again 2.000 at b link satellite",
        "1.000    phone    play live/b rml start live stay 0.000001 at b link far window 1 MiB",
        "1.000    bad*2    speak garbage-after-handshake at b",
        "1.000    crowd-3  stop-reading for 0.500",
        "1.000    phone    leave goodbye",
        "1.000    phone    link lan",
        "1.000    phone    link cellular jitter 0 ms",
        "1.000    phone    link loss 0.02 of 200 ms every 2.2 s segment 1 burst 300 ms for 1.000",
        "1.000    phone    link 2.5 Mbit/s 40.5 ms up 1 Mbit/s 60 ms",
        "1.000    phone    link 12 Mbit/s to 0.700 500 kbit/s to 1.500 up unlimited loss none",
        "1.000    phone    cut for 1.000",
        "1.000    phone    cut up for 1.000",
        "1.000    phone    forget",
        "1.000    crowd    reset",
        "1.000    studio   stall for 1.000",
        "1.000    phone    receive audio-off",
        "1.000    phone    cancel",
        "1.000    phone    panic",
        "1.000    node     crash silent",
        "1.000    node     stop for 1.000",
        "1.000    node     freeze for 1.000",
        "1.000    node     late 50 ms for 1.000",
        "1.000    node     egress 20 Mbit/s",
        "1.000    node     refuse for 1.000",
        "1.000    node     hang for 1.000",
        "crowd.lag+0.5 node     hang for 1.000",
        "node.started#2 phone    cut down for 0.0005",
    ] {
        let plan = with(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let line = line.replace(" up unlimited loss none", " up unlimited");
        let line = line.replace("lag+0.5 ", "lag+0.500 ");
        assert_eq!(plan.lines[3].to_string(), line);
    }
}

#[test]
fn an_error_names_the_place_what_was_expected_and_the_nearest_word() {
    let cases = [
        ("1.0 phone levae vanish", 11, "expected what happens, not `levae`: did you mean `leave`?"),
        ("1.0 phone leave", 16, "expected how to leave, not the end of the line"),
        ("1.0 phone leave now", 17, "expected how to leave, not `now`: did you mean `close`?"),
        ("1.0 phon leave close", 5, "nobody introduced `phon`: did you mean `phone`?"),
        ("1.0 crowd-4 reset", 5, "nobody introduced `crowd-4`: did you mean `crowd`?"),
        ("phon.lag phone reset", 1, "nobody introduced `phon`: did you mean `phone`?"),
        ("studio.lag phone reset", 1, "`studio` publishes: there is no `lag` of it"),
        (
            "studio.keyfram phone reset",
            1,
            "expected a moment, not `keyfram`: did you mean `keyframe`?",
        ),
        ("studio.tag#0 phone reset", 1, "expected a count from 1 after `#`, not `0`"),
        ("studio.tag+x phone reset", 1, "expected seconds after `+`, not `x`"),
        ("1.0 x*0 play live/a rtmp", 5, "expected a count from 1 to 10000, not `0`"),
        ("1.0 x*10001 play live/a rtmp", 5, "expected a count from 1 to 10000, not `10001`"),
        ("1.0 crowd*3 reset", 5, "a whole group is meant by its name: `crowd`"),
        ("1.0 phone*2 play live/a rtmp", 5, "`phone` was introduced as 1 of its kind"),
        ("1.0 phone publish live/a c", 5, "`phone` already plays"),
        ("1.0 crowd-3 play live/a rtmp", 5, "`crowd-3` is in a group"),
        ("1.0 x play live/a rtmp at phone", 7, "`phone` is no node: it plays"),
        ("1.0 phone crash", 11, "this can only happen to a node, and `phone` plays"),
        ("1.0 node reset", 10, "this can only happen to a peer, and `node` is a node"),
        ("1.0 x play live rtmp", 12, "expected a stream, as live/a, not `live`"),
        ("1.0 x play live/a rmtp", 19, "expected a player, not `rmtp`: did you mean `rtmp`?"),
        (
            "1.0 x play live/a rtmp agian 1",
            24,
            "expected the end of the line, not `agian`: did you mean `again`?",
        ),
        ("1.0 x play live/a rtmp again 1 again 2", 32, "said for the second time"),
        (
            "1.0 x publish live/a c 4.2..0",
            24,
            "expected a part that begins before it ends, as 0.000..4.200, not `4.2..0`",
        ),
        (
            "1.0 x publish live/a c quirk chunk-sise 1",
            30,
            "expected a quirk, not `chunk-sise`: did you mean `chunk-size`?",
        ),
        (
            "1.0 x publish live/a c quirk chunk-size 0",
            41,
            "expected a number from 1 to 2147483647, not `0`",
        ),
        ("1.0 x publish live/a c quirk huge 9 MiB every 2", 37, "expected `B`, not `MiB`"),
        ("1.0 phone link 3 Mbit 40 ms", 18, "expected a unit, not `Mbit`: did you mean `Mbit/s`?"),
        (
            "1.0 phone link 3 Mbit/s jiter 10 ms",
            25,
            "expected the end of the line, not `jiter`: did you mean `jitter`?",
        ),
        ("1.0 phone link 3 Mbit/s 4 Mbit/s", 25, "`4` says again what was said"),
        (
            "1.0 phone link 1 kbit/s to 2 3 kbit/s",
            38,
            "expected `to` and when the trace starts over, not the end of the line",
        ),
        (
            "1.0 phone link queue 0.3 B",
            22,
            "expected a length from 0 B to 1048576 MiB, not `0.3 B`",
        ),
        (
            "1.0 phone link loss 1.5 of 1 ms every 2 ms",
            21,
            "expected a share from 0 to 1, as 0.02, not `1.5`",
        ),
        (
            "1.0 phone link lan up window 1 B",
            23,
            "a window is of both directions: expected it before `up`",
        ),
        ("1.0 phone cut for", 18, "expected seconds, as 0.310, not the end of the line"),
        ("99999999 phone reset", 1, "expected seconds, as 0.310, not `99999999`"),
        ("1.0 quiet now", 11, "expected the end of the line, not `now`"),
        ("9.1 quiet", 0, "the run ends before it is quiet"),
        ("seed 1\nseed 2", 0, "said for the second time"),
        (
            "sed 1",
            1,
            "expected a time, or a moment as studio.keyframe#3, not `sed`: did you mean `seed`?",
        ),
        ("set a.b", 5, "expected a setting, as section.key=value, not `a.b`"),
        ("tick 0 ms", 6, "expected a tick from 0.001 ms to 1 s, not `0 ms`"),
        ("8 end", 0, "expected nothing after the end, not `9`"),
    ];
    for (line, column, reason) in cases {
        let error = with(line).expect_err(line);
        assert_eq!(error.reason, reason, "{line}");
        // The place is on the next line where the column is 0.
        let place = if column == 0 { (6, 1) } else { (5, column) };
        assert_eq!((error.line, error.column), place, "{line}: {reason}");
    }
}

#[test]
fn a_text_that_is_no_plan_is_told_from_its_first_word() {
    let reason = |text: &str| text.parse::<Plan>().expect_err(text).to_string();
    assert_eq!(reason(""), "line 1, column 1: expected `plan 1`, not the end of the text");
    assert_eq!(
        reason("plan 0"),
        "line 1, column 6: plan format 0 is not known; this simulator reads 1"
    );
    assert_eq!(reason("{\"a\""), "line 1, column 1: expected `plan`, not `{\"a\"`");
    assert_eq!(
        reason("plan 1\nseed 1\n"),
        "line 3, column 1: expected when the run is over, as `4.200 end`"
    );
}

#[test]
fn a_plan_that_no_text_can_say_is_not_valid() {
    let good = parse(EXAMPLE);
    let broken = |change: fn(&mut Plan)| {
        let mut plan = good.clone();
        change(&mut plan);
        plan.check().expect_err("a broken plan")
    };
    let nanos = broken(|plan| plan.tick = Duration::from_nanos(5_000_001));
    assert_eq!(nanos, "its text would be another plan's");
    let lost = broken(|plan| plan.lines.retain(|line| line.who.name != "studio"));
    assert!(lost.contains("nobody introduced `studio`"), "{lost}");
    assert!(lost.ends_with("in `studio.keyframe#3+0.005 phone    leave vanish`"), "{lost}");
    broken(|plan| plan.quiet = Some(SimTime::MAX));
    broken(|plan| plan.settings.push("a.b=1 2".to_owned()));
    broken(|plan| plan.title = "a\rb\r\n".to_owned() + "\u{85}\n\rx").clear();
}

#[test]
fn a_fault_knows_its_family() {
    let family = |line: &str| {
        let plan = with(line).expect(line);
        plan.family(&plan.lines[3])
    };
    assert_eq!(family("1 x play live/a rtmp"), None);
    assert_eq!(family("1 studio leave vanish"), Some("P22"));
    assert_eq!(family("1 crowd-2 leave vanish"), Some("V10"));
    assert_eq!(family("1 phone leave half-close"), Some("N15"));
    assert_eq!(family("1 phone link 0 bit/s"), Some("N4"));
    assert_eq!(family("1 phone link cellular"), Some("N5"));
    assert_eq!(family("1 phone link 2 ms"), Some("N1"));
    assert_eq!(family("1 phone link segment 1 up burst 1 ms"), Some("N17"));
    assert_eq!(family("1 phone cut for 1"), Some("N10"));
    assert_eq!(family("1 phone cut down for 1"), Some("N12"));
    assert_eq!(family("1 x speak tls"), Some("P26"));
}

// Arbitrary plans.

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

fn speech() -> impl Strategy<Value = Speech> {
    select(vec![
        Speech::Silence,
        Speech::Garbage,
        Speech::Http,
        Speech::Tls,
        Speech::HalfHandshake,
        Speech::SlowHandshake,
        Speech::WrongVersion,
        Speech::GarbageAfterHandshake,
        Speech::LongMessage,
        Speech::ManyChunkStreams,
        Speech::DeepAmf,
        Speech::UnknownCommands,
        Speech::MediaFirst,
        Speech::PlaysNothing,
        Speech::Intruder,
        Speech::SlowHttp,
    ])
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
    ]
}

/// A line before it is known who there is: the numbers choose.
type Choice = (u8, u8, u8, (bool, u8, u32), (SimTime, Duration), (Act, Act));

fn plan() -> impl Strategy<Value = Plan> {
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
        |((title, seed, tick, settings), peers, choices, (quiet, rest))| {
            let mut lines = Vec::new();
            for (index, ((act, ..), count, at)) in peers.iter().enumerate() {
                let who = Actor { name: format!("peer-{}x", index + 1), count: *count };
                lines.push(Line { when: When::At(*at), who, act: act.clone() });
            }
            lines.extend(choices.into_iter().map(|choice| chosen(&peers, choice)));
            let quiet = quiet.map(SimTime::from_micros);
            let end = quiet.unwrap_or(SimTime::ZERO) + Duration::from_micros(rest);
            let (title, tick) = (title.unwrap_or_default(), Duration::from_micros(tick));
            Plan { title, seed, tick, settings, lines, quiet, end }
        },
    )
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
    let (name, act) = match (act % 4, own.first()) {
        (0, _) => ("node".to_owned(), node_act),
        (1, Some(own)) => (name, own.clone()),
        _ => (name, peer_act),
    };
    Line { when, who: Actor { name, count: 1 }, act }
}

proptest! {
    #[test]
    fn every_plan_is_read_as_it_was_written(plan in plan()) {
        let text = plan.to_string();
        let read = text.parse::<Plan>();
        prop_assert!(read.is_ok(), "{:?}\n{}", read, text);
        prop_assert_eq!(read.as_ref(), Ok(&plan), "{}", text);
        prop_assert_eq!(read.map(|plan| plan.to_string()), Ok(text));
        prop_assert_eq!(plan.check(), Ok(()));
    }

    #[test]
    fn any_text_is_answered(text in "(plan 1\n)?(\\PC|[\\s#.*+])*") {
        let _ = text.parse::<Plan>();
    }

    #[test]
    fn a_mutated_plan_is_answered_with_a_place_in_it(
        plan in plan(),
        at in any::<prop::sample::Index>(),
        len in 0..8_usize,
        with in prop_oneof![
            "\\PC{0,3}",
            select(vec!["link", "for", "0", "9999999999999999999999", ".", "..", "#", "*", "+",
                "-1", "quirk", "Mbit/s", "\n", " ", "1e9", "NaN", "up", "to", "é"])
                .prop_map(str::to_owned),
        ],
    ) {
        let mut text: Vec<char> = plan.to_string().chars().collect();
        let from = at.index(text.len());
        let to = (from + len).min(text.len());
        text.splice(from..to, with.chars());
        let text: String = text.into_iter().collect();
        match text.parse::<Plan>() {
            Ok(plan) => prop_assert_eq!(plan.check(), Ok(()), "{}", text),
            Err(error) => {
                let line = text.split('\n').nth(error.line - 1);
                prop_assert!(line.is_some_and(|line| error.column <= line.chars().count() + 1));
            }
        }
    }
}
