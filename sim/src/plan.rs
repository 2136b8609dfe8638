//! Plan: what happens in a run, as data and as text. Whatever a run does is in its plan, so a run
//! can be printed, replayed, kept, and made smaller.
//!
//! ```text
//! plan 1
//! # resumes_decodable, seed 8412 (was: 14 viewers, 3 nodes, 211 events, 60 s)
//! seed     8412
//! tick     5 ms
//! set      play.backlog_ms_max=2000
//! 0.000    studio   publish live/a obs-360p30-base 0.000..4.200 quirk chunk-size 1 link fiber
//! 0.310    crowd*20 play live/a flv apart 0.005 stay 2.000 again 0.500 link 3 Mbit/s 40 ms
//! 0.000    tube     target live/* key s3cret quirk cuts after 300000 B link far
//! 1.900    crowd-3  link 0 bit/s for 1.300
//! studio.keyframe#3+0.005 crowd    leave vanish
//! 2.000    node     crash for 0.500
//! 3.000    quiet
//! 4.200    end
//! ```
//!
//! Times are seconds. What is as it usually is goes unsaid: the node `node`, the link `lan`.

mod cast;
mod disk;
mod facts;
mod family;
mod link;
mod parse;
mod print;
mod quirk;
mod target;
mod units;
mod vocabulary;
mod words;

use std::time::Duration;

use crate::link::Link;
use crate::time::SimTime;

pub use self::disk::{DiskCalls, DiskFault};
pub use self::parse::PlanError;
pub use self::target::{Refusal, Target, TargetQuirk};

/// The version of the text's format, in its first line.
pub const VERSION: u32 = 1;

/// A run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What it was made from, for people: scenario and seed, or the reason it is kept. A comment
    /// in the text; lines separated by `\n`.
    pub title: String,
    /// Where every random draw comes from, together with a name of its purpose.
    pub seed: u64,
    /// The grain of time: links deliver and clocks tick in steps of it.
    pub tick: Duration,
    /// The node's configuration where it differs from the defaults: `section.key=value`.
    pub settings: Vec<String>,
    /// What happens, in order of the text.
    pub lines: Vec<Line>,
    /// From here on no fault begins, and liveness is judged. `None`: liveness is not judged.
    pub quiet: Option<SimTime>,
    /// When the run is over.
    pub end: SimTime,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// When.
    pub when: When,
    /// To whom: a peer, a group of peers, or a node.
    pub who: Actor,
    /// What.
    pub act: Act,
}

/// A moment.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// A time.
    At(SimTime),
    /// When something has been seen, and a little later: `studio.keyframe#3+0.005`.
    On {
        /// What.
        moment: Moment,
        /// How much later.
        delay: Duration,
    },
}

/// Something that can be waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Who does it: a peer or a node. Of a group, any member counts.
    pub who: String,
    /// What it does.
    pub event: MomentKind,
    /// The how manyeth time, from 1.
    pub count: u32,
}

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MomentKind {
    /// A connection stands; a target has accepted one.
    Connected,
    /// A publisher may publish; a target has let a node publish.
    Publishing,
    /// A viewer is told that it plays.
    Playing,
    /// A publisher has sent a keyframe; a target has got one.
    Keyframe,
    /// A publisher has sent a sequence header; a target has got one.
    Header,
    /// A publisher has sent a tag of any kind; a target has got one.
    Tag,
    /// A viewer got its first picture after a start or a lag.
    Picture,
    /// A viewer lost tags.
    Lag,
    /// A connection is over.
    Closed,
    /// A node or a target listens.
    Started,
    /// A node has stopped or crashed, a target has crashed.
    Down,
    /// A node's disk has been told to do something. Where a node is to crash at that moment, its disk
    /// does nothing more from it on.
    Disk,
}

/// A peer or node by its name, or a group of `count` peers named `name-1`, `name-2`, ...
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Letters, digits, `-` and `_`, not starting with a digit.
    pub name: String,
    /// Written `name*count` where a group is introduced; 1 otherwise, also where a line means a
    /// whole group by its name.
    pub count: u32,
}

