//! StreamPattern: which streams are meant, as in `live/*`.

use std::fmt;

/// A stream key in which `*` stands for anything, the empty text and slashes included.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamPattern(Box<str>);

impl StreamPattern {
    /// Whether this key is meant.
    pub fn matches(&self, key: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut left) = parts.next().and_then(|first| key.strip_prefix(first)) else {
            return false;
        };
        let Some(last) = parts.next_back() else { return left.is_empty() };
        // The earliest place for each is as good as any: what follows may be anything.
        for part in parts {
            let Some(at) = left.find(part) else { return false };
            left = &left[at + part.len()..];
        }
        left.ends_with(last)
    }
}

impl From<&str> for StreamPattern {
    fn from(pattern: &str) -> Self {
        Self(pattern.into())
    }
}

impl fmt::Debug for StreamPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, yes, no) in [
            ("live/obs", &["live/obs"][..], &["live/obs2", "live/ob", ""][..]),
            ("live/*", &["live/", "live/obs", "live/a%2Fb"], &["live", "alive/obs"]),
            ("*", &["", "live/obs"], &[]),
            ("*/cam-*", &["a/cam-1", "/cam-", "x/y/cam-"], &["cam-1", "a/cam"]),
            ("a*b*c", &["abc", "a-b-b-c", "abbc"], &["ac", "acb", "abcd"]),
            ("aa*aa", &["aaaa", "aaxaa"], &["aaa"]),
        ] {
            let pattern = StreamPattern::from(pattern);
            yes.iter().for_each(|key| assert!(pattern.matches(key), "{pattern:?} {key:?}"));
            no.iter().for_each(|key| assert!(!pattern.matches(key), "{pattern:?} {key:?}"));
        }
    }
}
