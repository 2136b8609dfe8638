//! RealDisk: the operating system's files, each with a thread that waits for the device.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "this is the real disk behind the trait: no system call on a file may run on a thread of the runtime, \
              as any of them may take seconds"
)]

use std::fs;
use std::io::{self, IoSlice, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::{Disk, Entry, File};

/// Directory operations that may wait for their thread; one more waits for one of them.
const WAITING_MAX: usize = 16;

/// The operating system's disk.
///
/// A file has a thread of its own, from its opening to its closing: a device that hangs holds up
/// who writes to it and nobody else. Names are the business of one thread more.
#[derive(Clone, Default)]
pub struct RealDisk {
    names: Arc<tokio::sync::OnceCell<Worker<()>>>,
}

/// A thread that does what it is told, one thing after the other. It ends with its owner.
struct Worker<T> {
    jobs: mpsc::Sender<Job<T>>,
}

type Job<T> = Box<dyn FnOnce(&mut T) + Send>;

impl<T: Send + 'static> Worker<T> {
    fn start(name: &str, mut state: T, waiting_max: usize) -> io::Result<Self> {
        let (jobs, mut todo) = mpsc::channel::<Job<T>>(waiting_max);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Some(job) = todo.blocking_recv() {
                job(&mut state);
            }
        })?;
        Ok(Self { jobs })
    }

    async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut T) -> io::Result<R> + Send + 'static,
    ) -> io::Result<R> {
        let (done, result) = oneshot::channel();
        let job: Job<T> = Box::new(move |state| {
            let _nobody_waits = done.send(work(state));
        });
        let gone = || io::Error::other("the disk's thread is gone");
        self.jobs.send(job).await.map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }
}

impl RealDisk {
    async fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<R> + Send + 'static,
    ) -> io::Result<R> {
        let start = || async { Worker::start("disk-names", (), WAITING_MAX) };
        self.names.get_or_try_init(start).await?.run(|()| work()).await
    }

    async fn file(
        &self,
        path: &Path,
        options: fs::OpenOptions,
        what: &'static str,
    ) -> io::Result<RealFile> {
        let path = path.to_owned();
        let file = self
            .run(move || open(&options, &path).map_err(|error| named(error, what, &path)))
            .await?;
        Ok(RealFile { worker: Worker::start("disk-file", file, 1)? })
    }
}

/// Opens a file for one process alone, until it is closed: two would spoil it.
fn open(options: &fs::OpenOptions, path: &Path) -> io::Result<fs::File> {
    let file = options.open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            Err(io::Error::new(io::ErrorKind::WouldBlock, "somebody is writing it"))
        }
        // A file system without locks is no reason to record nothing.
        Err(fs::TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
            Ok(file)
        }
        Err(fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Says what failed: systems only say why.
fn named(error: io::Error, what: &str, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what} {}: {error}", path.display()))
}

impl Disk for RealDisk {
    type File = RealFile;

    async fn create(&self, path: &Path) -> io::Result<RealFile> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true).create_new(true);
        self.file(path, options, "create").await
    }

    async fn open(&self, path: &Path) -> io::Result<RealFile> {
        let mut options = fs::OpenOptions::new();
        options.read(true).write(true);
        self.file(path, options, "open").await
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        self.run(move || {
            fs::create_dir_all(&path).map_err(|error| named(error, "create directory", &path))
        })
        .await
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let dir = dir.to_owned();
        self.run(move || list(&dir).map_err(|error| named(error, "list", &dir))).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.run(move || fs::rename(&from, &to).map_err(|error| named(error, "rename", &from)))
            .await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        self.run(move || fs::remove_file(&path).map_err(|error| named(error, "remove", &path)))
            .await
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = dir.to_owned();
        self.run(move || {
            let synced = fs::File::open(&dir).and_then(|open| open.sync_all());
            synced.map_err(|error| named(error, "sync directory", &dir))
        })
        .await
    }
}

fn list(dir: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        // A name that is no text is none of ours.
        let Ok(name) = entry.file_name().into_string() else { continue };
        entries.push(Entry { name, is_dir: entry.file_type()?.is_dir() });
    }
    entries.sort();
    Ok(entries)
}

/// A file of the operating system. Dropping it closes it, behind what it was told before.
pub struct RealFile {
    worker: Worker<fs::File>,
}

impl File for RealFile {
    async fn append(&mut self, slices: Vec<Bytes>) -> io::Result<()> {
        self.worker.run(move |file| append(file, &slices)).await
    }

    async fn write_at(&mut self, at: u64, bytes: Bytes) -> io::Result<()> {
        self.worker.run(move |file| file.write_all_at(&bytes, at)).await
    }

    async fn read_at(&mut self, at: u64, len: usize) -> io::Result<Bytes> {
        self.worker.run(move |file| read_at(file, at, len)).await
    }

    async fn size(&mut self) -> io::Result<u64> {
        self.worker.run(|file| Ok(file.metadata()?.len())).await
    }

    async fn truncate(&mut self, size: u64) -> io::Result<()> {
        self.worker.run(move |file| file.set_len(size)).await
    }

    async fn sync(&mut self) -> io::Result<()> {
        // The size is synced with the data, as it is needed to read them; times are nobody's need.
        self.worker.run(|file| file.sync_data()).await
    }
}

/// As many slices as one system call takes, until all are written.
fn append(file: &mut fs::File, slices: &[Bytes]) -> io::Result<()> {
    /// What Linux takes in one `writev`.
    const SLICES_MAX: usize = 1024;
    let mut slices: Vec<_> = slices.iter().map(|bytes| IoSlice::new(bytes)).collect();
    let mut left = slices.as_mut_slice();
    while !left.is_empty() {
        let many = left.len().min(SLICES_MAX);
        match file.write_vectored(&left[..many]) {
            Ok(0) if left[..many].iter().any(|slice| !slice.is_empty()) => {
                return Err(io::ErrorKind::WriteZero.into());
            }
            Ok(len) => IoSlice::advance_slices(&mut left, len),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn read_at(file: &fs::File, at: u64, len: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match file.read_at(&mut bytes[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes.into())
}
