//! A server in memory: connections and one hub, joined by hand as a shell joins them, a clock that
//! is moved by hand, and the peers' side of every connection.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay::hub::{
    Absence, Hub, HubLimits, Next, Policy, Publisher, Receive, Start, StreamKey, Viewer,
};
use forebay::rtmp::Input;
use forebay::rtmp::server::{ConnectionLimits, Output, ServerConnection};
use forebay::wire_log::Protocol;

use crate::codec::{Amf, ChunkReader, ChunkWriter, Media, Message, amf, message_type, read_flv};

/// A peer's connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Peer(usize);

/// Somebody who takes a stream as FLV.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FlvPeer(usize);

/// How what a peer sends is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pieces {
    Whole,
    Bytes,
    CutAt(usize),
}

pub(crate) struct Studio {
    pub(crate) now: Instant,
    pub(crate) hub: Hub,
    pub(crate) limits: ConnectionLimits,
    /// How long players wait for a publisher that vanished.
    pub(crate) grace: Duration,
    pub(crate) start: Start,
    pub(crate) policy: Policy,
    pub(crate) pieces: Pieces,
    /// About how many bytes a viewer writes at once.
    pub(crate) batch_len: usize,
    sockets: Vec<Socket>,
    flv: Vec<FlvSocket>,
    absences: Vec<(Instant, Absence)>,
}

struct Socket {
    server: ServerConnection,
    deadline: Option<Instant>,
    publishers: BTreeMap<u32, Publisher>,
    players: BTreeMap<u32, (Viewer, Receive)>,
    closed: Option<Option<String>>,
    peer: PeerSide,
}

/// What is on the other end of a socket.
struct PeerSide {
    reader: ChunkReader,
    writer: ChunkWriter,
    /// Bytes of S0, S1 and S2 that did not arrive yet.
    handshake_left: usize,
    heard: Vec<Message>,
    /// Answers to pings that wait to be sent.
    pongs: Vec<Message>,
    is_dead: bool,
}

struct FlvSocket {
    viewer: Option<Viewer>,
    bytes: Vec<u8>,
    is_stuck: bool,
}

const HANDSHAKE_LEN: usize = 1 + 2 * 1536;

/// A command without its transaction id.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Command {
    pub(crate) stream_id: u32,
    pub(crate) name: String,
    pub(crate) transaction_id: f64,
    /// The object and the arguments.
    pub(crate) values: Vec<Amf>,
}

impl Command {
    fn parse(message: &Message) -> Self {
        let mut values = Amf::read_all(&message.body);
        let name = values.remove(0).text().to_owned();
        let transaction_id = values.remove(0).number();
        Self { stream_id: message.stream_id, name, transaction_id, values }
    }

    /// `code` of the information object.
    pub(crate) fn code(&self) -> &str {
        self.values[1].get("code").text()
    }

    pub(crate) fn level(&self) -> &str {
        self.values[1].get("level").text()
    }
}

/// What a peer heard, in order.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Heard(pub(crate) Vec<Message>);

impl Heard {
    pub(crate) fn commands(&self) -> Vec<Command> {
        let is_command = |message: &&Message| message.type_id == message_type::COMMAND;
        self.0.iter().filter(is_command).map(Command::parse).collect()
    }

    /// Codes of the `onStatus` on a stream.
    pub(crate) fn codes(&self, stream_id: u32) -> Vec<String> {
        let commands = self.commands();
        let of_stream =
            commands.iter().filter(|c| c.name == "onStatus" && c.stream_id == stream_id);
        of_stream.map(|command| command.code().to_owned()).collect()
    }

    pub(crate) fn has_code(&self, stream_id: u32, code: &str) -> bool {
        self.codes(stream_id).iter().any(|found| found == code)
    }

