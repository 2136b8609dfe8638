//! Landmark: places in a stream of bytes that somebody wants to know of when a reader passes them.
//! The writer knows where they are, the network knows where reads end.

use std::collections::VecDeque;

/// A place in what an encoder writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landmark {
    /// A chunk's header. Reads may end inside it.
    Header {
        /// Its type, 0 to 3.
        fmt: u8,
        /// Its first byte.
        start: u64,
        /// Its bytes.
        len: u8,
        /// Its last four bytes are an extended timestamp.
        is_extended: bool,
    },
    /// A goal is reached once all before it was read.
    Goal {
        /// Where.
        at: u64,
        /// Its name.
        name: &'static str,
    },
}

const EXTENDED_LEN: u64 = 4;

impl Landmark {
    /// The same, in a stream in which so many bytes come before.
    #[must_use]
    pub fn behind(self, bytes: u64) -> Self {
        match self {
            Self::Header { fmt, start, len, is_extended } => {
                Self::Header { fmt, start: start + bytes, len, is_extended }
            }
            Self::Goal { at, name } => Self::Goal { at: at + bytes, name },
        }
    }

    fn end(&self) -> u64 {
        match *self {
            Self::Header { start, len, .. } => start + u64::from(len),
            Self::Goal { at, .. } => at,
        }
    }
}

/// Landmarks that a reader has not passed yet, in order.
#[derive(Debug, Default)]
pub(crate) struct Landmarks {
    ahead: VecDeque<Landmark>,
    /// Bytes read so far.
    read: u64,
}

/// What a read came upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// It ended inside a header of this type.
    CutHeader(u8),
    /// It ended inside an extended timestamp.
    CutExtended,
    /// It went past this goal.
    Goal(&'static str),
}

impl Landmarks {
    pub(crate) fn extend(&mut self, landmarks: impl IntoIterator<Item = Landmark>) {
        self.ahead.extend(landmarks);
    }

    /// So many bytes more were read, at once.
    pub(crate) fn read(&mut self, len: usize) -> Vec<Sight> {
        self.read += len as u64;
        let mut sights = Vec::new();
        while let Some(passed) = self.ahead.pop_front_if(|first| first.end() <= self.read) {
            if let Landmark::Goal { name, .. } = passed {
                sights.push(Sight::Goal(name));
            }
        }
        if let Some(&Landmark::Header { fmt, start, len, is_extended }) = self.ahead.front()
            && start < self.read
        {
            sights.push(Sight::CutHeader(fmt));
            if is_extended && start + u64::from(len) - EXTENDED_LEN < self.read {
                sights.push(Sight::CutExtended);
            }
        }
        sights
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four bytes of something, a header of five bytes, and a goal behind it.
    fn landmarks() -> Landmarks {
        let mut landmarks = Landmarks::default();
        landmarks.extend([
            Landmark::Header { fmt: 3, start: 4, len: 5, is_extended: true },
            Landmark::Goal { at: 9, name: "goal" },
        ]);
        landmarks
    }

    #[test]
    fn a_header_is_cut_by_a_read_that_ends_between_its_first_byte_and_its_last() {
        for end in [4, 9, 20] {
            let sights = landmarks().read(end);
            assert!(!sights.contains(&Sight::CutHeader(3)), "{end}: {sights:?}");
        }
        assert_eq!(landmarks().read(5), [Sight::CutHeader(3)]);
        assert_eq!(landmarks().read(6), [Sight::CutHeader(3), Sight::CutExtended]);
        assert_eq!(landmarks().read(8), [Sight::CutHeader(3), Sight::CutExtended]);
    }

    #[test]
    fn a_goal_is_seen_once_all_before_it_is_read() {
        let mut landmarks = landmarks();
        assert_eq!(landmarks.read(8).last(), Some(&Sight::CutExtended));
        assert_eq!(landmarks.read(1), [Sight::Goal("goal")]);
        assert_eq!(landmarks.read(100), []);
    }
}
