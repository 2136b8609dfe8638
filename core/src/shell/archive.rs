//! Archive: records streams as files, each stream in a task of its own.
//!
//! The task sleeps for half of `archive.sync_ms`, takes what came, writes it and makes it durable.
//! It is the only one that waits for the disk. What comes in the meantime waits in the hub's ring;
//! when that is too much the hub moves the subscriber on to a keyframe, and the file says so.

mod board;

use std::future::{Future, poll_fn};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::consumers::Consumer;
use super::disk::{Disk, File};
use super::lag_log::{LagLog, Lost};
use super::recover::{self, Action, Recovered};
use super::{Shared, now};
use crate::archive::{Archiver, Operation, PART, StreamPath, file_stem};
use crate::config;
use crate::hub::{Cause, Delivery, Policy, StreamKey, Subscriber};

pub(super) use self::board::{Board, Report};

/// Files left behind by failures that are kept in mind to be recovered when the disk works again.
/// More of them wait for the next start.
const ABANDONED_MAX: usize = 16;

/// Files of one name begun in the same millisecond.
const SAME_NAME_MAX: usize = 100;

/// Checks that recording is possible, and says which files an earlier life left behind.
///
/// A disk that is full may be empty tomorrow, so that is only said; one that cannot be written at
/// all is a mistake.
pub(super) async fn prepare<D: Disk>(
    disk: &D,
    config: &config::Archive,
) -> io::Result<Vec<PathBuf>> {
    let Some(directory) = &config.directory else { return Ok(Vec::new()) };
    let named = |error: io::Error| {
        let directory = directory.display();
        io::Error::new(error.kind(), format!("archive.directory = \"{directory}\": {error}"))
    };
    match probe(disk, directory).await {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            tracing::warn!(%error, directory = %directory.display(), "nothing can be recorded yet");
        }
        Err(error) => return Err(named(error)),
    }
    recover::recordings(disk, directory, false).await.map_err(named)
}

/// Writes a file and removes it.
async fn probe<D: Disk>(disk: &D, directory: &Path) -> io::Result<()> {
    const PROBE: &[u8] = &[b' '; 4096];
    disk.create_dir(directory).await?;
    sync_names(disk, directory).await?;
    let path = directory.join(".forebay-probe");
    let left_behind =
        disk.list(directory).await?.iter().any(|entry| entry.name == ".forebay-probe");
    if left_behind {
        disk.remove(&path).await?;
    }
    let mut file = disk.create(&path).await?;
    let written = async {
        file.append(vec![PROBE.into()]).await?;
        file.sync().await
    };
    let written = written.await;
    drop(file);
    disk.remove(&path).await?;
    written
}

/// Makes a directory's name durable, and the names of those above it: each may be new, and whatever
/// is recorded is lost with any of them.
async fn sync_names<D: Disk>(disk: &D, directory: &Path) -> io::Result<()> {
    for (nth, above) in directory.ancestors().skip(1).enumerate() {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        match disk.sync_dir(above).await {
            // Where we may not even look we have made no name.
            Err(error) if nth > 0 && error.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
    }
    Ok(())
}

/// Recovers what an earlier life left behind.
pub(super) async fn recover_leftovers<D: Disk>(disk: D, shared: Arc<Shared>, files: Vec<PathBuf>) {
    for path in files {
        match recover::recover(&disk, &path, false).await {
            Ok(done) => {
                shared.archive.count_recovered(&done);
                shared.store.recorded.notify_one();
                log_recovered(&done);
            }
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "cannot recover");
            }
        }
    }
}

fn log_recovered(done: &Recovered) {
    let file = done.path.display();
    let Recovered { sound, .. } = done;
    let (tags, kept, size, checked) = (sound.tags, sound.keep, sound.size, sound.checked);
    match done.action {
        Action::LeftAlone => tracing::warn!(%file, size, "left as it is: nothing in it is sound"),
        Action::Removed => tracing::info!(%file, size, "removed: nothing in it was ever durable"),
        _ if done.is_damaged() => {
            tracing::warn!(%file, tags, kept, size, ?checked, "recovered, but some of it is damaged");
        }
        _ => tracing::info!(%file, tags, kept, size, "recovered"),
    }
}

/// The consumer.
pub(super) struct Archive<D> {
    disk: D,
    shared: Arc<Shared>,
    directory: PathBuf,
}

