//! What a server does with each command.

use super::{Activity, App, Output, ServerConnection, Stream};
use crate::amf0::Value;
use crate::rtmp::command::{self, Command, CommandError, Level, query_of, split_name};
use crate::rtmp::message::Message;
use crate::rtmp::session::{CSID_CONNECTION, user_control, with_body};

impl ServerConnection {
    pub(super) fn handle_command(&mut self, message: &Message) -> Result<(), CommandError> {
        let limits = self.limits.commands;
        with_body(&message.payload, limits.command_len_max, |body| {
            let command = Command::parse(message.type_id, body, limits.amf0)?;
            self.dispatch(message.stream_id, &command)
        })
    }

    fn dispatch(&mut self, stream_id: u32, command: &Command<'_>) -> Result<(), CommandError> {
        match command.name {
            "connect" => return self.connect(command),
            "createStream" => self.create_stream(command),
            "publish" => return self.publish(stream_id, command),
            "play" => return self.play(stream_id, command),
            "FCUnpublish" => {
                self.fc_unpublish(command);
                self.answer(command, Value::Undefined);
            }
            "closeStream" => {
                if let Some(stream_id) = self.meant_stream(stream_id, None) {
                    self.end_stream(stream_id);
                }
            }
            "deleteStream" => {
                if let Some(stream_id) = self.meant_stream(0, command.argument(0)) {
                    self.end_stream(stream_id);
                    self.streams.retain(|stream| stream.id != stream_id);
                }
            }
            "receiveAudio" | "receiveVideo" => self.receive(stream_id, command),
            "pause" | "pauseRaw" => self.pause(stream_id, command),
            // Encoders send these without waiting, and some wait for what comes back.
            "releaseStream" | "FCPublish" | "FCSubscribe" | "_checkbw" => {
                self.answer(command, Value::Undefined);
            }
            // A live stream has no length. FFmpeg reads a number.
            "getStreamLength" => self.answer(command, Value::Number(0.0)),
            // Answers to questions that we did not ask.
            "_result" | "_error" | "onStatus" => {}
            _ => self.answer_error(command, "There is no such command."),
        }
        Ok(())
    }

    /// RTMP 7.2.1.1. What it answers is one write, with the chunk size the media will have.
    fn connect(&mut self, command: &Command<'_>) -> Result<(), CommandError> {
        if self.app.is_some() {
            self.answer_error(command, "This connection is connected already.");
            return Ok(());
        }
        let app = App::parse(command, &self.limits.commands).inspect_err(|error| {
            let text = error.to_string();
            let answer =
                Command::error(command.transaction_id, "NetConnection.Connect.InvalidApp", &text);
            self.session.write_command(CSID_CONNECTION, 0, &answer);
        })?;
        self.app = Some(app);
        self.session.write_window(self.limits.window_ack_size);
        self.session.write_peer_bandwidth(self.limits.peer_bandwidth);
        self.session.write_chunk_size(self.limits.chunk_size);
        self.session.write_user_control(user_control::STREAM_BEGIN, &[0]);
        let answer = Command::connected(command);
        self.session.write_command(CSID_CONNECTION, 0, &answer);
        Ok(())
    }

    /// RTMP 7.2.1.3. Answered whatever the transaction id: nobody creates a stream for nothing.
    fn create_stream(&mut self, command: &Command<'_>) {
        let Some(stream_id) = self.add_stream(None) else {
            return self.answer_error(command, "There are too many streams on this connection.");
        };
        let id = Value::Number(stream_id.into());
        let answer = Command::result(command.transaction_id, Value::Null, id);
        self.session.write_command(CSID_CONNECTION, 0, &answer);
    }

    /// `None` if there are too many.
    fn add_stream(&mut self, wanted: Option<u32>) -> Option<u32> {
        if self.streams.len() >= self.limits.streams_max {
            return None;
        }
        let id = wanted.unwrap_or_else(|| {
            // 0 is the connection itself; a peer may have used any other without asking.
            while self.next_stream_id == 0
                || self.streams.iter().any(|stream| stream.id == self.next_stream_id)
            {
                self.next_stream_id = self.next_stream_id.wrapping_add(1);
            }
            self.next_stream_id
        });
        if id == self.next_stream_id {
            self.next_stream_id = self.next_stream_id.wrapping_add(1);
        }
        self.streams.push(Stream { id, activity: Activity::None });
        Some(id)
    }

