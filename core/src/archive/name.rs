//! Where a stream's files are: names that no stream key can lead out of the directory.

use std::time::Duration;

/// The end of a file's name that is not complete.
pub const PART: &str = ".part";

/// A name that most file systems take is at most so long; the rest is for time, suffix and `.part`.
const COMPONENT_LEN_MAX: usize = 160;

/// The directory and the beginning of the names of a stream's files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamPath {
    /// A directory inside the archive's.
    pub directory: String,
    /// What names begin with.
    pub name: String,
}

impl StreamPath {
    /// Of the stream `app/name`. Every byte of a key that means something to a file system is
    /// written as `%` and its number.
    pub fn new(key: &str) -> Self {
        let (app, name) = key.rsplit_once('/').unwrap_or(("", key));
        Self { directory: component(app), name: component(name) }
    }
}

/// A name for a file or a directory that is neither empty nor hidden nor a way elsewhere.
fn component(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        let is_plain =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || (byte == b'.' && at > 0);
        match is_plain {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02X}")),
        }
    }
    if out.is_empty() {
        out.push('%');
    }
    if out.len() > COMPONENT_LEN_MAX {
        // What is cut off still makes a difference.
        let crc = crc32fast::hash(text.as_bytes());
        out.truncate(COMPONENT_LEN_MAX - 10);
        out.push_str(&format!("%~{crc:08x}"));
    }
    out
}

/// The name of a file that begins at this moment, without its ending: `NAME-20260131T235959.123Z`.
/// `utc` is since 1970.
pub fn file_stem(name: &str, utc: Duration) -> String {
    let (days, seconds) = (utc.as_secs() / 86_400, utc.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let ms = utc.subsec_millis();
    format!("{name}-{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{ms:03}Z")
}

/// Year, month and day so many days after the first of January 1970 (Gregorian, counted from March
/// so that the leap day is a year's last).
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_key_stays_in_the_directory() {
        for key in [
            "../../etc/passwd",
            "live/..",
            "live/.",
            "./..",
            "/",
            "",
            "live/",
            "/x",
            "live/a\0b",
            "live/%2e%2e%2f",
            "live/\u{202e}gpj",
            "live/-rf",
            &format!("live/{}", "ä".repeat(4000)),
        ] {
            let path = StreamPath::new(key);
            for part in [&path.directory, &path.name] {
                assert!(!part.is_empty() && !part.starts_with('.'), "{key:?}: {part:?}");
                assert!(!part.contains(['/', '\\', '\0']) && part.is_ascii(), "{key:?}: {part:?}");
                assert!(part.len() <= COMPONENT_LEN_MAX, "{key:?}: {part:?}");
            }
        }
        let plain = StreamPath { directory: "live".to_owned(), name: "obs.1".to_owned() };
        assert_eq!(StreamPath::new("live/obs.1"), plain);
    }

    #[test]
    fn two_keys_are_two_names() {
        let long = "x".repeat(4000);
        let keys =
            ["a/b", "a/b%2Fc", "a%2Fb/c", "a/b/c", &format!("a/{long}1"), &format!("a/{long}2")];
        for (n, one) in keys.iter().enumerate() {
            for other in &keys[n + 1..] {
                assert_ne!(StreamPath::new(one), StreamPath::new(other), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_file_says_when_it_began() {
        for (seconds, stem) in [
            (0, "x-19700101T000000.000Z"),
            (951_782_400, "x-20000229T000000.000Z"),
            (951_868_799, "x-20000229T235959.000Z"),
            (951_868_800, "x-20000301T000000.000Z"),
            (1_769_903_999, "x-20260131T235959.000Z"),
            (4_107_542_399, "x-21000228T235959.000Z"),
            (4_107_542_400, "x-21000301T000000.000Z"),
        ] {
            assert_eq!(file_stem("x", Duration::from_secs(seconds)), stem);
        }
        assert_eq!(file_stem("x", Duration::from_millis(1007)), "x-19700101T000001.007Z");
    }
}
