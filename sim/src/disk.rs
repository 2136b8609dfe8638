//! SimDisk: a node's disk, in memory. It outlives the node's process, which is what it is for.
//!
//! Programs see what was written. After a *kill* it is all there; after a *loss of power* what was
//! synced is, and of the rest whatever the seed draws: pages written or not, in part, out of order,
//! sizes without bytes, names as they were before. What the plan says of the disk (K1 to K12) is
//! done to the calls that it concerns.

mod call;
mod look;
mod pages;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use forebay::shell::disk::{Disk, Entry, File};
use tokio::sync::watch;

use self::call::{Done, Verdict};
pub use self::look::{look, recover_all};
use self::tree::{Inode, Tree};
use crate::plan::DiskFault;
use crate::random::{self, Rng};
use crate::recorder::Recorder;
use crate::trace::{DiskCall, Who};

/// A disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<State>>);

struct State {
    tree: Tree,
    seed: u64,
    /// Calls so far.
    calls: u64,
    /// Ends of processes so far.
    deaths: u64,
    /// At these calls it does nothing more, until its node's process is dead.
    halts: BTreeSet<u64>,
    is_halted: bool,
    /// By the plan's line; `true`: it concerns one call.
    faults: BTreeMap<usize, (DiskFault, bool)>,
    /// Whether it does anything.
    runs: watch::Sender<bool>,
    /// Nothing takes time: nobody's clock runs.
    is_timeless: bool,
    recorder: Option<(Recorder, Who)>,
}

/// An open file.
pub struct SimFile {
    disk: SimDisk,
    inode: Inode,
    path: PathBuf,
}

/// What ends a node's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// It stopped by itself, or was killed: the system goes on, and writes what it was given.
    OfProcess,
    /// The machine lost its power.
    OfMachine,
}

impl SimDisk {
    /// An empty disk on which nothing takes time.
    pub fn timeless(seed: u64) -> Self {
        let state = State {
            tree: Tree::default(),
            seed,
            calls: 0,
            deaths: 0,
            halts: BTreeSet::new(),
            is_halted: false,
            faults: BTreeMap::new(),
            runs: watch::Sender::new(true),
            is_timeless: true,
            recorder: None,
        };
        Self(Arc::new(Mutex::new(state)))
    }

    /// The empty disk of a node.
    pub(crate) fn of_node(seed: u64, recorder: Recorder, who: Who) -> Self {
        let disk = Self::timeless(seed);
        let mut state = disk.lock();
        (state.is_timeless, state.recorder) = (false, Some((recorder, who)));
        drop(state);
        disk
    }

    /// Another disk with the same on it, on which nothing takes time or fails.
    #[must_use]
    pub fn copy(&self, seed: u64) -> Self {
        let copy = Self::timeless(seed);
        copy.lock().tree = self.lock().tree.clone();
        copy
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// From this call on it does nothing more, until its node's process is [dead](Self::died).
    pub fn halt_at(&self, call: u64) {
        self.lock().halts.insert(call);
    }

    /// The node's process is over, with all that it had open. Futures of calls must be gone.
    pub fn died(&self, death: Death) {
        let mut state = self.lock();
        state.deaths += 1;
        state.is_halted = false;
        state.tree.close_all();
        if death == Death::OfMachine {
            let mut random = state.random(&format!("power/{}", state.deaths));
            state.tree.lose_power(&mut random);
        }
    }

    /// Something goes wrong from now on. `once`: with one call. `records`: where recordings are.
    pub(crate) fn begin(&self, line: usize, fault: DiskFault, once: bool, records: &Path) {
        if fault == DiskFault::Leftovers {
            return self.plant_leftovers(line, records);
        }
        let mut state = self.lock();
        state.faults.insert(line, (fault, once));
        state.tell_whether_it_runs();
    }

    pub(crate) fn end(&self, line: usize) {
        let mut state = self.lock();
        state.faults.remove(&line);
        state.tell_whether_it_runs();
    }

    /// All that was written is durable: as it is some time after a process died.
    pub fn settle(&self) {
        self.lock().tree.settle();
    }

    /// What is in the files, by name.
    pub fn files(&self) -> Vec<(String, Bytes)> {
        let mut state = self.lock();
        let files = state.tree.files().into_iter();
        let bytes = files.filter_map(|(name, inode)| {
            let pages = state.tree.pages(inode).ok()?;
            Some((name, Bytes::copy_from_slice(pages.bytes())))
        });
        bytes.collect()
    }

    /// Makes a file that has been there for long.
    pub fn plant(&self, path: &Path, bytes: Vec<u8>) -> io::Result<()> {
        self.lock().tree.plant(path, bytes)
    }

    /// Another bit of a file is what it was not.
    pub fn flip(&self, path: &Path, bit: u64) -> io::Result<()> {
        let mut state = self.lock();
        let inode = state.tree.open(path)?;
        state.tree.close(inode);
        let pages = state.tree.pages(inode)?;
        let at = (bit / 8) as usize % pages.bytes().len().max(1);
        let byte = pages.bytes().get(at).copied().unwrap_or_default();
        pages.write(at, &[byte ^ (1 << (bit % 8))]);
        Ok(())
    }

    /// What an earlier life, or somebody else, may have left where recordings are.
    fn plant_leftovers(&self, line: usize, directory: &Path) {
        let mut state = self.lock();
        let mut random = state.random(&format!("leftovers/{line}"));
        let foreign =
            b"FLV\x01\x05\0\0\0\x09\0\0\0\0\x09\0\0\x05\0\0\0\0\0\0\0\x17\x01\0\0".to_vec();
        let all: [(&str, Vec<u8>); 5] = [
            (".forebay-probe", vec![b' '; 512]),
            ("live/empty.flv.part", Vec::new()),
            ("live/zeros.flv.part", vec![0; 50_000]),
            ("live/foreign.flv.part", foreign),
            ("live/garbage.flv.part", (0..9_000).map(|_| random.u8(..)).collect()),
        ];
        for (path, bytes) in all {
            if random.bool() {
                // One that is there is as good.
                let _known = state.tree.plant(&directory.join(path), bytes);
            }
        }
    }
}

impl State {
    fn random(&self, purpose: &str) -> Rng {
        random::stream(self.seed, &format!("disk/{purpose}"))
    }

