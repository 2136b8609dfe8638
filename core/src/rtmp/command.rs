//! Command: what `connect`, `createStream`, `publish` and `play` say, and how they are answered.

use bytes::BytesMut;

use super::message::message_type;
use crate::amf0::{self, Amf0Error, Decoder, Value};

/// Message type 20 or 17, decoded: a name, a transaction id, an object and further arguments
/// (RTMP 7.1.1, 7.2).
#[derive(Clone, PartialEq, Debug)]
pub struct Command<'a> {
    /// What is to be done, or `_result`, `_error`, `onStatus`.
    pub name: &'a str,
    /// Repeated in the answer. 0, also when it is missing, asks for none.
    pub transaction_id: f64,
    /// The command object; null for most commands.
    pub object: Value<'a>,
    /// What follows the object.
    pub arguments: Vec<Value<'a>>,
}

/// A command that cannot be read, or that names something in a way we refuse.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommandError {
    /// Longer than [`CommandLimits::command_len_max`].
    #[error("command of {len} bytes is over the limit of {max}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// AMF0 that is cut, too deep, or unknown.
    #[error("command: {0}")]
    Amf0(#[from] Amf0Error),
    /// A type 17 message that does not hold AMF0 behind its first byte.
    #[error("command of type 17 begins with {0:#04x}: only AMF0 inside is understood")]
    Amf3(u8),
    /// The first value is no string.
    #[error("a command begins with its name, this one does not")]
    NoName,
    /// `publish` or `play` without an accepted `connect`.
    #[error("connect comes first")]
    NotConnected,
    /// An app or a stream name we do not accept.
    #[error("{what}: {error}")]
    Name {
        /// `app`, `stream name` or `query`.
        what: &'static str,
        /// What is wrong with it.
        error: NameError,
    },
}

/// Why an app or a stream name is refused. What is accepted is kept byte for byte, so that two
/// names are one only if they are equal.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// No string, or nothing in it.
    #[error("it is missing or empty")]
    Missing,
    /// Over a limit of [`CommandLimits`].
    #[error("{len} bytes are over the limit of {max}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// Not UTF-8, over-long encodings included.
    #[error("byte {at} is not UTF-8")]
    NotUtf8 {
        /// How many bytes before it are fine.
        at: usize,
    },
    /// A NUL, a line break and the like: names go to logs, URLs and file names.
    #[error("there is a control character at byte {at}")]
    ControlCharacter {
        /// Where it is.
        at: usize,
    },
}

/// How long a command and the names in it may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandLimits {
    /// A whole command in bytes. `connect` with long URLs and a token has 2 KiB.
    pub command_len_max: usize,
    /// An app or a stream name in bytes, without its query.
    pub name_len_max: usize,
    /// A query in bytes. Signed tokens have up to 4 KiB.
    pub query_len_max: usize,
    /// Depth and count of the values in it.
    pub amf0: amf0::Limits,
}

impl Default for CommandLimits {
    fn default() -> Self {
        Self {
            command_len_max: 64 << 10,
            name_len_max: 255,
            query_len_max: 8 << 10,
            amf0: amf0::Limits::default(),
        }
    }
}

impl<'a> Command<'a> {
    /// Reads the body of a message of type 20 or 17.
    pub fn parse(type_id: u8, body: &'a [u8], limits: amf0::Limits) -> Result<Self, CommandError> {
        let mut decoder = Decoder::new(skip_format(type_id, body)?, limits);
        let Some(name) = decoder.next_value()?.and_then(|value| value.as_str()) else {
            return Err(CommandError::NoName);
        };
        let transaction_id = decoder.next_value()?.and_then(|value| value.as_number());
        let object = decoder.next_value()?.unwrap_or(Value::Null);
        let mut arguments = Vec::new();
        while let Some(value) = decoder.next_value()? {
            arguments.push(value);
        }
        Ok(Self { name, transaction_id: transaction_id.unwrap_or(0.0), object, arguments })
    }

