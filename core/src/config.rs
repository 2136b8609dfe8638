//! Every limit and cadence, its default and its reason: they stand in `config/forebay.toml`.
//!
//! That file is what `--print-config` prints and what the defaults are read from, so that no
//! default is written twice and none goes without a comment.

mod pattern;
mod raw;
mod relay;
mod store;

use core::net::SocketAddr;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use toml_edit::{Document, DocumentMut, Item, Table, Value};

use self::relay::RawRelay;
use crate::archive::ArchiveLimits;
use crate::blocks::BlockLimits;
use crate::hls::Settings;
use crate::hub::{HubLimits, Policy, Start};
use crate::rtmp::server::ConnectionLimits;

pub use self::pattern::StreamPattern;
pub use self::relay::{Nothing, Outside, RelayTo, Relays};
pub use self::store::Store;

const DEFAULTS: &str = include_str!("config/forebay.toml");

/// The tables of which there may be several.
const RELAY: &str = "relay";
/// How many: a task each for every stream.
const RELAYS_MAX: usize = 64;

/// What is wrong with a configuration: the place, the key, and what was expected.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {source_name}: {message}")]
    Unreadable {
        /// The file.
        source_name: String,
        /// The system's words.
        message: String,
    },
    /// Not TOML at all.
    #[error("{source_name}: {message}")]
    Syntax {
        /// File, flag or variable.
        source_name: String,
        /// The parser's words, with line and column.
        message: String,
    },
    /// No such key.
    #[error("{place}: there is no key `{key}`{hint}")]
    UnknownKey {
        /// File and line, flag or variable.
        place: String,
        /// The key, with its section.
        key: String,
        /// A key that may have been meant.
        hint: String,
    },
    /// A value of the wrong kind, or out of its range.
    #[error("{place}: `{key}` is {found}, expected {expected}")]
    WrongValue {
        /// File and line, flag or variable.
        place: String,
        /// The key, with its section.
        key: String,
        /// What was there.
        found: String,
        /// What would do.
        expected: String,
    },
}

/// The server's configuration, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "config/forebay.toml describes every key")]
pub struct Config {
    pub listen: Listen,
    pub blocks: BlockLimits,
    pub connection: ConnectionLimits,
    pub hub: HubLimits,
    pub grace: Duration,
    pub play: Play,
    pub hls: Hls,
    pub archive: Archive,
    pub store: Store,
    pub http_header_timeout: Duration,
    pub relays: Relays,
    pub relay_to: Vec<RelayTo>,
    pub drain_timeout: Duration,
    /// The text it was made from: the defaults, with what was set in their place.
    pub text: String,
}

/// Addresses and how many may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "config/forebay.toml describes every key")]
pub struct Listen {
    pub rtmp: SocketAddr,
    pub http: SocketAddr,
    pub connections_max: usize,
}

/// How streams are cut into segments, and for how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "config/forebay.toml describes every key")]
pub struct Hls {
    pub enabled: bool,
    pub settings: Settings,
    pub policy: Policy,
    pub blocked_requests_max: usize,
    pub viewers_max: usize,
}

/// How players are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "config/forebay.toml describes every key")]
pub struct Play {
    pub start: Start,
    pub auto_gop_ms_max: u64,
    pub policy: Policy,
    pub wait: Duration,
    pub write_stall_timeout: Duration,
    pub write_len_max: usize,
    pub unsent_len_max: u32,
}

/// What is recorded, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "config/forebay.toml describes every key")]
pub struct Archive {
    /// `None`: nothing is.
    pub directory: Option<PathBuf>,
    pub stream: StreamPattern,
    pub limits: ArchiveLimits,
    pub policy: Policy,
}

impl Play {
    /// Where a joiner starts whose URL has this query: `start=gop`, `live` or `auto`, or else the
    /// default.
    pub fn start_of(&self, query: &str) -> Start {
        let start = query.split('&').find_map(|pair| pair.strip_prefix("start="));
        start.and_then(|name| start_by_name(name, self.auto_gop_ms_max)).unwrap_or(self.start)
    }
}

fn start_by_name(name: &str, gop_ms_max: u64) -> Option<Start> {
    match name {
        "gop" => Some(Start::Gop),
        "live" => Some(Start::Live),
        "auto" => Some(Start::Auto { gop_ms_max }),
        _ => None,
    }
}

