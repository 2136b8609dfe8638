//! Recordings: takes complete ones to the store. The directory is the queue: nothing is forgotten in
//! a restart, and whatever was recorded while the store was gone is there when it is back.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::{RECORDING, Store, within};
use crate::archive::PART;
use crate::archive::head::{HEAD_LEN, is_ours};
use crate::relay::Backoff;
use crate::shell::Shared;
use crate::shell::disk::{Disk, File};
use crate::shell::random::Random;
use crate::shell::recover;

/// What is read and sent at once. S3 takes no smaller ones but the last.
const PART_LEN: u64 = 8 << 20;
/// S3 takes 10,000.
const PARTS_MAX: u64 = 9_000;

/// Why a recording is not in the store.
enum Failure {
    /// The store's fault: the others would fail as well.
    Store(String),
    /// Its own.
    File(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

/// Copies recordings, one after the other.
pub(in crate::shell) struct Recordings<D> {
    disk: D,
    shared: Arc<Shared>,
    store: Store,
    directory: PathBuf,
    /// Those that stay where they are: they are in the store, or not for us to take.
    settled: BTreeSet<PathBuf>,
    /// Those whose failure was told.
    told: BTreeSet<PathBuf>,
}

impl<D: Disk> Recordings<D> {
    /// `None` if none are to be copied.
    pub(in crate::shell) fn new(disk: &D, shared: &Arc<Shared>, store: &Store) -> Option<Self> {
        let directory = shared.config.archive.directory.clone()?;
        let is_wanted = shared.config.store.recordings;
        is_wanted.then(|| Self {
            disk: disk.clone(),
            shared: shared.clone(),
            store: store.clone(),
            directory,
            settled: BTreeSet::new(),
            told: BTreeSet::new(),
        })
    }

    /// Copies what is there and what comes, until it is told that nothing more comes and all of it is
    /// in the store.
    pub(in crate::shell) async fn run(mut self, mut ending: watch::Receiver<bool>) {
        let limits = self.shared.config.store.backoff;
        let mut backoff = Backoff::new(limits);
        let mut random = Random::new(self.shared.origin.seed ^ 0x5704);
        let mut failures = 0_u64;
        let shared = self.shared.clone();
        loop {
            let is_last = *ending.borrow_and_update();
            match self.copy_all().await {
                Ok(()) if is_last => return,
                Ok(()) => {
                    if failures > 0 {
                        tracing::info!(failures, "recordings are stored again");
                        shared.store.succeeded();
                    }
                    (failures, backoff) = (0, Backoff::new(limits));
                    tokio::select! {
                        biased;
                        _ = ending.changed() => {}
                        () = shared.store.recorded.notified() => {}
                    }
                }
                Err(error) => {
                    failures += 1;
                    shared.store.failed(&error);
                    if failures == 1 {
                        tracing::warn!(%error, "recordings cannot be stored: they stay here");
                    }
                    tokio::time::sleep(backoff.next(random.next())).await;
                }
            }
        }
    }

    /// Copies all that are complete, the oldest name first, up to the store's first failure.
    async fn copy_all(&mut self) -> Result<(), String> {
        let found = recover::recordings(&self.disk, &self.directory, true).await;
        let mut found = match found {
            Ok(found) => found,
            Err(error) => {
                let directory = self.directory.display();
                tracing::warn!(%error, %directory, "cannot look for recordings");
                return Ok(());
            }
        };
        found.retain(|path| !path.to_string_lossy().ends_with(PART));
        // What is gone need not be kept in mind.
        self.settled.retain(|path| found.binary_search(path).is_ok());
        self.told.retain(|path| found.binary_search(path).is_ok());
        found.retain(|path| !self.settled.contains(path));
        let mut waiting = found.len();
        for path in &found {
            self.shared.store.waiting(waiting);
            match self.copy(path).await {
                Ok(()) => waiting -= 1,
                // Somebody has it open: it is looked at again with the next one.
                Err(Failure::File(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(Failure::File(error)) => {
                    if self.told.insert(path.clone()) {
                        tracing::warn!(file = %path.display(), %error, "not stored");
                    }
                }
                Err(Failure::Store(error)) => return Err(error),
            }
        }
        self.shared.store.waiting(waiting);
        Ok(())
    }

    async fn copy(&mut self, path: &Path) -> Result<(), Failure> {
        let mut file = self.disk.open(path).await?;
        if !is_ours(&file.read_at(0, HEAD_LEN).await?) {
            tracing::debug!(file = %path.display(), "no recording of ours: it stays");
            self.settled.insert(path.to_owned());
            return Ok(());
        }
        let size = file.size().await?;
        let below = path.strip_prefix(&self.directory).unwrap_or(path);
        let words = below.iter().map(|word| word.to_string_lossy());
        let name = words.collect::<Vec<_>>().join("/");
        let timeout = self.shared.config.store.timeout;
        let is_kept = self.shared.config.store.keep_recordings;
        let stored = async || {
            let there = within(timeout, self.store.size(&name)).await;
            there.map_err(Failure::Store)
        };
        match stored().await? {
            // Copied by a life that did not get round to removing it.
            Some(there) if there == size => {}
            Some(there) => {
                let message = format!("the store has another {name}, of {there} bytes");
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, message).into());
            }
            None => {
                self.send(&mut file, &name, size).await?;
                let there = stored().await?.unwrap_or(0);
                if there != size {
                    let _best_effort = within(timeout, self.store.remove(&name)).await;
                    let message = format!("{name} has {size} bytes, and {there} arrived");
                    return Err(Failure::Store(message));
                }
                self.shared.store.stored_recording(size);
                tracing::info!(file = %path.display(), object = %name, size, "stored");
            }
        }
        drop(file);
        if is_kept {
            self.settled.insert(path.to_owned());
            return Ok(());
        }
        self.disk.remove(path).await?;
        self.disk.sync_dir(path.parent().unwrap_or(Path::new("."))).await?;
        Ok(())
    }

    async fn send(&self, file: &mut D::File, name: &str, size: u64) -> Result<(), Failure> {
        let timeout = self.shared.config.store.timeout;
        let part_len = PART_LEN.max(size.div_ceil(PARTS_MAX));
        if size <= part_len {
            let bytes = file.read_at(0, size as usize).await?;
            let sent = within(timeout, self.store.put(name, RECORDING, vec![bytes])).await;
            return sent.map_err(Failure::Store);
        }
        let begun = within(timeout, self.store.put_parts(name, RECORDING)).await;
        let mut upload = begun.map_err(Failure::Store)?;
        let mut at = 0;
        let sent = loop {
            if at == size {
                break within(timeout, upload.complete()).await.map(drop).map_err(Failure::Store);
            }
            let bytes: Bytes = match file.read_at(at, part_len.min(size - at) as usize).await {
                Ok(bytes) => bytes,
                Err(error) => break Err(Failure::File(error)),
            };
            if bytes.is_empty() {
                break Err(Failure::File(io::ErrorKind::UnexpectedEof.into()));
            }
            at += bytes.len() as u64;
            let sent = within(timeout, upload.put_part(bytes.into())).await;
            if let Err(error) = sent {
                break Err(Failure::Store(error));
            }
        };
        if sent.is_err() {
            // Parts of what never becomes an object cost money.
            let _best_effort = within(timeout, upload.abort()).await;
        }
        sent
    }
}