    /// The argument at `index` behind the object.
    pub fn argument(&self, index: usize) -> Option<&Value<'a>> {
        self.arguments.get(index)
    }

    /// Appends the command.
    pub fn write(&self, out: &mut BytesMut) {
        amf0::write_string(self.name, out);
        amf0::write_number(self.transaction_id, out);
        amf0::encode(&self.object, out);
        self.arguments.iter().for_each(|value| amf0::encode(value, out));
    }

    /// `_result`: the answer to `transaction_id` (RTMP 7.2.1.1).
    pub fn result(transaction_id: f64, object: Value<'a>, information: Value<'a>) -> Self {
        Self { name: "_result", transaction_id, object, arguments: vec![information] }
    }

    /// `_result` of a `connect` (RTMP 7.2.1.1). To an enhanced client it says that every codec and
    /// packet is passed on as it came.
    pub(super) fn connected(connect: &Self) -> Self {
        let mut object = vec![
            (b"fmsVer".as_slice(), Value::String(b"FMS/3,5,7,7009")),
            (b"capabilities", Value::Number(31.0)),
        ];
        let mut answer =
            information(Level::Status, "NetConnection.Connect.Success", "Connection succeeded.");
        // AMF0 is all we speak, whatever was asked for.
        answer.push((b"objectEncoding", Value::Number(0.0)));
        let enhanced = ["fourCcList", "videoFourCcInfoMap", "audioFourCcInfoMap", "capsEx"];
        if enhanced.into_iter().any(|key| connect.object.get(key).is_some()) {
            let any = || Value::Object(vec![(b"*", Value::Number(FOUR_CC_CAN_FORWARD))]);
            let caps_ex = CAPS_EX_RECONNECT | CAPS_EX_MULTITRACK | CAPS_EX_MOD_EX | CAPS_EX_NANO;
            let entries = [
                (b"fourCcList".as_slice(), Value::StrictArray(vec![Value::String(b"*")])),
                (b"videoFourCcInfoMap", any()),
                (b"audioFourCcInfoMap", any()),
                (b"capsEx", Value::Number(caps_ex.into())),
            ];
            // The specification shows them in one object and some clients look in the other.
            object.extend(entries.clone());
            answer.extend(entries);
        }
        Self::result(connect.transaction_id, Value::Object(object), Value::Object(answer))
    }

    /// `NetConnection.Connect.ReconnectRequest` (E-RTMP, Reconnect Request).
    pub(super) fn reconnect_request(tc_url: Option<&'a str>, description: &'a str) -> Self {
        const CODE: &str = "NetConnection.Connect.ReconnectRequest";
        let mut answer = information(Level::Status, CODE, description);
        answer.extend(tc_url.map(|url| (b"tcUrl".as_slice(), Value::String(url.as_bytes()))));
        let arguments = vec![Value::Object(answer)];
        Self { name: "onStatus", transaction_id: 0.0, object: Value::Null, arguments }
    }

    /// `_error`: the refusal of `transaction_id`.
    pub fn error(transaction_id: f64, code: &'a str, description: &'a str) -> Self {
        let information = Value::Object(information(Level::Error, code, description));
        Self { name: "_error", transaction_id, object: Value::Null, arguments: vec![information] }
    }

    /// `onStatus`: what became of a stream (RTMP 7.2.2). Its transaction id is always 0.
    pub fn status(level: Level, code: &'a str, description: &'a str) -> Self {
        let information = Value::Object(information(level, code, description));
        Self {
            name: "onStatus",
            transaction_id: 0.0,
            object: Value::Null,
            arguments: vec![information],
        }
    }
}

/// `capsEx` of `connect` (E-RTMP, Enhancing NetConnection connect).
pub(super) const CAPS_EX_RECONNECT: u32 = 0x01;
const CAPS_EX_MULTITRACK: u32 = 0x02;
const CAPS_EX_MOD_EX: u32 = 0x04;
const CAPS_EX_NANO: u32 = 0x08;
/// In a FourCC info map: neither decoded nor encoded here, but passed on.
const FOUR_CC_CAN_FORWARD: f64 = 4.0;

/// Encoders write AMF0 into type 17 too, behind a zero; some forget the zero.
fn skip_format(type_id: u8, body: &[u8]) -> Result<&[u8], CommandError> {
    const STRING: u8 = 2;
    match body {
        _ if type_id != message_type::COMMAND_AMF3 => Ok(body),
        [0, rest @ ..] => Ok(rest),
        [] | [STRING, ..] => Ok(body),
        [first, ..] => Err(CommandError::Amf3(*first)),
    }
}

/// `level` of an information object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// All is well.
    Status,
    /// It is not.
    Error,
}

/// The entries that every information object has (RTMP 7.2.2).
pub(super) fn information<'a>(
    level: Level,
    code: &'a str,
    description: &'a str,
) -> Vec<amf0::Entry<'a>> {
    let level: &[u8] = match level {
        Level::Status => b"status",
        Level::Error => b"error",
    };
    vec![
        (b"level".as_slice(), Value::String(level)),
        (b"code", Value::String(code.as_bytes())),
        (b"description", Value::String(description.as_bytes())),
    ]
}

/// What a client says of itself (RTMP 7.2.1.1).
pub(super) fn connect_object<'a>(app: &'a str, tc_url: &'a str, enhanced: bool) -> Value<'a> {
    let mut object = vec![
        (b"app".as_slice(), Value::String(app.as_bytes())),
        (b"type", Value::String(b"nonprivate")),
        // Servers look for the first word, to tell encoders from Flash players.
        (b"flashVer", Value::String(b"FMLE/3.0 (compatible; forebay)")),
        (b"tcUrl", Value::String(tc_url.as_bytes())),
    ];
    if enhanced {
        object.push((b"fourCcList", Value::StrictArray(vec![Value::String(b"*")])));
    }
    Value::Object(object)
}

