//! Goals about the archive.

use std::collections::BTreeMap;

use crate::invariant::Judged;
use crate::tag::Role;
use crate::trace::{DiskCall, DiskOutcome, Recording, Recordings, What, Who};

fn looks<'r>(run: &'r Judged<'_>) -> impl Iterator<Item = &'r Recordings> {
    run.trace.events.iter().filter_map(|event| match &event.what {
        What::Recordings(recordings) => Some(&**recordings),
        _ => None,
    })
}

/// The last call on each of a node's files when it crashed, and what had come of it.
type Last<'r> = BTreeMap<&'r str, (DiskCall, DiskOutcome)>;

/// Whether a crash found such files.
fn crashed_with(run: &Judged<'_>, is_it: impl Fn(&Last<'_>) -> bool) -> bool {
    let mut last: BTreeMap<Who, Last<'_>> = BTreeMap::new();
    run.trace.events.iter().any(|event| match &event.what {
        What::Disk(seen) => {
            let files = last.entry(event.who).or_default();
            files.insert(&seen.path, (seen.call, seen.outcome));
            false
        }
        What::Crashed => last.remove(&event.who).is_some_and(|files| is_it(&files)),
        _ => false,
    })
}

/// Something was written, and not synced.
pub(super) fn crash_before_sync(run: &Judged<'_>) -> bool {
    crashed_with(run, |files| {
        files.values().any(|(call, outcome)| match call {
            DiskCall::Append | DiskCall::WriteAt => true,
            DiskCall::Sync => *outcome == DiskOutcome::Begun,
            _ => false,
        })
    })
}

/// A file says that it is complete, and its name says that it is not.
pub(super) fn crash_before_rename(run: &Judged<'_>) -> bool {
    let is_complete = |file: &Recording| {
        !file.is_final()
            && file.broken.is_none()
            && file.head.as_ref().is_some_and(|head| head.filesize == file.len)
    };
    looks(run).any(|look| look.found.iter().any(is_complete))
}

/// What an earlier life left was opened, and neither renamed nor removed.
pub(super) fn crash_in_recovery(run: &Judged<'_>) -> bool {
    let is_recovering = |path: &str, call: DiskCall| {
        path.ends_with(".part")
            && matches!(call, DiskCall::Open | DiskCall::Read | DiskCall::Truncate)
    };
    crashed_with(run, |files| files.iter().any(|(path, (call, _))| is_recovering(path, *call)))
}

/// And something is durable again afterwards.
pub(super) fn full_then_free(run: &Judged<'_>) -> bool {
    let mut was_full = false;
    let mut is_free = false;
    run.trace.events.iter().any(|event| {
        match &event.what {
            What::FaultBegins { family: "K3", .. } => (was_full, is_free) = (false, false),
            What::Disk(seen) if seen.outcome == DiskOutcome::Failed => was_full = true,
            What::FaultEnds { family: "K3", .. } => is_free = was_full,
            What::Durable { .. } => return is_free,
            _ => {}
        }
        false
    })
}

/// A file could not end for twice its time, as there was no keyframe; then it did.
pub(super) fn huge_gop(run: &Judged<'_>) -> bool {
    let limit = run.limits.archive_file_ms;
    looks(run).any(|look| {
        look.recovered.windows(2).any(|pair| {
            let media = pair[0].tags.iter().filter(|tag| tag.tag.role != Role::Script);
            let lasts = media.map(|tag| u64::from(tag.tag.timestamp_ms)).max().unwrap_or(0);
            let begins_anew = pair[1].tags.iter().any(|tag| tag.tag.role == Role::Keyframe);
            lasts > 2 * limit && begins_anew
        })
    })
}
