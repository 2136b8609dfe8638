//! A disk in memory, which may be slow or fail at times: simulated ones, if the clock is paused.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use forebay::shell::disk::{Disk, Entry, File};
use tokio::time::{Instant, sleep_until};

#[derive(Clone, Default)]
pub(crate) struct MemDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: BTreeMap<PathBuf, Arc<Mutex<Vec<u8>>>>,
    /// The last part of each period nothing is done in.
    stalls: Option<(Duration, Duration)>,
    began: Option<Instant>,
    slowest: Duration,
    faults: Vec<Fault>,
    /// Operations that failed.
    failed: usize,
}

/// What can fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Call {
    Create,
    Open,
    CreateDir,
    List,
    Rename,
    Remove,
    SyncDir,
    Append,
    WriteAt,
    ReadAt,
    Truncate,
    Sync,
}

/// Calls that fail, since the first call of all.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) call: Call,
    pub(crate) from: Duration,
    pub(crate) until: Duration,
    /// How many of them do.
    pub(crate) times: usize,
    pub(crate) kind: io::ErrorKind,
}

pub(crate) struct MemFile {
    disk: MemDisk,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl MemDisk {
    /// A disk that does nothing in the last `stall` of every `period`.
    pub(crate) fn stalling(period: Duration, stall: Duration) -> Self {
        Self(Arc::new(Mutex::new(State { stalls: Some((period, stall)), ..State::default() })))
    }

    pub(crate) fn failing(faults: Vec<Fault>) -> Self {
        Self(Arc::new(Mutex::new(State { faults, ..State::default() })))
    }

    /// How many operations failed.
    pub(crate) fn failed(&self) -> usize {
        self.0.lock().unwrap().failed
    }

    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.0.lock().unwrap();
        let copy = |(path, bytes): (&PathBuf, &Arc<Mutex<Vec<u8>>>)| {
            (path.clone(), bytes.lock().unwrap().clone())
        };
        state.files.iter().map(copy).collect()
    }

    /// The longest that an operation took.
    pub(crate) fn slowest(&self) -> Duration {
        self.0.lock().unwrap().slowest
    }

    /// Waits until the disk does something, and says whether that succeeds.
    async fn turn(&self, call: Call) -> io::Result<()> {
        self.wait().await;
        let mut state = self.0.lock().unwrap();
        let age = state.began.map_or(Duration::ZERO, |began| began.elapsed());
        let fault = state.faults.iter_mut().find(|fault| {
            fault.call == call && fault.times > 0 && (fault.from..fault.until).contains(&age)
        });
        let Some(fault) = fault else { return Ok(()) };
        fault.times -= 1;
        let kind = fault.kind;
        state.failed += 1;
        Err(kind.into())
    }

    async fn wait(&self) {
        let now = Instant::now();
        let until = {
            let mut state = self.0.lock().unwrap();
            let began = *state.began.get_or_insert(now);
            state.stalls.map(|(period, stall)| {
                let into = Duration::from_nanos(
                    (now.duration_since(began).as_nanos() % period.as_nanos()) as u64,
                );
                if into < period - stall { now } else { now + (period - into) }
            })
        };
        if let Some(until) = until.filter(|until| *until > now) {
            sleep_until(until).await;
            let mut state = self.0.lock().unwrap();
            state.slowest = state.slowest.max(now.elapsed());
        }
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for MemDisk {
    type File = MemFile;

    async fn create(&self, path: &Path) -> io::Result<MemFile> {
        self.turn(Call::Create).await?;
        let mut state = self.0.lock().unwrap();
        if state.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let bytes = Arc::default();
        state.files.insert(path.to_owned(), Arc::clone(&bytes));
        Ok(MemFile { disk: self.clone(), bytes })
    }

    async fn open(&self, path: &Path) -> io::Result<MemFile> {
        self.turn(Call::Open).await?;
        let bytes = self.0.lock().unwrap().files.get(path).cloned().ok_or_else(missing)?;
        Ok(MemFile { disk: self.clone(), bytes })
    }

    async fn create_dir(&self, _path: &Path) -> io::Result<()> {
        self.turn(Call::CreateDir).await?;
        Ok(())
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.turn(Call::List).await?;
        let state = self.0.lock().unwrap();
        let mut entries: Vec<_> = state
            .files
            .keys()
            .filter_map(|path| {
                let mut rest = path.strip_prefix(dir).ok()?.components();
                let name = rest.next()?.as_os_str().to_string_lossy().into_owned();
                Some(Entry { name, is_dir: rest.next().is_some() })
            })
            .collect();
        entries.dedup();
        Ok(entries)
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.turn(Call::Rename).await?;
        let mut state = self.0.lock().unwrap();
        let bytes = state.files.remove(from).ok_or_else(missing)?;
        state.files.insert(to.to_owned(), bytes);
        Ok(())
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        self.turn(Call::Remove).await?;
        self.0.lock().unwrap().files.remove(path).map(drop).ok_or_else(missing)
    }

    async fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        self.turn(Call::SyncDir).await?;
        Ok(())
    }
}

impl File for MemFile {
    async fn append(&mut self, slices: Vec<Bytes>) -> io::Result<()> {
        let failed = self.disk.turn(Call::Append).await;
        let mut bytes = self.bytes.lock().unwrap();
        if failed.is_err() {
            // As much as there was room for.
            bytes.extend_from_slice(&slices[0][..slices[0].len() / 2]);
            return failed;
        }
        slices.iter().for_each(|slice| bytes.extend_from_slice(slice));
        Ok(())
    }

    async fn write_at(&mut self, at: u64, new: Bytes) -> io::Result<()> {
        self.disk.turn(Call::WriteAt).await?;
        let mut bytes = self.bytes.lock().unwrap();
        let at = at as usize;
        let end = (at + new.len()).max(bytes.len());
        bytes.resize(end, 0);
        bytes[at..at + new.len()].copy_from_slice(&new);
        Ok(())
    }

    async fn read_at(&mut self, at: u64, len: usize) -> io::Result<Bytes> {
        self.disk.turn(Call::ReadAt).await?;
        let bytes = self.bytes.lock().unwrap();
        let rest = bytes.get(at as usize..).unwrap_or_default();
        Ok(Bytes::copy_from_slice(&rest[..len.min(rest.len())]))
    }

    async fn size(&mut self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    async fn truncate(&mut self, size: u64) -> io::Result<()> {
        self.disk.turn(Call::Truncate).await?;
        self.bytes.lock().unwrap().truncate(size as usize);
        Ok(())
    }

    async fn sync(&mut self) -> io::Result<()> {
        self.disk.turn(Call::Sync).await?;
        Ok(())
    }
}