/// Splits `name?query` and checks both; `what` is said in an error.
pub(super) fn split_name<'a>(
    what: &'static str,
    value: Option<&Value<'a>>,
    limits: &CommandLimits,
) -> Result<(&'a str, &'a str), CommandError> {
    let named = |error| CommandError::Name { what, error };
    let bytes = value.and_then(Value::as_bytes).ok_or(named(NameError::Missing))?;
    let text = check_characters(bytes).map_err(named)?;
    let (name, query) = text.split_once('?').unwrap_or((text, ""));
    match name.len() {
        0 => return Err(named(NameError::Missing)),
        len if len > limits.name_len_max => {
            return Err(named(NameError::TooLong { len, max: limits.name_len_max }));
        }
        _ => {}
    }
    check_query(query, limits)?;
    Ok((name, query))
}

/// The query of a URL whose other parts do not matter.
pub(super) fn query_of<'a>(
    url: Option<&Value<'a>>,
    limits: &CommandLimits,
) -> Result<&'a str, CommandError> {
    let Some((_, query)) = url.and_then(Value::as_str).and_then(|url| url.split_once('?')) else {
        return Ok("");
    };
    check_characters(query.as_bytes())
        .map_err(|error| CommandError::Name { what: "query", error })?;
    check_query(query, limits)?;
    Ok(query)
}

fn check_query(query: &str, limits: &CommandLimits) -> Result<(), CommandError> {
    let (len, max) = (query.len(), limits.query_len_max);
    if len > max {
        let error = NameError::TooLong { len, max };
        return Err(CommandError::Name { what: "query", error });
    }
    Ok(())
}

fn check_characters(bytes: &[u8]) -> Result<&str, NameError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| NameError::NotUtf8 { at: error.valid_up_to() })?;
    match text.find(char::is_control) {
        Some(at) => Err(NameError::ControlCharacter { at }),
        None => Ok(text),
    }
}

/// What `key` has in a query `k=v&…`, as written: nothing is percent-decoded. Of two with one
/// key the first counts.
pub fn query_value<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| match pair.split_once('=') {
        Some((name, value)) => (name == key).then_some(value),
        None => (pair == key).then_some(""),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(bytes: &[u8]) -> Result<(&str, &str), CommandError> {
        split_name("stream name", Some(&Value::String(bytes)), &CommandLimits::default())
    }

    #[test]
    fn what_is_written_is_read_also_as_type_17() {
        let command = Command::error(7.0, "NetConnection.Call.Failed", "no");
        let mut out = BytesMut::from(&[0][..]);
        command.write(&mut out);
        let limits = amf0::Limits::default();
        for (type_id, body) in [
            (message_type::COMMAND_AMF0, &out[1..]),
            (message_type::COMMAND_AMF3, &out[..]),
            (message_type::COMMAND_AMF3, &out[1..]),
        ] {
            assert_eq!(Command::parse(type_id, body, limits).unwrap(), command);
        }
        let error = Command::parse(message_type::COMMAND_AMF3, b"\x06\x0dconnect", limits);
        assert_eq!(error, Err(CommandError::Amf3(6)));
    }

    #[test]
    fn what_encoders_leave_out_is_missing_and_no_error() {
        let command =
            Command::parse(20, b"\x02\0\x03foo\x02\0\x01x", amf0::Limits::default()).unwrap();
        assert_eq!((command.name, command.transaction_id), ("foo", 0.0));
        assert_eq!((command.object, command.arguments), (Value::Null, vec![]));
        for body in [&b""[..], b"\x05", b"\x02\0\x01\xff"] {
            let error = Command::parse(20, body, amf0::Limits::default());
            assert_eq!(error, Err(CommandError::NoName));
        }
    }

    #[test]
    fn a_name_is_kept_byte_for_byte_or_refused() {
        assert_eq!(name(b"cam/1?a=b?c&d").unwrap(), ("cam/1", "a=b?c&d"));
        assert_eq!(name("größe 1/".as_bytes()).unwrap().0, "größe 1/");
        for (bytes, error) in [
            (&b""[..], NameError::Missing),
            (b"?k=v", NameError::Missing),
            (b"a\0b", NameError::ControlCharacter { at: 1 }),
            (b"a?k=\n", NameError::ControlCharacter { at: 4 }),
            (b"ab\xff", NameError::NotUtf8 { at: 2 }),
            (b"a\xc0\xaf", NameError::NotUtf8 { at: 1 }),
            (&[b'x'; 256], NameError::TooLong { len: 256, max: 255 }),
        ] {
            assert_eq!(name(bytes), Err(CommandError::Name { what: "stream name", error }));
        }
    }

    #[test]
    fn a_query_is_looked_up_as_written() {
        assert_eq!(query_value("a=1&start=live&a=2&flag", "start"), Some("live"));
        assert_eq!(query_value("a=1&a=2", "a"), Some("1"));
        assert_eq!(query_value("a=1&flag", "flag"), Some(""));
        assert_eq!(query_value("a=b=c", "a"), Some("b=c"));
        assert_eq!(query_value("", "a"), None);
    }
}