    fn tell_whether_it_runs(&self) {
        let runs = !self.faults.values().any(|(fault, _)| *fault == DiskFault::Stall);
        self.runs.send_replace(runs);
    }

    fn has(&self, wanted: DiskFault) -> bool {
        self.faults.values().any(|(fault, _)| *fault == wanted)
    }

    /// Whether this fault concerns this call. One that is for one call is over then.
    fn take(&mut self, is_wanted: impl Fn(DiskFault) -> bool) -> bool {
        let found = self.faults.iter().find(|(_, (fault, _))| is_wanted(*fault));
        let Some((line, once)) = found.map(|(line, (_, once))| (*line, *once)) else {
            return false;
        };
        if once {
            self.faults.remove(&line);
        }
        true
    }

    /// How long a call takes that writes or reads so many bytes of the device.
    fn delay(&self, call: DiskCall, len: usize, random: &mut Rng) -> Duration {
        /// An SSD's; a spinning disk's is another plan's.
        const BYTES_PER_S: u64 = 200 << 20;
        let own = match call {
            DiskCall::Sync | DiskCall::SyncDir => random.u64(300..3_000),
            _ => random.u64(20..200),
        };
        let slow = self.faults.values().map(|(fault, _)| match fault {
            DiskFault::Slow(by) => *by,
            _ => Duration::ZERO,
        });
        let rates = self.faults.values().filter_map(|(fault, _)| match fault {
            DiskFault::Rate(bits) => Some((bits / 8).max(1)),
            _ => None,
        });
        let rate = rates.min().unwrap_or(BYTES_PER_S);
        let carried = Duration::from_secs_f64(len as f64 / rate as f64);
        Duration::from_micros(own) + slow.sum::<Duration>() + carried
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    async fn create(&self, path: &Path) -> io::Result<SimFile> {
        let (disk, own) = (self.clone(), path.to_owned());
        self.call(DiskCall::Create, path, 0, move |tree, verdict, _| {
            verdict.whole()?;
            let inode = tree.create(&own)?;
            Ok(SimFile { disk, inode, path: own })
        })
        .await
    }

    async fn open(&self, path: &Path) -> io::Result<SimFile> {
        let (disk, own) = (self.clone(), path.to_owned());
        self.call(DiskCall::Open, path, 0, move |tree, verdict, _| {
            verdict.whole()?;
            let inode = tree.open(&own)?;
            Ok(SimFile { disk, inode, path: own })
        })
        .await
    }

    async fn create_dir(&self, path: &Path) -> io::Result<()> {
        let own = path.to_owned();
        self.call(DiskCall::CreateDir, path, 0, move |tree, verdict, _| {
            // One that is there needs no room.
            if tree.has_dir(&own) {
                return Ok(());
            }
            verdict.whole()?;
            tree.create_dir(&own)
        })
        .await
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let own = dir.to_owned();
        self.call(DiskCall::List, dir, 0, move |tree, verdict, _| {
            verdict.whole()?;
            let entries = tree.list(&own)?.into_iter();
            Ok(entries.map(|(name, is_dir)| Entry { name, is_dir }).collect())
        })
        .await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (old, new) = (from.to_owned(), to.to_owned());
        self.call(DiskCall::Rename, from, 0, move |tree, verdict, _| {
            verdict.whole()?;
            tree.rename(&old, &new)
        })
        .await
    }

    async fn remove(&self, path: &Path) -> io::Result<()> {
        let own = path.to_owned();
        self.call(DiskCall::Remove, path, 0, move |tree, verdict, _| {
            verdict.whole()?;
            tree.remove(&own)
        })
        .await
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let own = dir.to_owned();
        self.call(DiskCall::SyncDir, dir, 0, move |tree, verdict, _| match verdict.done()? {
            Done::Lie => Ok(()),
            Done::All | Done::Part => tree.sync_dir(&own),
        })
        .await
    }
}

impl SimFile {
    fn dirty_len(&self) -> usize {
        self.disk.lock().tree.pages(self.inode).map_or(0, |pages| pages.dirty_len())
    }