/// What a peer or a node does, or has done to it.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// A publisher comes.
    Publish(Publish),
    /// A viewer comes.
    Play(Play),
    /// A bad neighbour comes and speaks like this to a node's RTMP port.
    Speak {
        /// How.
        speech: Speech,
        /// To which node.
        node: String,
    },
    /// A server comes that a node relays to.
    Target(Target),
    /// A peer stops to read for so long.
    StopReading(Duration),
    /// A peer leaves, and does not come back unless it was said to come `again`.
    Leave(Leave),
    /// A peer's link is another for so long; for good if `None`.
    Link(Link, Option<Duration>),
    /// Nothing passes for so long; what was sent comes late, as retransmissions bring it.
    Cut(Direction, Duration),
    /// A box on the way forgets the connection: what is sent vanishes, nobody is told.
    Forget,
    /// A box on the way resets the connection.
    Reset,
    /// A publisher is silent for so long, then sends what it did not, at once.
    Stall(Duration),
    /// A viewer asks for less: pause, no audio, no video (RTMP only).
    Receive(Receive),
    /// The node's task for this peer's connection is cancelled.
    Cancel,
    /// The node's task for this peer's connection panics at its next read.
    Panic,
    /// A node's or a target's process dies, and starts again after so long; never if `None`. `silent`:
    /// the machine lost its power, nobody is told, and a node's disk has what was synced, and of the
    /// rest whatever it likes.
    Crash {
        /// Until it starts again.
        down: Option<Duration>,
        /// Whether its peers are told by their networks.
        silent: bool,
    },
    /// A node is told to stop, and starts again so long after it has.
    Stop(Option<Duration>),
    /// A node or a target neither reads, writes nor accepts for so long.
    Freeze(Duration),
    /// A node's timers fire up to this late, for so long.
    Late(Duration, Duration),
    /// What leaves a node is bounded to so many bits per second, for so long; for good if `None`.
    Egress(u64, Option<Duration>),
    /// Connects to a node or a target are refused for so long.
    Refuse(Duration),
    /// Connects to a node or a target hang for so long.
    Hang(Duration),
    /// A node's disk fails like this for so long. `None`: once if it is a call that fails, for good
    /// if it is anything else.
    Disk(DiskFault, Option<Duration>),
}

/// A publisher.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    /// The stream, as `live/a`.
    pub key: String,
    /// A file of testdata without folder and ending, as `obs-360p30-base`.
    pub capture: String,
    /// Only this part of it, in seconds of stream time; a capture that was recorded on the wire is
    /// always sent whole.
    pub part: Option<(SimTime, SimTime)>,
    /// Start over at its end, with running timestamps.
    pub repeats: bool,
    /// How the encoder differs from a good one.
    pub quirks: Vec<Quirk>,
    /// Its way to the node.
    pub link: Link,
    /// It comes back so long after its connection ended, whoever ended it.
    pub again: Option<Duration>,
    /// The node.
    pub node: String,
}

/// A viewer, or several.
#[derive(Clone, Debug, PartialEq)]
pub struct Play {
    /// The stream, as `live/a`.
    pub key: String,
    /// How it plays.
    pub player: Player,
    /// Where it starts; the node's default if `None`.
    pub start: Option<Start>,
    /// Its way to the node.
    pub link: Link,
    /// It leaves after so long.
    pub stay: Option<Duration>,
    /// It comes back so long after its connection ended, whoever ended it.
    pub again: Option<Duration>,
    /// Members of a group come this far apart.
    pub apart: Duration,
    /// The node.
    pub node: String,
}

/// How a viewer plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Player {
    /// RTMP, by our own small client.
    Rtmp,
    /// HTTP-FLV.
    Flv,
    /// RTMP, by rml_rtmp's client.
    Rml,
    /// HLS.
    Hls,
}

/// Where a viewer starts: the server's query parameter `start=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the server's own names")]
pub enum Start {
    Gop,
    Live,
    Auto,
}

/// How a peer leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Says goodbye in the protocol's terms, and closes.
    Goodbye,
    /// Closes.
    Close,
    /// Closes its half only, and goes on reading.
    HalfClose,
    /// Resets.
    Reset,
    /// Vanishes: no FIN, no RST.
    Vanish,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    Both,
    /// From the peer to the node.
    Up,
    /// From the node to the peer.
    Down,
}

/// What a viewer wants from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Receive {
    Pause,
    Resume,
    AudioOff,
    AudioOn,
    VideoOff,
    VideoOn,
}

