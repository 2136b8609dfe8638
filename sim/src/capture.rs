//! Capture: what a real encoder made, from `testdata`: a file's tags, or the bytes of a connection.

mod flv;
mod wire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use crate::tag::{Kind, TagSeen};

/// A tag of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureTag {
    /// Audio, video or script data.
    pub kind: Kind,
    /// Milliseconds, modulo 2^32.
    pub timestamp_ms: u32,
    /// As it was recorded.
    pub payload: Bytes,
}

impl CaptureTag {
    /// What a judge keeps of it.
    pub fn seen(&self) -> TagSeen {
        TagSeen::of(self.kind, self.timestamp_ms, &self.payload)
    }
}

/// A capture, loaded.
#[derive(Debug)]
pub struct Capture {
    /// Its file without folder and ending.
    pub name: String,
    /// Its tags, up to where a damaged file breaks.
    pub tags: Vec<CaptureTag>,
    /// Why the tags end before the file does, if they do.
    pub damage: Option<String>,
    /// What was on the wire, if it was recorded there.
    pub wire: Option<Wire>,
}

/// A publisher's connection, as it was recorded.
#[derive(Debug)]
pub struct Wire {
    /// What the encoder sent, and when, since its connection was accepted.
    pub records: Vec<(Duration, Bytes)>,
    /// Per tag of the capture, bytes of the connection up to its end.
    pub tag_ends: Vec<u64>,
    /// Bytes of the connection up to the end of `publish`.
    pub publish_end: u64,
    /// What was published, as `live/a`.
    pub key: String,
}

/// Why there is no capture.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// No file of this name.
    #[error("there is no capture {name:?}; there are: {}", known.join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The file cannot be read.
    #[error("capture {name}: {source}")]
    Io {
        /// What was asked for.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// A recorded connection that is none.
    #[error("capture {name}: {reason}")]
    Wire {
        /// What was asked for.
        name: String,
        /// Why.
        reason: String,
    },
}

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata")
}

const KINDS: [(&str, &str); 2] = [("flv", "flv"), ("rtmp", "rtmpcap")];

/// The names of all captures, sorted.
pub fn names() -> Vec<String> {
    let mut names = Vec::new();
    for (folder, ending) in KINDS {
        let Ok(files) = std::fs::read_dir(testdata().join(folder)) else { continue };
        let paths = files.filter_map(|file| Some(file.ok()?.path()));
        let paths = paths.filter(|path| path.extension().is_some_and(|known| known == ending));
        names.extend(paths.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())));
    }
    names.sort();
    names
}

impl Capture {
    /// The capture of this name. It is loaded once per process: a sweep runs thousands of worlds.
    ///
    /// # Errors
    ///
    /// If there is none, or it cannot be read. Damaged FLV files are no error.
    pub fn load(name: &str) -> Result<Arc<Self>, CaptureError> {
        static LOADED: OnceLock<Mutex<BTreeMap<String, Arc<Capture>>>> = OnceLock::new();
        let loaded = LOADED.get_or_init(Mutex::default);
        // A panic elsewhere leaves the map as good as it was.
        let mut loaded = loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(capture) = loaded.get(name) {
            return Ok(Arc::clone(capture));
        }
        let capture = Arc::new(Self::read(name)?);
        loaded.insert(name.to_owned(), Arc::clone(&capture));
        Ok(capture)
    }

    fn read(name: &str) -> Result<Self, CaptureError> {
        let known = names();
        if !known.iter().any(|known| known == name) {
            return Err(CaptureError::Unknown { name: name.to_owned(), known });
        }
        let io = |source| CaptureError::Io { name: name.to_owned(), source };
        let file = |folder, ending| testdata().join(folder).join(format!("{name}.{ending}"));
        let name = name.to_owned();
        let flv = file("flv", "flv");
        if flv.exists() {
            let (tags, damage) = flv::read(&std::fs::read(flv).map_err(io)?.into());
            return Ok(Self { name, tags, damage, wire: None });
        }
        let bytes = std::fs::read(file("rtmp", "rtmpcap")).map_err(io)?.into();
        let wrong = |reason| CaptureError::Wire { name: name.clone(), reason };
        let (tags, wire) = wire::read(&bytes).map_err(wrong)?;
        Ok(Self { name, tags, damage: None, wire: Some(wire) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;
    use crate::tag::Role;

    #[test]
    fn every_capture_has_the_tags_of_the_manifest() {
        let manifest = std::fs::read(testdata().join("manifest.json")).unwrap();
        let manifest: Vec<serde_json::Value> = serde_json::from_slice(&manifest).unwrap();
        for known in &manifest {
            let file = known["file"].as_str().unwrap();
            let capture = Capture::load(file.split_once('.').unwrap().0).unwrap();
            let seen: Vec<_> = capture.tags.iter().map(CaptureTag::seen).collect();
            let count = |kind, roles: &[Role]| {
                let is = |tag: &&TagSeen| tag.kind == kind && roles.contains(&tag.role);
                seen.iter().filter(is).count() as u64
            };
            let counts = &known["tags"];
            let inter = [Role::Inter, Role::Disposable];
            // What enhanced captures have besides is in the manifest under other names.
            for (name, count) in [
                ("video_key", count(Kind::Video, &[Role::Keyframe])),
                ("video_inter", count(Kind::Video, &inter)),
                ("audio", count(Kind::Audio, &[Role::Sound])),
                ("script", count(Kind::Script, &[Role::Script])),
                ("video_seq", count(Kind::Video, &[Role::Header])),
                ("audio_seq", count(Kind::Audio, &[Role::Header])),
            ] {
                assert_eq!(count, counts[name].as_u64().unwrap_or(0), "{file}: {name}: {counts}");
            }
            let all: u64 = counts.as_object().unwrap().values().filter_map(|n| n.as_u64()).sum();
            assert_eq!(seen.len() as u64, all, "{file}: {counts}");
            let first = seen.first().map(|tag| u64::from(tag.timestamp_ms));
            let last = seen.last().map(|tag| u64::from(tag.timestamp_ms));
            assert_eq!(first, known["first_timestamp_ms"].as_u64(), "{file}: first");
            assert_eq!(last, known["last_timestamp_ms"].as_u64(), "{file}: last");
            let breaks =
                known["framing"].as_str().is_some_and(|framing| framing.starts_with("breaks"));
            assert_eq!(capture.damage.is_some(), breaks, "{file}: {:?}", capture.damage);
        }
        assert_eq!(names().len(), manifest.len());
    }

    #[test]
    fn an_unknown_name_says_what_there_is() {
        let error = Capture::load("obs").unwrap_err().to_string();
        assert!(error.contains("obs-360p30-base, "), "{error}");
        assert!(error.contains("gst-librtmp-360p30"), "{error}");
        let (first, second) = (Capture::load("obs-360p30-base"), Capture::load("obs-360p30-base"));
        assert!(Arc::ptr_eq(&first.unwrap(), &second.unwrap()));
    }
}