    fn len(&self) -> usize {
        self.disk.lock().tree.pages(self.inode).map_or(0, |pages| pages.bytes().len())
    }

    async fn write(
        &mut self,
        call: DiskCall,
        at: Option<u64>,
        bytes: Vec<Bytes>,
    ) -> io::Result<()> {
        let (inode, path) = (self.inode, self.path.clone());
        let bytes = bytes.concat();
        let at = at.map(|at| at as usize);
        // What is over-written has its room.
        let grows = at.is_none_or(|at| at + bytes.len() > self.len());
        let write = move |tree: &mut Tree, verdict: Verdict, random: &mut Rng| {
            let pages = tree.pages(inode)?;
            let at = at.unwrap_or(pages.bytes().len());
            let (len, result) = match verdict {
                Verdict::Fails(kind) if kind == io::ErrorKind::StorageFull && !grows => {
                    (bytes.len(), Ok(()))
                }
                Verdict::Fails(kind) if kind == io::ErrorKind::StorageFull => {
                    (random.usize(..=bytes.len()), Err(kind.into()))
                }
                Verdict::Fails(kind) => (0, Err(kind.into())),
                Verdict::Does(Done::Part) => {
                    (random.usize(..=bytes.len()), Err(io::ErrorKind::WriteZero.into()))
                }
                Verdict::Does(Done::All | Done::Lie) => (bytes.len(), Ok(())),
            };
            pages.write(at, &bytes[..len]);
            result
        };
        self.disk.call(call, &path, 0, write).await
    }
}

impl File for SimFile {
    async fn append(&mut self, slices: Vec<Bytes>) -> io::Result<()> {
        self.write(DiskCall::Append, None, slices).await
    }

    async fn write_at(&mut self, at: u64, bytes: Bytes) -> io::Result<()> {
        self.write(DiskCall::WriteAt, Some(at), vec![bytes]).await
    }

    async fn read_at(&mut self, at: u64, len: usize) -> io::Result<Bytes> {
        let (inode, path) = (self.inode, self.path.clone());
        let read = move |tree: &mut Tree, verdict: Verdict, random: &mut Rng| {
            let done = verdict.done()?;
            let bytes = tree.pages(inode)?.bytes();
            let from = bytes.len().min(at as usize);
            let mut read = bytes[from..bytes.len().min(from + len)].to_vec();
            if done == Done::Part && !read.is_empty() {
                let at = random.usize(..read.len());
                read[at] ^= 1 << random.u8(..8);
            }
            Ok(read.into())
        };
        self.disk.call(DiskCall::Read, &path, len, read).await
    }

    async fn size(&mut self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    async fn truncate(&mut self, size: u64) -> io::Result<()> {
        let (inode, path) = (self.inode, self.path.clone());
        let cut = move |tree: &mut Tree, verdict: Verdict, _: &mut Rng| {
            verdict.whole()?;
            tree.pages(inode)?.truncate(size as usize);
            Ok(())
        };
        self.disk.call(DiskCall::Truncate, &path, 0, cut).await
    }

    async fn sync(&mut self) -> io::Result<()> {
        let (inode, path) = (self.inode, self.path.clone());
        let sync = move |tree: &mut Tree, verdict: Verdict, random: &mut Rng| {
            let pages = tree.pages(inode)?;
            match verdict.done() {
                Ok(Done::All) => pages.sync(),
                Ok(Done::Lie) => {}
                Ok(Done::Part) => pages.sync_some(random),
                Err(error) => {
                    pages.fail_sync(random);
                    return Err(error);
                }
            }
            Ok(())
        };
        self.disk.call(DiskCall::Sync, &path, self.dirty_len(), sync).await
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.lock().tree.close(self.inode);
    }
}
