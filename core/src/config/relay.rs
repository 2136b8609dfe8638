//! `[[relay]]`: which streams are published where. The only tables of which there may be several.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use toml_edit::{Item, TableLike, Value};

use super::{ConfigError, StreamPattern, nearest};
use crate::hub::Policy;
use crate::relay::{Key, RelayLimits, Target, TargetError};

/// Streams that are published to another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayTo {
    /// Which.
    pub streams: StreamPattern,
    /// Where.
    pub target: Target,
    /// Whether to say that we know Enhanced RTMP.
    pub enhanced: bool,
    /// Trusted besides the system's.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// What holds for all relays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "config/forebay.toml describes every key")]
pub struct Relays {
    pub connect_timeout: Duration,
    pub limits: RelayLimits,
    pub policy: Policy,
    pub write_stall_timeout: Duration,
    pub end_timeout: Duration,
}

/// What a configuration points at: files and variables.
pub trait Outside {
    /// A file's bytes.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    fn read(&self, path: &str) -> io::Result<Vec<u8>>;

    /// An environment variable.
    fn variable(&self, name: &str) -> Option<String>;
}

/// Nothing to point at: for configurations that need nothing.
pub struct Nothing;

impl Outside for Nothing {
    fn read(&self, _path: &str) -> io::Result<Vec<u8>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "there are no files here"))
    }

    fn variable(&self, _name: &str) -> Option<String> {
        None
    }
}

/// A key of a table, as it was written.
#[derive(Clone)]
struct Entry {
    place: String,
    value: String,
}

/// A `[[relay]]` table. Its types are checked, what is in it is not.
#[derive(Clone, Default)]
pub(super) struct RawRelay {
    place: String,
    texts: [Option<Entry>; KEYS.len()],
    enhanced: Option<bool>,
}

const STREAM: usize = 0;
const URL: usize = 1;
const KEY_FILE: usize = 2;
const KEY_ENV: usize = 3;
const CA_FILE: usize = 4;
/// The keys whose values are texts.
const KEYS: [&str; 5] = ["stream", "url", "key_file", "key_env", "ca_file"];
const ENHANCED: &str = "enhanced";

impl RawRelay {
    /// A table at `place`; `place_of` says where one of its keys is.
    pub(super) fn read(
        place: String,
        table: &dyn TableLike,
        place_of: impl Fn(&Item) -> String,
    ) -> Result<Self, ConfigError> {
        let mut raw = Self { place, ..Self::default() };
        for (key, item) in table.iter() {
            let place = place_of(item);
            let wrong = |value: &Value, expected: &str| ConfigError::WrongValue {
                place: place.clone(),
                key: format!("relay.{key}"),
                found: format!("{} ({})", value.to_string().trim(), value.type_name()),
                expected: expected.to_owned(),
            };
            match (KEYS.iter().position(|known| *known == key), item.as_value()) {
                (Some(index), Some(Value::String(text))) => {
                    let value = text.value().clone();
                    raw.texts[index] = Some(Entry { place, value });
                }
                (Some(_), Some(value)) => return Err(wrong(value, "a string")),
                (None, Some(value)) if key == ENHANCED => {
                    raw.enhanced = Some(value.as_bool().ok_or_else(|| wrong(value, "a boolean"))?);
                }
                _ => {
                    let known = KEYS.iter().chain([&ENHANCED]).map(|key| format!("relay.{key}"));
                    let key = format!("relay.{key}");
                    return Err(ConfigError::UnknownKey { place, hint: nearest(&key, known), key });
                }
            }
        }
        Ok(raw)
    }

    /// The table as it may be printed: where a key is, and never the key.
    pub(super) fn print(&self, out: &mut String) {
        let texts = KEYS.iter().zip(&self.texts);
        out.push_str("\n[[relay]]\n");
        for (key, entry) in texts {
            if let Some(Entry { value, .. }) = entry {
                let _infallible = writeln!(out, "{key} = {}", Value::from(value.as_str()));
            }
        }
        if let Some(enhanced) = self.enhanced {
            let _infallible = writeln!(out, "{ENHANCED} = {enhanced}");
        }
    }