    /// The one answer to a transaction.
    pub(crate) fn answer(&self, transaction_id: f64) -> Command {
        let is_answer = |command: &Command| {
            command.transaction_id == transaction_id
                && (command.name == "_result" || command.name == "_error")
        };
        let mut answers: Vec<_> = self.commands().into_iter().filter(is_answer).collect();
        assert_eq!(answers.len(), 1, "answers to transaction {transaction_id}: {answers:?}");
        answers.remove(0)
    }

    /// User control events as their type and the four bytes behind it.
    pub(crate) fn events(&self) -> Vec<(u16, u32)> {
        let is_event = |message: &&Message| message.type_id == message_type::USER_CONTROL;
        self.0.iter().filter(is_event).map(event).collect()
    }

    pub(crate) fn has_event(&self, event: u16, value: u32) -> bool {
        self.events().contains(&(event, value))
    }

    /// Where the first message is that `is_wanted`.
    pub(crate) fn position(&self, is_wanted: impl Fn(&Message) -> bool) -> usize {
        self.0.iter().position(is_wanted).unwrap_or_else(|| panic!("not in {self:?}"))
    }

    pub(crate) fn position_of_event(&self, wanted: u16, value: u32) -> usize {
        self.position(|message| {
            message.type_id == message_type::USER_CONTROL && event(message) == (wanted, value)
        })
    }

    pub(crate) fn position_of_code(&self, stream_id: u32, code: &str) -> usize {
        self.position(|message| {
            message.type_id == message_type::COMMAND
                && message.stream_id == stream_id
                && Heard(vec![message.clone()]).has_code(stream_id, code)
        })
    }

    /// What a player plays of a stream.
    pub(crate) fn media(&self, stream_id: u32) -> Vec<Media> {
        let of_stream = self.0.iter().filter(|message| message.stream_id == stream_id);
        of_stream
            .filter(|message| [8, 9, 18].contains(&message.type_id))
            .map(|message| Media {
                kind: message.type_id,
                time: message.time,
                body: message.body.clone(),
            })
            .collect()
    }
}

fn event(message: &Message) -> (u16, u32) {
    let body: [u8; 6] = message.body[..].try_into().expect("an event with four bytes");
    (
        u16::from_be_bytes([body[0], body[1]]),
        u32::from_be_bytes([body[2], body[3], body[4], body[5]]),
    )
}

/// User control events (RTMP 7.1.7).
pub(crate) const STREAM_BEGIN: u16 = 0;
pub(crate) const STREAM_EOF: u16 = 1;
const PING_REQUEST: u16 = 6;
const PING_RESPONSE: u16 = 7;

impl Studio {
    pub(crate) fn new() -> Self {
        Self::with(HubLimits::default())
    }

    #[allow(clippy::disallowed_methods, reason = "a clock to count from; nothing waits for it")]
    pub(crate) fn with(limits: HubLimits) -> Self {
        Self {
            now: Instant::now(),
            hub: Hub::new(limits),
            limits: ConnectionLimits::default(),
            grace: Duration::ZERO,
            start: Start::Gop,
            policy: Policy::default(),
            pieces: Pieces::Whole,
            batch_len: 64 << 10,
            sockets: Vec::new(),
            flv: Vec::new(),
            absences: Vec::new(),
        }
    }

    // What peers do.

    /// A TCP connection, and nothing sent yet.
    pub(crate) fn accept(&mut self) -> Peer {
        let seed = self.sockets.len() as u64;
        self.sockets.push(Socket {
            server: ServerConnection::new(self.now, seed, self.limits),
            deadline: None,
            publishers: BTreeMap::new(),
            players: BTreeMap::new(),
            closed: None,
            peer: PeerSide {
                reader: ChunkReader::new(),
                writer: ChunkWriter::new(),
                handshake_left: HANDSHAKE_LEN,
                heard: Vec::new(),
                pongs: Vec::new(),
                is_dead: false,
            },
        });
        let peer = Peer(self.sockets.len() - 1);
        self.drain(peer);
        peer
    }