impl Default for Config {
    fn default() -> Self {
        Builder::new().build().expect("the defaults are a configuration")
    }
}

/// Defaults, and what overrides them: a file, then variables, then flags, in the order of calls.
pub struct Builder {
    document: DocumentMut,
    relays: Vec<RawRelay>,
    /// What set which key, for the errors that come later.
    places: Vec<(String, String)>,
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// The defaults.
    pub fn new() -> Self {
        let document = DEFAULTS.parse().expect("the defaults are TOML");
        Self { document, relays: Vec::new(), places: Vec::new() }
    }

    /// Overrides with a TOML text; `name` is its file's, for errors.
    pub fn file(mut self, name: &str, text: &str) -> Result<Self, ConfigError> {
        let syntax = |error: toml_edit::TomlError| ConfigError::Syntax {
            source_name: name.to_owned(),
            message: error.to_string(),
        };
        let document = Document::parse(text).map_err(syntax)?;
        let line = |span: Option<std::ops::Range<usize>>| {
            let start = span.map_or(0, |span| span.start);
            format!("{name}:{}", text[..start.min(text.len())].matches('\n').count() + 1)
        };
        for (section, item) in document.iter() {
            if section == RELAY {
                let place = line(item.span());
                self.relays(item, place, |item| line(item.span()))?;
                continue;
            }
            let Some(table) = item.as_table_like() else {
                let key = section.to_owned();
                return Err(ConfigError::UnknownKey {
                    place: line(item.span()),
                    key,
                    hint: String::new(),
                });
            };
            if table.is_empty() && !self.document.contains_key(section) {
                let key = section.to_owned();
                return Err(ConfigError::UnknownKey {
                    place: line(item.span()),
                    key,
                    hint: String::new(),
                });
            }
            for (key, item) in table.iter() {
                let place = line(item.span());
                let Some(value) = item.as_value() else {
                    let key = format!("{section}.{key}");
                    return Err(ConfigError::UnknownKey { place, key, hint: String::new() });
                };
                self.set_value(&place, section, key, value.clone())?;
            }
        }
        Ok(self)
    }

    /// Overrides with the variables `FOREBAY_SECTION_KEY` among these.
    pub fn variables(
        mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let keys: Vec<_> = self.keys().collect();
        for (name, text) in variables {
            let Some(path) = name.strip_prefix("FOREBAY_") else { continue };
            let path = path.to_lowercase();
            // Other programs of the project have variables of their own.
            let known = keys.iter().find(|(section, key)| format!("{section}_{key}") == path);
            if let Some((section, key)) = known {
                self.set_text(&name, section, key, &text)?;
            }
        }
        Ok(self)
    }

    /// Overrides one key: `assignment` is `section.key=value`, as given to the flag `place`.
    pub fn set(mut self, place: &str, assignment: &str) -> Result<Self, ConfigError> {
        let wrong = || ConfigError::WrongValue {
            place: place.to_owned(),
            key: assignment.to_owned(),
            found: "no assignment".to_owned(),
            expected: "section.key=value".to_owned(),
        };
        let (path, value) = assignment.split_once('=').ok_or_else(wrong)?;
        let (section, key) = path.trim().split_once('.').ok_or_else(wrong)?;
        self.set_text(place, section, key, value.trim())?;
        Ok(self)
    }

    fn keys(&self) -> impl Iterator<Item = (String, String)> {
        let sections =
            self.document.iter().filter_map(|(section, item)| Some((section, item.as_table()?)));
        sections.flat_map(|(section, table)| {
            table.iter().map(move |(key, _)| (section.to_owned(), key.to_owned()))
        })
    }

    fn set_text(
        &mut self,
        place: &str,
        section: &str,
        key: &str,
        text: &str,
    ) -> Result<(), ConfigError> {
        // A string may stand without quotes: an address is no TOML value.
        let value = text.parse().unwrap_or_else(|_| Value::from(text));
        self.set_value(place, section, key, value)
    }