impl<D: Disk> Archive<D> {
    /// `None` if nothing is to be recorded.
    pub(super) fn new(disk: &D, shared: &Arc<Shared>) -> Option<Self> {
        let directory = shared.config.archive.directory.clone()?;
        Some(Self { disk: disk.clone(), shared: shared.clone(), directory })
    }
}

impl<D: Disk> Consumer for Archive<D> {
    const NAME: &'static str = "archive";

    fn policy(&self, key: &StreamKey) -> Option<Policy> {
        let config = &self.shared.config.archive;
        config.stream.matches(key.as_str()).then_some(config.policy)
    }

    fn run(self: Arc<Self>, subscriber: Subscriber) -> impl Future<Output = ()> + Send {
        Recorder::new(self, subscriber).run()
    }
}

/// Records one stream.
struct Recorder<D: Disk> {
    archive: Arc<Archive<D>>,
    key: StreamKey,
    path: StreamPath,
    subscriber: Subscriber,
    archiver: Archiver,
    open: Option<Open<D>>,
    abandoned: Vec<PathBuf>,
    /// Failures since the last success: only the first one is news.
    failures: u64,
    lags: LagLog,
}

/// The file that is being written.
struct Open<D: Disk> {
    file: D::File,
    /// As it is called now.
    part: PathBuf,
    name: PathBuf,
    /// Whether anything in it is worth keeping.
    is_synced: bool,
}

impl<D: Disk> Recorder<D> {
    fn new(archive: Arc<Archive<D>>, subscriber: Subscriber) -> Self {
        let key = subscriber.key().clone();
        let path = StreamPath::new(key.as_str());
        let archiver = Archiver::new(archive.shared.config.archive.limits);
        Self {
            archive,
            key,
            path,
            subscriber,
            archiver,
            open: None,
            abandoned: Vec::new(),
            failures: 0,
            lags: LagLog::default(),
        }
    }

    async fn run(mut self) {
        loop {
            let has_ended = self.gather().await;
            match has_ended {
                true => self.archiver.end(),
                false => self.archiver.flush(now()),
            }
            self.write().await;
            if self.failures == 0 {
                self.recover_abandoned().await;
            }
            if has_ended {
                break;
            }
        }
        let rest = self.lags.rest();
        self.log_gaps(rest);
        if let Some(gap) = self.archiver.untold() {
            tracing::warn!(stream = %self.key, tags = gap.tags, bytes = gap.bytes, "the end is in no file");
        }
        self.archive.shared.archive.remove(&self.key);
    }

    /// Takes what came since the last time, when it is time to write it. Says whether it was all.
    async fn gather(&mut self) -> bool {
        let first = poll_fn(|cx| self.subscriber.poll_delivery(cx)).await;
        if self.take(first) {
            return true;
        }
        if let Some(due) = self.archiver.due() {
            // Woken once, not with every tag: the ring keeps them.
            tokio::time::sleep_until(due.into()).await;
        }
        while !self.archiver.is_full() {
            let Some(delivery) = self.subscriber.next_delivery() else { break };
            if self.take(delivery) {
                return true;
            }
        }
        false
    }

    /// Says whether it was the last one.
    fn take(&mut self, delivery: Delivery) -> bool {
        match delivery {
            Delivery::Tag { number, tag } => {
                let utc = self.archive.shared.utc();
                let session = self.subscriber.session();
                self.archiver.take(now(), utc, session, number, &tag);
            }
            Delivery::Lag(lag) if lag.cause == Cause::Filtered => {}
            Delivery::Lag(lag) => {
                let lost = self.lags.add(&lag, now());
                self.log_gaps(lost);
                self.archiver.lost(lag.tags, lag.bytes);
            }
            Delivery::End | Delivery::Disconnected => return true,
        }
        false
    }

    /// Does what is to be done, up to the first failure.
    async fn write(&mut self) {
        while let Some(operation) = self.archiver.next_operation() {
            match self.perform(operation).await {
                Ok(()) => self.archiver.succeeded(),
                Err(error) => {
                    self.failed(&error).await;
                    break;
                }
            }
            self.report(None);
        }
    }