    /// C0, C1 and C2 of a client without digest that does not look at S1.
    pub(crate) fn handshake_bytes() -> Vec<u8> {
        let mut bytes = vec![3];
        bytes.extend([0; 8]);
        bytes.extend((8..1536).map(|n| (n % 251) as u8));
        bytes.extend([0; 1536]);
        bytes
    }

    /// A connection behind the handshake.
    pub(crate) fn dial(&mut self) -> Peer {
        let peer = self.accept();
        self.send_bytes(peer, &Self::handshake_bytes());
        assert_eq!(self.sockets[peer.0].peer.handshake_left, 0, "no handshake");
        peer
    }

    pub(crate) fn dial_app(&mut self, app: &str) -> Peer {
        let peer = self.dial();
        self.command(peer, 0, "connect", 1.0, &[Amf::object(&[("app", app.into())])]);
        assert_eq!(self.take(peer).answer(1.0).name, "_result");
        peer
    }

    pub(crate) fn create_stream(&mut self, peer: Peer) -> u32 {
        self.command(peer, 0, "createStream", 2.0, &[Amf::Null]);
        let answer = self.take(peer).answer(2.0);
        assert_eq!(answer.name, "_result");
        answer.values[1].number() as u32
    }

    /// Says `publish` and hears what comes of it.
    pub(crate) fn publish(&mut self, peer: Peer, stream_id: u32, name: &str) -> Heard {
        self.command(peer, stream_id, "publish", 3.0, &[Amf::Null, name.into(), "live".into()]);
        self.take(peer)
    }

    /// An encoder that publishes `live/name`, and its stream.
    pub(crate) fn encoder(&mut self, name: &str) -> (Peer, u32) {
        let peer = self.dial_app("live");
        let stream_id = self.create_stream(peer);
        let heard = self.publish(peer, stream_id, name);
        assert!(heard.has_code(stream_id, "NetStream.Publish.Start"), "{heard:?}");
        (peer, stream_id)
    }

    /// A player of `live/name`, and its stream.
    pub(crate) fn player(&mut self, name: &str) -> (Peer, u32) {
        let peer = self.dial_app("live");
        let stream_id = self.create_stream(peer);
        self.command(peer, stream_id, "play", 0.0, &[Amf::Null, name.into()]);
        let heard = &self.sockets[peer.0].peer.heard;
        assert!(Heard(heard.clone()).has_code(stream_id, "NetStream.Play.Start"), "{heard:?}");
        (peer, stream_id)
    }

    /// Somebody who takes `live/name` as FLV.
    pub(crate) fn flv_player(&mut self, name: &str) -> FlvPeer {
        let key = StreamKey::new("live", name);
        let viewer = self.hub.view(key, Protocol::Flv, 0, self.start, self.policy, "flv").unwrap();
        self.flv.push(FlvSocket { viewer: Some(viewer), bytes: Vec::new(), is_stuck: false });
        self.settle();
        FlvPeer(self.flv.len() - 1)
    }

    pub(crate) fn command(
        &mut self,
        peer: Peer,
        stream_id: u32,
        name: &str,
        transaction_id: f64,
        values: &[Amf],
    ) {
        let bytes = self.command_bytes(peer, stream_id, name, transaction_id, values);
        self.send_bytes(peer, &bytes);
    }

    /// A command to be sent together with something else.
    pub(crate) fn command_bytes(
        &mut self,
        peer: Peer,
        stream_id: u32,
        name: &str,
        transaction_id: f64,
        values: &[Amf],
    ) -> Vec<u8> {
        let mut body = amf(&[name.into(), transaction_id.into()]);
        body.extend(amf(values));
        self.message_bytes(
            peer,
            3,
            &Message { type_id: message_type::COMMAND, stream_id, time: 0, body },
        )
    }

    pub(crate) fn message_bytes(&mut self, peer: Peer, csid: u8, message: &Message) -> Vec<u8> {
        self.sockets[peer.0].peer.writer.write(csid, message)
    }