    fn set_value(
        &mut self,
        place: &str,
        section: &str,
        key: &str,
        value: Value,
    ) -> Result<(), ConfigError> {
        let path = format!("{section}.{key}");
        let hint = self.nearest(&path);
        let table = self.document.get_mut(section).and_then(Item::as_table_mut);
        let Some(known) = table.and_then(|table: &mut Table| table.get_mut(key)?.as_value_mut())
        else {
            return Err(ConfigError::UnknownKey { place: place.to_owned(), key: path, hint });
        };
        if known.type_name() != value.type_name() {
            return Err(ConfigError::WrongValue {
                place: place.to_owned(),
                key: path,
                found: format!("{} ({})", value.to_string().trim(), value.type_name()),
                expected: match known.type_name() {
                    "integer" => "an integer".to_owned(),
                    other => format!("a {other}"),
                },
            });
        }
        // The default's place in the text, its comment included, stays.
        let decor = known.decor().clone();
        *known = value;
        *known.decor_mut() = decor;
        self.places.push((path, place.to_owned()));
        Ok(())
    }

    /// Adds the tables `[[relay]]`.
    fn relays(
        &mut self,
        item: &Item,
        place: String,
        line: impl Fn(&Item) -> String,
    ) -> Result<(), ConfigError> {
        let wrong = |expected: String| ConfigError::WrongValue {
            place: place.clone(),
            key: RELAY.to_owned(),
            found: item.type_name().to_owned(),
            expected,
        };
        let tables = item.as_array_of_tables();
        let tables = tables.ok_or_else(|| wrong("tables, each begun by [[relay]]".to_owned()))?;
        if self.relays.len() + tables.len() > RELAYS_MAX {
            return Err(wrong(format!("{RELAYS_MAX} of them at most")));
        }
        for table in tables {
            let place = line(&Item::Table(table.clone()));
            self.relays.push(RawRelay::read(place, table, &line)?);
        }
        Ok(())
    }

    fn nearest(&self, path: &str) -> String {
        nearest(path, self.keys().map(|(section, key)| format!("{section}.{key}")))
    }

    /// Checks everything, of a configuration that points at no file.
    pub fn build(self) -> Result<Config, ConfigError> {
        self.build_with(&Nothing)
    }

    /// Checks everything, the files and variables that it points at included.
    pub fn build_with(self, outside: &dyn Outside) -> Result<Config, ConfigError> {
        let mut text = self.document.to_string();
        let raw: raw::Raw =
            toml_edit::de::from_str(&text).map_err(|error| self.out_of_range(error.message()))?;
        raw.check(&self)?;
        self.relays.iter().for_each(|relay| relay.print(&mut text));
        let relay_to = self.relays.iter().map(|relay| relay.build(outside));
        Ok(raw.into_config(relay_to.collect::<Result<_, _>>()?, text))
    }

    fn place_of(&self, key: &str) -> String {
        let place = self.places.iter().rev().find(|(path, _)| path == key);
        place.map_or_else(|| "the defaults".to_owned(), |(_, place)| place.clone())
    }

    /// Serde has seen a number that does not fit: it does not say which, but all of them are known.
    fn out_of_range(&self, message: &str) -> ConfigError {
        let (key, place) = self.places.last().cloned().unwrap_or_default();
        let found = self.value_of(&key);
        ConfigError::WrongValue { place, key, found, expected: format!("another value: {message}") }
    }

    fn value_of(&self, key: &str) -> String {
        let (section, key) = key.split_once('.').unwrap_or_default();
        let item = self.document.get(section).and_then(|table| table.get(key));
        item.map(|item| item.to_string().trim().to_owned()).unwrap_or_default()
    }

    fn expect(&self, key: &str, holds: bool, expected: &str) -> Result<(), ConfigError> {
        if holds {
            return Ok(());
        }
        let (place, found) = (self.place_of(key), self.value_of(key));
        Err(ConfigError::WrongValue {
            place,
            key: key.to_owned(),
            found,
            expected: expected.to_owned(),
        })
    }
}

/// What may have been meant by `path`.
fn nearest(path: &str, known: impl Iterator<Item = String>) -> String {
    let key = path.split('.').next_back().unwrap_or_default();
    let distance = |known: String| {
        let in_other_section = known.ends_with(&format!(".{key}"));
        (if in_other_section { 0 } else { strsim::damerau_levenshtein(path, &known) }, known)
    };
    match known.map(distance).min() {
        Some((far, _)) if far > 5 => String::new(),
        Some((_, known)) => format!("; did you mean `{known}`?"),
        None => String::new(),
    }
}

