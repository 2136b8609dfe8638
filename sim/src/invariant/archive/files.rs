//! What must hold of files, whatever was published: A3, A4, A9.

use super::super::{Finding, Judged, Verdict};
use super::history::{looks, name_and_time};
use crate::tag::Role;
use crate::trace::{Recording, RecordingHead};

/// A3.
pub(in super::super) fn even(run: &Judged<'_>) -> Verdict {
    looks(run).iter().find_map(|look| {
        let why = look.recordings.uneven.as_ref()?;
        Some(Finding::new(look.event, look.who, "uneven recovery", why.to_string()))
    })
}

/// A4. By the names that are there before any recovery, and by those that recovery gives.
pub(in super::super) fn complete(run: &Judged<'_>) -> Verdict {
    looks(run).iter().filter(|look| !look.was_betrayed).find_map(|look| {
        let files = look.recordings.found.iter().chain(look.files);
        let is_ours = |file: &&Recording| file.is_final() && name_and_time(&file.path).is_some();
        let mut complete = files.filter(is_ours);
        let why = complete.find_map(|file| {
            let why = incomplete(file)?;
            Some(format!("{} has a final name and {why}", file.path))
        })?;
        Some(Finding::new(look.event, look.who, "final and incomplete", why))
    })
}

fn incomplete(file: &Recording) -> Option<String> {
    if let Some((at, why)) = &file.broken {
        return Some(format!("cannot be read at byte {at}: {why}"));
    }
    let Some(head) = &file.head else { return Some("has no head".to_owned()) };
    let RecordingHead { duration_ms, filesize, index } = head;
    if *filesize != file.len {
        return Some(format!("says that it has {filesize} bytes, of {}", file.len));
    }
    let media = file.tags.iter().filter(|tag| tag.tag.role != Role::Script);
    let lasts = media.map(|tag| u64::from(tag.tag.timestamp_ms)).max().unwrap_or(0);
    if *duration_ms != lasts {
        return Some(format!("says that it lasts {duration_ms} ms, of {lasts}"));
    }
    let keyframes = file.tags.iter().filter(|tag| tag.tag.role == Role::Keyframe);
    let keyframes: Vec<_> =
        keyframes.map(|tag| (u64::from(tag.tag.timestamp_ms), tag.at)).collect();
    // One with very many has only some of them.
    let is_right = match keyframes.len() {
        ..=1_800 => *index == keyframes,
        _ => index.iter().all(|one| keyframes.contains(one)),
    };
    (!is_right).then(|| format!("an index of {index:?}, where keyframes are at {keyframes:?}"))
}

/// A9. A disk that lied may have lost the file's head, and with it what its bytes are to be.
pub(in super::super) fn damage(run: &Judged<'_>) -> Verdict {
    looks(run).iter().filter(|look| !look.was_betrayed).find_map(|look| {
        let why = look.recordings.unnoticed.as_ref()?;
        Some(Finding::new(look.event, look.who, "damage unseen", why.to_string()))
    })
}