    /// RTMP 7.2.2.6. The type (`live`, `record`, `append`, none, any other) changes nothing here:
    /// what is recorded is for the configuration to say.
    fn publish(&mut self, stream_id: u32, command: &Command<'_>) -> Result<(), CommandError> {
        const BAD_NAME: &str = "NetStream.Publish.BadName";
        let Some((app, name, query)) = self.begin(stream_id, command, BAD_NAME)? else {
            return Ok(());
        };
        let name_and_query = command.argument(0).and_then(Value::as_str).unwrap_or_default();
        self.media_at = self.now;
        let activity = Activity::Publish { name_and_query: name_and_query.into() };
        self.set_activity(stream_id, activity);
        self.outputs.push_back(Output::Publish { stream_id, app, name, query });
        Ok(())
    }

    /// RTMP 7.2.2.1. Start and duration have no meaning for a live stream, nor has a playlist: what
    /// played before on this stream would never end.
    fn play(&mut self, stream_id: u32, command: &Command<'_>) -> Result<(), CommandError> {
        const NOT_FOUND: &str = "NetStream.Play.StreamNotFound";
        if let Some(Activity::Play { .. }) = self.activity(stream_id) {
            self.end_stream(stream_id);
        }
        let Some((app, name, query)) = self.begin(stream_id, command, NOT_FOUND)? else {
            return Ok(());
        };
        let reset = command.argument(3).is_some_and(|value| match value {
            Value::Boolean(reset) => *reset,
            Value::Number(reset) => *reset != 0.0,
            _ => false,
        });
        self.set_activity(stream_id, Activity::Play { reset });
        self.pinged_at = self.now;
        self.outputs.push_back(Output::Play { stream_id, app, name, query, reset });
        Ok(())
    }

    /// App, name and query of a stream that may be published or played on `stream_id`. Otherwise
    /// the peer has been told `code`.
    fn begin(
        &mut self,
        stream_id: u32,
        command: &Command<'_>,
        code: &str,
    ) -> Result<Option<(String, String, String)>, CommandError> {
        let Some(app) = &self.app else {
            let error = CommandError::NotConnected;
            self.write_status(stream_id, Level::Error, code, &error.to_string());
            return Err(error);
        };
        let split = split_name("stream name", command.argument(0), &self.limits.commands);
        let (name, query) = split.inspect_err(|error| {
            let status = error.to_string();
            let status = Command::status(Level::Error, code, &status);
            let csid = crate::rtmp::session::CSID_STREAM;
            self.session.write_command(csid, stream_id, &status);
        })?;
        let query = [query, &app.query].into_iter().filter(|query| !query.is_empty());
        let query = query.collect::<Vec<_>>().join("&");
        let begun = (app.name.clone(), name.to_string(), query);
        let refusal = match self.activity(stream_id) {
            Some(Activity::None) => return Ok(Some(begun)),
            Some(_) => "This message stream is in use.",
            // Encoders that do not wait for the answer to `createStream` guess an id.
            None if self.streams.len() < self.limits.streams_max => {
                self.add_stream(Some(stream_id));
                return Ok(Some(begun));
            }
            None => "There are too many streams on this connection.",
        };
        self.write_status(stream_id, Level::Error, code, refusal);
        Ok(None)
    }