    async fn perform(&mut self, operation: Operation) -> io::Result<()> {
        if let Operation::Create { utc } = operation {
            self.open = Some(self.create(utc).await?);
            return Ok(());
        }
        let none = || io::Error::other("no file is open");
        let open = self.open.as_mut().ok_or_else(none)?;
        match operation {
            Operation::Create { .. } => {}
            Operation::Append(slices) => open.file.append(slices).await?,
            Operation::Write { at, bytes } => open.file.write_at(at, bytes).await?,
            Operation::Sync => {
                open.file.sync().await?;
                open.is_synced = true;
                if self.failures > 0 {
                    tracing::info!(stream = %self.key, file = %open.part.display(), "recording again");
                }
                self.failures = 0;
            }
            Operation::Finish => {
                let disk = &self.archive.disk;
                disk.rename(&open.part, &open.name).await?;
                // From here on it is complete, and nothing to recover.
                let name = open.name.clone();
                self.open = None;
                disk.sync_dir(name.parent().unwrap_or(Path::new("."))).await?;
                tracing::info!(stream = %self.key, file = %name.display(), "recorded");
                self.archive.shared.store.recorded.notify_one();
            }
        }
        Ok(())
    }

    async fn create(&mut self, utc: std::time::Duration) -> io::Result<Open<D>> {
        let archive = Arc::clone(&self.archive);
        let disk = &archive.disk;
        let directory = archive.directory.join(&self.path.directory);
        disk.create_dir(&directory).await?;
        disk.sync_dir(&archive.directory).await?;
        let stem = file_stem(&self.path.name, utc);
        let names = disk.list(&directory).await?;
        let is_there = |name: &str| names.iter().any(|entry| entry.name == name);
        for n in 1..=SAME_NAME_MAX {
            let name = match n {
                1 => format!("{stem}.flv"),
                n => format!("{stem}-{n}.flv"),
            };
            let part = format!("{name}{PART}");
            if is_there(&name) || is_there(&part) {
                continue;
            }
            let (part, name) = (directory.join(part), directory.join(name));
            let file = disk.create(&part).await?;
            if let Err(error) = disk.sync_dir(&directory).await {
                drop(file);
                self.discard(part).await;
                return Err(error);
            }
            tracing::info!(stream = %self.key, file = %part.display(), "recording");
            return Ok(Open { file, part, name, is_synced: false });
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{stem}.flv is there already")))
    }

    async fn failed(&mut self, error: &io::Error) {
        self.archiver.failed(now());
        self.failures += 1;
        if self.failures == 1 {
            tracing::warn!(stream = %self.key, %error, "recording is interrupted");
        } else {
            tracing::debug!(stream = %self.key, %error, "recording is still interrupted");
        }
        self.report(Some(error.to_string()));
        let Some(open) = self.open.take() else { return };
        drop(open.file);
        match open.is_synced {
            true => self.abandon(open.part),
            false => self.discard(open.part).await,
        }
    }

    /// Removes a file that nothing is in: there would be one more with every attempt.
    async fn discard(&mut self, part: PathBuf) {
        if self.archive.disk.remove(&part).await.is_err() {
            self.abandon(part);
        }
    }

    fn abandon(&mut self, part: PathBuf) {
        if self.abandoned.len() < ABANDONED_MAX {
            self.abandoned.push(part);
        }
    }

    /// The disk works again: completes what had to be given up.
    async fn recover_abandoned(&mut self) {
        for path in std::mem::take(&mut self.abandoned) {
            match recover::recover(&self.archive.disk, &path, false).await {
                Ok(done) => {
                    self.archive.shared.archive.count_recovered(&done);
                    self.archive.shared.store.recorded.notify_one();
                    log_recovered(&done);
                }
                // It had its final name already.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::debug!(file = %path.display(), %error, "not recovered yet");
                    self.abandoned.push(path);
                }
            }
        }
    }

    fn log_gaps(&self, lost: Option<Lost>) {
        let Some(Lost { times, tags, ms }) = lost else { return };
        tracing::warn!(stream = %self.key, gaps = times, tags, ms, "not recorded: gaps");
    }

    fn report(&self, failure: Option<String>) {
        let file = self.open.as_ref().map(|open| open.part.display().to_string());
        let report = Report { status: self.archiver.status(), file, failure };
        self.archive.shared.archive.update(&self.key, report);
    }
}