/// How an encoder differs from a good one. The numbers are those of PROPERTIES 2.2.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quirk {
    /// P1: timestamps begin here instead of where the capture's do, and wrap at 2^32.
    StartsAt(u32),
    /// P2: no extended timestamp in type 3 chunks.
    NoExtendedOnType3,
    /// P3: from this tag on, timestamps are shifted by so many milliseconds.
    Jumps {
        /// The tag's index in the capture.
        at_tag: u32,
        /// Milliseconds; negative ones go back.
        by_ms: i32,
    },
    /// P3: every timestamp is 0.
    AllZero,
    /// P4: audio comes so many milliseconds later than it should (timestamps too).
    AudioLate(u32),
    /// P5: no audio at all.
    NoAudio,
    /// P5: no video at all.
    NoVideo,
    /// P5: video appears after so many milliseconds.
    VideoAfter(u32),
    /// P6: the sequence headers are repeated before every keyframe.
    HeadersRepeated,
    /// P7: the video's sequence header changes in every so manyeth GOP: before the keyframe.
    HeaderChanges {
        /// In GOPs, from 1.
        every: u32,
        /// So many tags after the keyframe (negative: before it).
        offset: i32,
    },
    /// P8: the codec changes to a FourCC one after so many GOPs.
    CodecChanges(u32),
    /// P9: the sequence headers come so many milliseconds late.
    HeadersLate(u32),
    /// P9: there is no sequence header at all.
    NoHeaders,
    /// P10: only every so manyeth keyframe stays one; 0: only the first. The others are inter
    /// frames.
    KeyframeEvery(u32),
    /// P10: every picture is a keyframe.
    AllKeyframes,
    /// Every so manyeth inter frame is one that no other needs.
    Disposable(u32),
    /// P11: every composition time is shifted by so many milliseconds.
    CompositionTime(i32),
    /// P13: a keyframe is padded to so many bytes, once every so manyeth GOP.
    Huge {
        /// Bytes.
        len: u32,
        /// In GOPs, from 1.
        every: u32,
    },
    /// P14: so many tiny audio tags come with each audio tag.
    Storm(u32),
    /// P14: every so manyeth tag is followed by an empty one.
    EmptyTags(u32),
    /// P15: the chunk size, 1 to 2^31-1.
    ChunkSize(u32),
    /// P15: the chunk size changes with every GOP, through 1, 128, 4096 and 65536, also while a
    /// message is partly sent on another chunk stream.
    ChunkSizeChanges,
    /// P16: audio and video on chunk streams of their own, interleaved chunk by chunk.
    Interleaved,
    /// P17: a message is begun and aborted before every keyframe.
    Aborts,
    /// P17: audio and video come in aggregate messages.
    Aggregates,
    /// P17: messages of unknown types come between.
    UnknownTypes,
    /// P18: metadata is sent again with every GOP, with other values.
    MetadataUpdates,
    /// P19: tags of so many milliseconds are held back and sent at once.
    Bursts(u32),
    /// P20: the encoder's clock runs faster by so many parts in a million.
    Drift(i32),
    /// P21: every other second pictures are so many times as large.
    Swings(u32),
    /// P24: after so many GOPs the stream is deleted and published again on the same connection.
    Republishes(u32),
    /// Of the pictures only keyframes are sent, and of the sounds every so manyeth: a day's worth
    /// of stream for the work of an hour.
    Thin(u32),
    /// P27: stops sending when so many bytes are not acknowledged.
    Window(u32),
}

/// How a bad neighbour speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// Nothing at all.
    Silence,
    /// Random bytes.
    Garbage,
    /// An HTTP request.
    Http,
    /// A TLS hello.
    Tls,
    /// Half a handshake, then nothing.
    HalfHandshake,
    /// A handshake, a byte a second.
    SlowHandshake,
    /// A handshake of a version that does not exist, then garbage.
    WrongVersion,
    /// A good handshake, then garbage.
    GarbageAfterHandshake,
    /// A message longer than any limit.
    LongMessage,
    /// More chunk streams than any limit.
    ManyChunkStreams,
    /// AMF nested deeper than any limit.
    DeepAmf,
    /// Commands nobody knows, with values of wrong types.
    UnknownCommands,
    /// Media before anything was published.
    MediaFirst,
    /// A request for a stream nobody publishes, again and again.
    PlaysNothing,
    /// Publishes a key that somebody else publishes.
    Intruder,
    /// HTTP, a byte a second.
    SlowHttp,
}

impl Speech {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Silence,
        Self::Garbage,
        Self::Http,
        Self::Tls,
        Self::HalfHandshake,
        Self::SlowHandshake,
        Self::WrongVersion,
        Self::GarbageAfterHandshake,
        Self::LongMessage,
        Self::ManyChunkStreams,
        Self::DeepAmf,
        Self::UnknownCommands,
        Self::MediaFirst,
        Self::PlaysNothing,
        Self::Intruder,
        Self::SlowHttp,
    ];
}