    fn set_activity(&mut self, stream_id: u32, activity: Activity) {
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == stream_id) {
            stream.activity = activity;
        }
    }

    /// It names the stream and not its id: with one publisher there is no doubt which is meant.
    fn fc_unpublish(&mut self, command: &Command<'_>) {
        let name = command.argument(0).and_then(Value::as_str);
        let mut publishing = self.streams.iter().filter_map(|stream| match &stream.activity {
            Activity::Publish { name_and_query } => Some((stream.id, name_and_query)),
            _ => None,
        });
        let meant = match (publishing.next(), publishing.next()) {
            (Some((only, _)), None) => Some(only),
            _ => self.stream_named(name.unwrap_or_default()),
        };
        if let Some(stream_id) = meant {
            self.end_stream(stream_id);
        }
    }

    /// The stream that `closeStream` or `deleteStream` means: the one it is sent on, or the one
    /// whose id is its argument. GStreamer's `rtmp2sink` gives a name instead, then it is that
    /// one, or else the newest.
    fn meant_stream(&self, stream_id: u32, argument: Option<&Value<'_>>) -> Option<u32> {
        match argument {
            Some(Value::Number(_)) => argument.and_then(Value::as_u32),
            Some(Value::String(_)) => {
                let name = argument.and_then(Value::as_str).unwrap_or_default();
                self.stream_named(name).or(self.streams.last().map(|stream| stream.id))
            }
            _ if stream_id != 0 => Some(stream_id),
            _ => self.streams.last().map(|stream| stream.id),
        }
    }

    fn stream_named(&self, name: &str) -> Option<u32> {
        let found = self.streams.iter().find(|stream| match &stream.activity {
            Activity::Publish { name_and_query } => name_and_query == name,
            _ => false,
        });
        found.map(|stream| stream.id)
    }

    /// Ends what happens on a stream; the stream remains.
    fn end_stream(&mut self, stream_id: u32) {
        match self.activity(stream_id) {
            Some(Activity::Publish { .. }) => {
                self.outputs.push_back(Output::Unpublish { stream_id });
                let code = "NetStream.Unpublish.Success";
                self.write_status(stream_id, Level::Status, code, "Publishing has ended.");
            }
            Some(Activity::Play { .. }) => self.outputs.push_back(Output::StopPlay { stream_id }),
            _ => return,
        }
        self.set_idle(stream_id);
    }

    /// RTMP 7.2.2.4 and 7.2.2.5: turning off has no answer, turning on has two.
    fn receive(&mut self, stream_id: u32, command: &Command<'_>) {
        let Some(Activity::Play { .. }) = self.activity(stream_id) else { return };
        let Some(on) = command.argument(0).and_then(Value::as_bool) else { return };
        let (audio, video) = match command.name {
            "receiveAudio" => (Some(on), None),
            _ => (None, Some(on)),
        };
        if on {
            for code in ["NetStream.Seek.Notify", "NetStream.Play.Start"] {
                self.write_status(stream_id, Level::Status, code, command.name);
            }
        }
        self.outputs.push_back(Output::Receive { stream_id, audio, video, pause: None });
    }

    /// RTMP 7.2.2.8.
    fn pause(&mut self, stream_id: u32, command: &Command<'_>) {
        let Some(Activity::Play { .. }) = self.activity(stream_id) else { return };
        let Some(on) = command.argument(0).and_then(Value::as_bool) else { return };
        let code = if on { "NetStream.Pause.Notify" } else { "NetStream.Unpause.Notify" };
        self.write_status(stream_id, Level::Status, code, "This stream is live.");
        let (audio, video) = (None, None);
        self.outputs.push_back(Output::Receive { stream_id, audio, video, pause: Some(on) });
    }

    /// `_result`, for whoever asked with a transaction id.
    fn answer(&mut self, command: &Command<'_>, information: Value<'_>) {
        if command.transaction_id != 0.0 {
            let answer = Command::result(command.transaction_id, Value::Null, information);
            self.session.write_command(CSID_CONNECTION, 0, &answer);
        }
    }

    fn answer_error(&mut self, command: &Command<'_>, description: &str) {
        if command.transaction_id != 0.0 {
            let code = "NetConnection.Call.Failed";
            let answer = Command::error(command.transaction_id, code, description);
            self.session.write_command(CSID_CONNECTION, 0, &answer);
        }
    }
}

impl App {
    fn parse(connect: &Command<'_>, limits: &command::CommandLimits) -> Result<Self, CommandError> {
        let (name, query) = split_name("app", connect.object.get("app"), limits)?;
        // Some players put the query of their URL only here.
        let query = match query {
            "" => query_of(connect.object.get("tcUrl"), limits)?,
            _ => query,
        };
        let caps_ex = connect.object.get("capsEx").and_then(Value::as_u32).unwrap_or(0);
        Ok(Self {
            name: name.into(),
            query: query.into(),
            can_reconnect: caps_ex & command::CAPS_EX_RECONNECT != 0,
        })
    }
}