    pub(crate) fn send(&mut self, (peer, stream_id): (Peer, u32), media: &Media) {
        // OBS has one chunk stream for all media.
        let bytes = self.message_bytes(peer, 4, &media.on_stream(stream_id));
        self.send_bytes(peer, &bytes);
    }

    pub(crate) fn send_all<'a>(
        &mut self,
        encoder: (Peer, u32),
        media: impl IntoIterator<Item = &'a Media>,
    ) {
        for media in media {
            self.send(encoder, media);
        }
    }

    pub(crate) fn set_chunk_size(&mut self, peer: Peer, size: u32) -> Vec<u8> {
        let body = size.to_be_bytes().to_vec();
        let type_id = message_type::SET_CHUNK_SIZE;
        let bytes = self.message_bytes(peer, 2, &Message { type_id, stream_id: 0, time: 0, body });
        self.sockets[peer.0].peer.writer.chunk_size = size as usize;
        bytes
    }

    pub(crate) fn send_bytes(&mut self, peer: Peer, bytes: &[u8]) {
        match self.pieces {
            Pieces::Whole => self.receive(peer, bytes),
            Pieces::Bytes => bytes.chunks(1).for_each(|byte| self.receive(peer, byte)),
            Pieces::CutAt(at) => {
                let (head, tail) = bytes.split_at(at.min(bytes.len()));
                self.receive(peer, head);
                self.receive(peer, tail);
            }
        }
    }

    /// A FIN from the peer.
    pub(crate) fn hang_up(&mut self, peer: Peer) {
        self.input(peer, Input::Close);
        self.settle();
    }

    /// From now on the peer takes nothing and says nothing, not even to pings, and does not close.
    pub(crate) fn freeze(&mut self, peer: Peer) {
        self.sockets[peer.0].peer.is_dead = true;
    }

    /// From now on, whether an FLV player takes what there is for it.
    pub(crate) fn set_stuck(&mut self, peer: FlvPeer, is_stuck: bool) {
        self.flv[peer.0].is_stuck = is_stuck;
        self.settle();
    }

    /// What a peer heard since it was last asked.
    pub(crate) fn take(&mut self, peer: Peer) -> Heard {
        Heard(std::mem::take(&mut self.sockets[peer.0].peer.heard))
    }

    /// What a player was given since it was last asked.
    pub(crate) fn played(&mut self, (peer, stream_id): (Peer, u32)) -> Vec<Media> {
        self.take(peer).media(stream_id)
    }

    pub(crate) fn played_flv(&mut self, peer: FlvPeer) -> Vec<Media> {
        read_flv(&std::mem::take(&mut self.flv[peer.0].bytes))
    }

    pub(crate) fn is_flv_over(&self, peer: FlvPeer) -> bool {
        self.flv[peer.0].viewer.is_none()
    }

    pub(crate) fn is_open(&self, peer: Peer) -> bool {
        self.sockets[peer.0].closed.is_none()
    }

    /// Why the server closed.
    pub(crate) fn error(&self, peer: Peer) -> Option<&str> {
        self.sockets[peer.0].closed.as_ref().expect("it is closed").as_deref()
    }

    // What the shell does.

    /// Lets time pass; what is due meanwhile happens on time.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let target = self.now + duration;
        while let Some((at, due)) = self.next_due().filter(|(at, _)| *at <= target) {
            self.now = self.now.max(at);
            match due {
                Due::Socket(peer) => {
                    self.input(peer, Input::Timeout);
                    let socket = &self.sockets[peer.0];
                    let is_later = socket.deadline.is_none_or(|deadline| deadline > self.now);
                    assert!(socket.closed.is_some() || is_later, "a deadline that does not move");
                }
                Due::Absence(index) => {
                    self.absences.remove(index).1.end();
                }
            }
            self.settle();
        }
        self.now = target;
    }

    fn next_due(&self) -> Option<(Instant, Due)> {
        let open = self.sockets.iter().enumerate().filter(|(_, socket)| socket.closed.is_none());
        let sockets =
            open.filter_map(|(at, socket)| Some((socket.deadline?, Due::Socket(Peer(at)))));
        let absences = self.absences.iter().enumerate();
        let absences = absences.map(|(index, (at, _))| (*at, Due::Absence(index)));
        sockets.chain(absences).min_by_key(|(at, _)| *at)
    }

    fn receive(&mut self, peer: Peer, bytes: &[u8]) {
        assert!(!self.sockets[peer.0].peer.is_dead);
        self.input(peer, Input::Received(Bytes::copy_from_slice(bytes)));
        self.settle();
    }

    fn input(&mut self, peer: Peer, input: Input) {
        let socket = &mut self.sockets[peer.0];
        if socket.closed.is_none() {
            socket.server.handle_input(self.now, input);
            self.drain(peer);
        }
    }

    fn drain(&mut self, peer: Peer) {
        let now = self.now;
        loop {
            let socket = &mut self.sockets[peer.0];
            match socket.server.poll_output() {
                Output::Send(bytes) => socket.peer.hear(&bytes),
                Output::Publish { stream_id, app, name, .. } => {
                    let key = StreamKey::new(&app, &name);
                    match self.hub.publish(key, "encoder") {
                        Ok(publisher) => {
                            let last = socket.publishers.insert(stream_id, publisher);
                            assert!(last.is_none(), "two publishers on one message stream");
                            socket.server.accept_publish(stream_id);
                        }
                        Err(error) => socket.server.refuse_publish(
                            stream_id,
                            "NetStream.Publish.BadName",
                            &error.to_string(),
                        ),
                    }
                }
                Output::Play { stream_id, app, name, .. } => {
                    let key = StreamKey::new(&app, &name);
                    let (start, policy) = (self.start, self.policy);
                    let viewer =
                        self.hub.view(key, Protocol::Rtmp, stream_id, start, policy, "player");
                    let last =
                        socket.players.insert(stream_id, (viewer.unwrap(), Receive::default()));
                    assert!(last.is_none(), "two players on one message stream");
                    socket.server.accept_play(stream_id);
                }
                Output::Tag { stream_id, tag, pinned } => {
                    let publisher = socket.publishers.get_mut(&stream_id);
                    let publisher = publisher.expect("tags come behind Publish and its consent");
                    if publisher.push(now, tag, pinned).is_err() {
                        socket.lose_name(stream_id);
                    }
                }
                Output::Unpublish { stream_id } => {
                    let publisher = socket.publishers.remove(&stream_id);
                    publisher.expect("what ends has begun").end();
                }
                Output::StopPlay { stream_id } => {
                    socket.players.remove(&stream_id).expect("what ends has begun");
                }
                Output::Receive { stream_id, audio, video, pause } => {
                    let (viewer, receive) = socket.players.get_mut(&stream_id).expect("a player");
                    receive.audio = audio.unwrap_or(receive.audio);
                    receive.video = video.unwrap_or(receive.video);
                    receive.paused = pause.unwrap_or(receive.paused);
                    viewer.set_receive(*receive);
                }
                Output::Close(error) => {
                    socket.closed = Some(error.map(|error| error.to_string()));
                    socket.players.clear();
                    for publisher in std::mem::take(&mut socket.publishers).into_values() {
                        self.absences.push((now + self.grace, publisher.vanish()));
                    }
                    break;
                }
                Output::Wait(deadline) => {
                    socket.deadline = deadline;
                    break;
                }
            }
        }
        for publisher in self.sockets[peer.0].publishers.values_mut() {
            publisher.flush(now);
        }
    }

    /// Until nothing more happens at this moment.
    fn settle(&mut self) {
        loop {
            let mut is_settled = self.end_absences();
            for peer in (0..self.sockets.len()).map(Peer) {
                is_settled &= self.supersede(peer) & self.write_players(peer) & self.pong(peer);
            }
            for index in 0..self.flv.len() {
                self.write_flv(index);
            }
            if is_settled {
                return;
            }
        }
    }

    /// Says whether there was nothing to do.
    fn end_absences(&mut self) -> bool {
        let Some(index) = self.absences.iter().position(|(at, _)| *at <= self.now) else {
            return true;
        };
        self.absences.remove(index).1.end();
        false
    }

    fn supersede(&mut self, peer: Peer) -> bool {
        let socket = &mut self.sockets[peer.0];
        let cx = &mut Context::from_waker(Waker::noop());
        let is_lost =
            |(_, publisher): &(&u32, &Publisher)| publisher.poll_superseded(cx).is_ready();
        let Some((&stream_id, _)) = socket.publishers.iter().find(is_lost) else { return true };
        socket.lose_name(stream_id);
        self.drain(peer);
        false
    }

    fn pong(&mut self, peer: Peer) -> bool {
        let peer_side = &mut self.sockets[peer.0].peer;
        if peer_side.pongs.is_empty() || peer_side.is_dead {
            return true;
        }
        let message = peer_side.pongs.remove(0);
        let bytes = self.message_bytes(peer, 2, &message);
        self.input(peer, Input::Received(bytes.into()));
        false
    }

    fn write_players(&mut self, peer: Peer) -> bool {
        let socket = &mut self.sockets[peer.0];
        if socket.peer.is_dead || socket.closed.is_some() {
            return true;
        }
        let mut ended = Vec::new();
        for (&stream_id, (viewer, _)) in &mut socket.players {
            if write(viewer, self.batch_len, |bytes| socket.peer.hear(bytes)) {
                ended.push(stream_id);
            }
            assert!(socket.peer.reader.is_between_messages(), "a viewer stopped inside a message");
        }
        for stream_id in &ended {
            socket.players.remove(stream_id);
            socket.server.end_play(*stream_id);
        }
        if ended.is_empty() {
            return true;
        }
        self.drain(peer);
        false
    }

    fn write_flv(&mut self, index: usize) {
        let FlvSocket { viewer, bytes, is_stuck } = &mut self.flv[index];
        if *is_stuck {
            return;
        }
        if let Some(some) = viewer
            && write(some, self.batch_len, |more| bytes.extend_from_slice(more))
        {
            *viewer = None;
        }
    }
}

