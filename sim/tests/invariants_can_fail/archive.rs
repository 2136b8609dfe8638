//! 1.6 Archive: a node that records a stream of thirty seconds in two files, and dies at its end.

use std::sync::Arc;

use forebay_sim::tag::{Kind, Role, TagSeen};
use forebay_sim::trace::{RecordedTag, Recording, RecordingHead, Recordings, What};

use crate::story::{KEY, Story, tag};
use crate::{Case, case};

pub(crate) const CASES: &[Case] = &[
    case("A1", || tape(|tape| tape.files[0][50].tag.digest += 1), || tape(|tape| tape.hole(1))),
    case("A1", || tape(|tape| tape.hole(0)), || tape(|tape| tape.hole(1))),
    case("A2", || tape(|tape| tape.cut_ms(1_500)), || tape(|tape| tape.cut_ms(100))),
    case(
        "A3",
        || tape(|tape| tape.seen.uneven = Some("another".into())),
        || tape(|tape| tape.seen.has_lost_power = true),
    ),
    case(
        "A4",
        || tape(|tape| tape.found_torn = Some(".flv")),
        || tape(|tape| tape.found_torn = Some(".flv.part")),
    ),
    case("A4", || tape(|tape| tape.index_ms = 1), || tape(|_| {})),
    case("A5", || tape(|tape| _ = tape.files[0].pop()), || tape(declared_seam)),
    case("A5", || tape(|tape| _ = tape.files[1].remove(1)), || tape(|_| {})),
    case("A5", || tape(|tape| tape.file_ms_max = 9_000), || tape(|tape| tape.file_ms_max = 18_000)),
    case("A7", || tape(|tape| tape.backlog = 11), || tape(|tape| tape.backlog = 10)),
    case("A8", || tape(|tape| tape.late_ms = 2_000), || tape(|tape| tape.late_ms = 700)),
    case("A9", || tape(|tape| tape.seen.unnoticed = Some("a bit".into())), || tape(|_| {})),
];

/// Where the second file begins, in the publisher's time.
const BORDER_MS: u32 = 16_000;

struct Tape {
    files: [Vec<RecordedTag>; 2],
    /// A file of which a part is missing has a name that ends like this.
    found_torn: Option<&'static str>,
    index_ms: u64,
    file_ms_max: u64,
    backlog: u64,
    /// So late is what is reported as durable.
    late_ms: u64,
    seen: Recordings,
}

fn tape(change: impl FnOnce(&mut Tape)) -> Story {
    let mut story = Story::new(30);
    let tags: Vec<TagSeen> = story.tags.iter().filter_map(|tag| tag.entered).collect();
    let recorded = |tag: TagSeen| RecordedTag { at: 0, tag, gap: None };
    let shifted = |tag: &TagSeen| TagSeen { timestamp_ms: tag.timestamp_ms - BORDER_MS, ..*tag };
    let is_late = |tag: &&TagSeen| tag.timestamp_ms >= BORDER_MS;
    let headers = tags[..3].iter().copied();
    let files = [
        tags.iter().filter(|tag| !is_late(tag)).copied().map(recorded).collect(),
        headers.chain(tags.iter().filter(is_late).map(shifted)).map(recorded).collect(),
    ];
    let (found_torn, seen) = (None, Recordings::default());
    let mut tape =
        Tape { files, found_torn, index_ms: 0, file_ms_max: 16_000, backlog: 0, late_ms: 0, seen };
    change(&mut tape);
    story.limits.archive_file_ms = tape.file_ms_max;
    for ms in (0..story.end_ms).step_by(500) {
        let so_far = |tag: &&crate::story::OnWay| tag.entered_ms + tape.late_ms <= ms;
        let count = story.tags.iter().filter(so_far).count() as u64;
        if count > 0 {
            let what = What::Durable { key: KEY.into(), session: 1, number: count - 1 };
            story.push(ms, "a", what);
        }
    }
    let backlog = What::Gauge { name: "archive_backlog_bytes", value: tape.backlog, bound: 10 };
    story.push(5_000, "a", backlog);
    let end_ms = story.end_ms;
    story.push(end_ms, "a", What::Recordings(Arc::new(tape.recordings())));
    story
}

/// A tag is in no file, and the second one says so.
fn declared_seam(tape: &mut Tape) {
    tape.files[0].pop();
    tape.files[1].insert(3, gap(1));
}

fn gap(tags: u64) -> RecordedTag {
    let tag = tag(Kind::Script, Role::Script, 0, 60, 5);
    RecordedTag { at: 0, tag, gap: Some(tags) }
}

impl Tape {
    /// A tag is missing in the middle of a file, and so many are said to be.
    fn hole(&mut self, declared: u64) {
        self.files[0][60] = gap(declared);
    }

    /// The second file ends so long before the stream.
    fn cut_ms(&mut self, ms: u32) {
        self.files[1].retain(|tag| tag.tag.timestamp_ms + BORDER_MS < 30_000 - ms);
    }

    fn recordings(self) -> Recordings {
        let names = ["000000.200", "000016.210"];
        let mut files = self.files.into_iter().zip(names).map(|(tags, name)| file(tags, name));
        let recovered: Vec<_> = files.by_ref().collect();
        let mut found = recovered.clone();
        if let Some(index) = found[0].head.as_mut().map(|head| &mut head.index) {
            index[0].0 += self.index_ms;
        }
        if let Some(end) = self.found_torn {
            let torn = &mut found[1];
            (torn.len, torn.path) = (torn.len - 1, torn.path.replace(".flv", end).into());
        }
        let unpowered = recovered.clone();
        Recordings { found, recovered, unpowered, ..self.seen }
    }
}

fn file(mut tags: Vec<RecordedTag>, name: &str) -> Recording {
    let mut at = 40_960;
    for tag in &mut tags {
        tag.at = at;
        at += u64::from(tag.tag.len) + 15;
    }
    let keyframes = tags.iter().filter(|tag| tag.tag.role == Role::Keyframe);
    let index = keyframes.map(|tag| (u64::from(tag.tag.timestamp_ms), tag.at)).collect();
    let media = tags.iter().filter(|tag| tag.tag.role != Role::Script);
    let duration_ms = media.map(|tag| u64::from(tag.tag.timestamp_ms)).max().unwrap_or(0);
    Recording {
        path: format!("records/live/a-20260101T{name}Z.flv").into(),
        len: at,
        head: Some(RecordingHead { duration_ms, filesize: at, index }),
        tags,
        ..Recording::default()
    }
}