impl Config {
    /// The keys that differ from the defaults, one a line.
    pub fn changes(&self) -> String {
        let defaults: Vec<_> = DEFAULTS.lines().collect();
        self.text.lines().filter(|line| !defaults.contains(line)).fold(
            String::new(),
            |mut out, line| {
                let _infallible = writeln!(out, "{line}");
                out
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let built = Builder::new().file("forebay.toml", text).and_then(Builder::build);
        built.expect_err("a wrong configuration").to_string()
    }

    #[test]
    fn the_defaults_in_the_file_are_those_of_the_library() {
        let config = Config::default();
        assert_eq!(config.blocks, BlockLimits::default());
        assert_eq!(config.connection, ConnectionLimits::default());
        assert_eq!(config.hub, HubLimits::default());
        assert_eq!(config.play.policy, Policy::default());
        assert_eq!(config.hls.settings, Settings::default());
        assert_eq!(config.archive.limits, ArchiveLimits::default());
        assert_eq!(config.text, DEFAULTS);
    }

    #[test]
    fn every_key_has_a_comment() {
        let mut commented = false;
        for line in DEFAULTS.lines() {
            let is_key = line.contains(" = ") && !line.starts_with('#');
            let shares_comment = ["auto_gop_ms_max", "backlog_ms_max", "file_bytes_max"]
                .iter()
                .any(|key| line.starts_with(key));
            assert!(!is_key || commented || shares_comment, "{line}");
            commented = line.starts_with('#');
        }
    }

    #[test]
    fn a_file_then_variables_then_flags_override() {
        let config = Builder::new()
            .file(
                "forebay.toml",
                "[hub]\ncoalesce_ms = 0\ntakeover = false\n[play]\nstart = \"live\"\n",
            )
            .and_then(|b| b.variables([("FOREBAY_HUB_COALESCE_MS".to_owned(), "10".to_owned())]))
            .and_then(|b| b.set("--set", "hub.coalesce_ms=20"))
            .and_then(|b| b.set("--rtmp", "listen.rtmp=0.0.0.0:1"))
            .and_then(Builder::build)
            .unwrap();
        assert_eq!(config.hub.coalesce, Duration::from_millis(20));
        assert!(!config.hub.takeover);
        assert_eq!(config.play.start, Start::Live);
        assert_eq!(config.listen.rtmp.to_string(), "0.0.0.0:1");
        assert_eq!(config.changes().lines().count(), 4, "{}", config.changes());
    }

    #[test]
    fn errors_name_the_line_the_key_and_what_was_expected() {
        assert_eq!(
            error("[hub]\n\nring_byte_max = 5\n"),
            "forebay.toml:3: there is no key `hub.ring_byte_max`; did you mean `hub.ring_bytes_max`?"
        );
        assert_eq!(
            error("[hub]\ncoalesce_ms = \"fast\"\n"),
            "forebay.toml:2: `hub.coalesce_ms` is \"fast\" (string), expected an integer"
        );
        assert_eq!(
            error("[hub]\n\n\ncoalesce_ms = -1\n"),
            "forebay.toml:4: `hub.coalesce_ms` is -1, expected 0 to 10000 milliseconds"
        );
        assert_eq!(
            error("[play]\nstart = \"now\"\n"),
            "forebay.toml:2: `play.start` is \"now\", expected \"gop\", \"live\" or \"auto\""
        );
        assert!(error("[nope]\n").contains("there is no key `nope`"), "{}", error("[nope]\n"));
        assert!(error("hub = 5\n").starts_with("forebay.toml:1: there is no key `hub`"));
        assert!(
            error("[hub\n").starts_with("forebay.toml: TOML parse error at line 1"),
            "{}",
            error("[hub\n")
        );
        let flag = Builder::new().set("--set", "hub.takeover").err().unwrap().to_string();
        assert_eq!(flag, "--set: `hub.takeover` is no assignment, expected section.key=value");
    }

    #[test]
    fn a_query_chooses_the_start() {
        let play = Config::default().play;
        assert_eq!(play.start_of("start=live"), Start::Live);
        assert_eq!(play.start_of("token=x&start=auto"), Start::Auto { gop_ms_max: 2_000 });
        assert_eq!(play.start_of("start=nonsense"), Start::Gop);
    }
}