    /// Checks what is in it.
    pub(super) fn build(&self, outside: &dyn Outside) -> Result<RelayTo, ConfigError> {
        const STREAM_EXPECTED: &str = "APP/NAME, where * stands for anything, as in \"live/*\"";
        let streams = self.needed(STREAM, STREAM_EXPECTED)?;
        if !streams.contains('/') || streams.contains(char::is_control) {
            return Err(self.wrong(STREAM, STREAM_EXPECTED));
        }
        let streams = StreamPattern::from(streams);
        const URL_EXPECTED: &str = "rtmp://host/app or rtmps://host/app";
        let url = self.needed(URL, URL_EXPECTED)?;
        let target = Target::new(url, self.key(outside)?).map_err(|error| match error {
            // What is in there is not to be shown.
            TargetError::Credentials => self.wrong_hidden(URL, &error.to_string()),
            _ => self.wrong(URL, &format!("{URL_EXPECTED}: {error}")),
        })?;
        let certificates = self.certificates(outside)?;
        Ok(RelayTo { streams, target, enhanced: self.enhanced.unwrap_or(true), certificates })
    }

    fn key(&self, outside: &dyn Outside) -> Result<Option<Key>, ConfigError> {
        const EXPECTED: &str = "a key in one line, without spaces";
        let (index, text) = match (self.text(KEY_FILE), self.text(KEY_ENV)) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                return Err(self.wrong(KEY_ENV, "either a key_file or a key_env"));
            }
            (Some(path), None) => (KEY_FILE, self.file(KEY_FILE, path, outside)?),
            (None, Some(name)) => {
                let text = outside.variable(name);
                let text = text.ok_or_else(|| self.wrong(KEY_ENV, "a variable that is set"))?;
                (KEY_ENV, text.into_bytes())
            }
        };
        let key = String::from_utf8(text).ok().and_then(|text| Key::new(&text));
        key.map(Some).ok_or_else(|| self.wrong(index, &format!("{EXPECTED}, in it")))
    }

    fn certificates(
        &self,
        outside: &dyn Outside,
    ) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
        let Some(path) = self.text(CA_FILE) else { return Ok(Vec::new()) };
        let pem = self.file(CA_FILE, path, outside)?;
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        read.ok()
            .filter(|certificates| !certificates.is_empty())
            .ok_or_else(|| self.wrong(CA_FILE, "a PEM file with certificates in it"))
    }

    fn file(
        &self,
        index: usize,
        path: &str,
        outside: &dyn Outside,
    ) -> Result<Vec<u8>, ConfigError> {
        outside.read(path).map_err(|error| self.wrong(index, &format!("a file: {error}")))
    }

    fn text(&self, index: usize) -> Option<&str> {
        self.texts[index].as_ref().map(|entry| entry.value.as_str())
    }

    fn needed(&self, index: usize, expected: &str) -> Result<&str, ConfigError> {
        self.text(index).ok_or_else(|| ConfigError::WrongValue {
            place: self.place.clone(),
            key: format!("relay.{}", KEYS[index]),
            found: "missing".to_owned(),
            expected: expected.to_owned(),
        })
    }

    fn wrong(&self, index: usize, expected: &str) -> ConfigError {
        let found = format!("{:?}", self.text(index).unwrap_or_default());
        self.wrong_found(index, found, expected)
    }

    fn wrong_hidden(&self, index: usize, expected: &str) -> ConfigError {
        self.wrong_found(index, "not to be shown here".to_owned(), expected)
    }

    fn wrong_found(&self, index: usize, found: String, expected: &str) -> ConfigError {
        let place = self.texts[index].as_ref().map_or(&self.place, |entry| &entry.place);
        let key = format!("relay.{}", KEYS[index]);
        ConfigError::WrongValue { place: place.clone(), key, found, expected: expected.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Builder, Config};

    /// A folder with a key, an empty file and no certificate; one variable.
    struct Folder;

    impl Outside for Folder {
        fn read(&self, path: &str) -> io::Result<Vec<u8>> {
            match path {
                "good.key" => Ok(b"s3cret\n".to_vec()),
                "empty" => Ok(Vec::new()),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }

        fn variable(&self, name: &str) -> Option<String> {
            (name == "KEY").then(|| "fr0m env".to_owned())
        }
    }

    fn build(text: &str) -> Result<Config, ConfigError> {
        Builder::new().file("forebay.toml", text).and_then(|it| it.build_with(&Folder))
    }

    fn error(text: &str) -> String {
        build(text).expect_err("a wrong configuration").to_string()
    }

    #[test]
    fn several_tables_are_several_targets_and_are_printed_as_they_were_without_keys() {
        let text = "[[relay]]\nstream = \"live/*\"\nurl = \"rtmp://a/app\"\nkey_file = \"good.key\"\n\
                    [[relay]]\nstream = \"live/x\"\nurl = \"rtmps://b/app/{name}\"\nenhanced = false\n";
        let config = build(text).unwrap();
        let [a, b] = &config.relay_to[..] else { panic!("{:?}", config.relay_to) };
        assert_eq!(a.target.url("cam").name(), "s3cret");
        assert!(a.enhanced && !b.enhanced && b.target.is_tls());
        assert!(a.streams.matches("live/y"));
        assert!(!b.streams.matches("live/y"));
        assert!(!config.text.contains("s3cret") && !format!("{config:?}").contains("s3cret"));
        assert_eq!(build(&config.text).unwrap(), config, "what is printed says the same");
    }

    #[test]
    fn a_wrong_relay_is_named_by_its_line_its_key_and_what_was_expected() {
        let head = "\n[[relay]]\nstream = \"live/*\"\n";
        let url = "url = \"rtmp://a/app\"\n";
        for (text, expected) in [
            (head.to_owned(), "forebay.toml:2: `relay.url` is missing, expected rtmp://host/app"),
            (
                format!("[[relay]]\n{url}"),
                "forebay.toml:1: `relay.stream` is missing, expected APP/NAME",
            ),
            (
                format!("{head}url = \"http://a/app\"\n"),
                "forebay.toml:4: `relay.url` is \"http://a/app\", expected rtmp://host/app or \
                 rtmps://host/app: an RTMP URL begins with rtmp:// or rtmps://",
            ),
            (
                format!("{head}url = 5\n"),
                "forebay.toml:4: `relay.url` is 5 (integer), expected a string",
            ),
            (
                format!("{head}{url}urk = 5\n"),
                "forebay.toml:5: there is no key `relay.urk`; did you mean `relay.url`?",
            ),
            (
                format!("{head}{url}key_file = \"none.key\"\n"),
                "forebay.toml:5: `relay.key_file` is \"none.key\", expected a file: entity not found",
            ),
            (
                format!("{head}{url}key_file = \"empty\"\n"),
                "forebay.toml:5: `relay.key_file` is \"empty\", expected a key in one line",
            ),
            (
                format!("{head}{url}key_env = \"NONE\"\n"),
                "forebay.toml:5: `relay.key_env` is \"NONE\", expected a variable that is set",
            ),
            (
                format!("{head}{url}key_env = \"KEY\"\n"),
                "forebay.toml:5: `relay.key_env` is \"KEY\", expected a key in one",
            ),
            (
                format!("{head}{url}ca_file = \"empty\"\n"),
                "forebay.toml:5: `relay.ca_file` is \"empty\", expected a PEM file",
            ),
            (
                format!("[[relay]]\nstream = \"live\"\n{url}"),
                "forebay.toml:2: `relay.stream` is \"live\", expected APP/NAME",
            ),
            ("relay = 5\n".to_owned(), "forebay.toml:1: `relay` is integer, expected tables"),
            ("\n[relay]\n".to_owned(), "forebay.toml:2: `relay` is table, expected tables"),
            (
                "[relays]\nbackoff_ms_min = 5\nbackoff_ms_max = 4\n".to_owned(),
                "forebay.toml:3: `relays.backoff_ms_max` is 4, expected at least relays.backoff_ms_min",
            ),
        ] {
            assert!(error(&text).starts_with(expected), "{}\n{expected}", error(&text));
        }
        let password = error(&format!("{head}url = \"rtmp://me:pass@a/app\"\n"));
        assert!(
            password.contains("belongs into a key file") && !password.contains("pass@"),
            "{password}"
        );
        let many = format!("{head}{url}").repeat(65);
        assert!(error(&many).contains("64 of them at most"), "{}", error(&many));
    }
}