enum Due {
    Socket(Peer),
    Absence(usize),
}

/// Writes all there is. Says whether the stream is over.
fn write(viewer: &mut Viewer, batch_len: usize, mut sink: impl FnMut(&[u8])) -> bool {
    let cx = &mut Context::from_waker(Waker::noop());
    loop {
        let len = match viewer.poll_batch(cx, batch_len) {
            Poll::Ready(Next::Batch(batch)) => {
                batch.slices().iter().for_each(|slice| sink(slice));
                batch.len()
            }
            Poll::Ready(Next::End) => return true,
            Poll::Ready(Next::Disconnected) => panic!("no policy here lets anybody go"),
            Poll::Pending => return false,
        };
        viewer.advance(len);
    }
}

impl Socket {
    fn lose_name(&mut self, stream_id: u32) {
        self.publishers.remove(&stream_id);
        let description = "another publisher took over";
        self.server.refuse_publish(stream_id, "NetStream.Publish.BadName", description);
    }
}

impl PeerSide {
    fn hear(&mut self, bytes: &[u8]) {
        if self.is_dead {
            return;
        }
        let handshake = self.handshake_left.min(bytes.len());
        self.handshake_left -= handshake;
        for message in self.reader.read(&bytes[handshake..]) {
            if message.type_id == message_type::USER_CONTROL && event(&message).0 == PING_REQUEST {
                let mut body = PING_RESPONSE.to_be_bytes().to_vec();
                body.extend(&message.body[2..]);
                self.pongs.push(Message { body, ..message });
            } else {
                self.heard.push(message);
            }
        }
    }
}
