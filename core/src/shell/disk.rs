//! The seam between the server and the disk: the server is generic over [`Disk`]. Production hands
//! it [`RealDisk`], a simulation hands it a disk that crashes; nothing is boxed.
//!
//! What a crash leaves is the contract, and it is a weak one: bytes written since the last
//! [`File::sync`] may be lost, in part and out of order; a name made, renamed or removed since the
//! last [`Disk::sync_dir`] may be as it was before.

mod real;

use std::future::Future;
use std::io;
use std::path::Path;

use bytes::Bytes;

pub use self::real::{RealDisk, RealFile};

/// A tree of files.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file.
    type File: File;

    /// Makes a file that was not there, empty. Fails with `AlreadyExists` if there is one.
    fn create(&self, path: &Path) -> impl Future<Output = io::Result<Self::File>> + Send;

    /// Opens a file that is there, to read and to write. Fails with `WouldBlock` if somebody else
    /// has it open.
    fn open(&self, path: &Path) -> impl Future<Output = io::Result<Self::File>> + Send;

    /// Makes a directory and those above it; one that is there is as good.
    fn create_dir(&self, path: &Path) -> impl Future<Output = io::Result<()>> + Send;

    /// What is in a directory, by name.
    fn list(&self, dir: &Path) -> impl Future<Output = io::Result<Vec<Entry>>> + Send;

    /// Gives a file another name, at once: whoever looks finds one of the two. A file that had the
    /// new name is gone.
    fn rename(&self, from: &Path, to: &Path) -> impl Future<Output = io::Result<()>> + Send;

    /// Removes a file.
    fn remove(&self, path: &Path) -> impl Future<Output = io::Result<()>> + Send;

    /// Makes the names in a directory as durable as synced bytes are.
    fn sync_dir(&self, dir: &Path) -> impl Future<Output = io::Result<()>> + Send;
}

/// An open file. Operations happen in the order of their calls. One that is dropped before it is
/// done may happen or not.
pub trait File: Send + Sync + 'static {
    /// Writes behind what was appended before; all of it, or an error and any part of it.
    fn append(&mut self, slices: Vec<Bytes>) -> impl Future<Output = io::Result<()>> + Send;

    /// Writes in the middle of what there is.
    fn write_at(&mut self, at: u64, bytes: Bytes) -> impl Future<Output = io::Result<()>> + Send;

    /// Up to `len` bytes from `at` on: fewer only at the end of the file.
    fn read_at(&mut self, at: u64, len: usize) -> impl Future<Output = io::Result<Bytes>> + Send;

    /// Bytes in the file.
    fn size(&mut self) -> impl Future<Output = io::Result<u64>> + Send;

    /// Cuts off what is behind `size` bytes.
    fn truncate(&mut self, size: u64) -> impl Future<Output = io::Result<()>> + Send;

    /// Returns when everything written before would survive a loss of power.
    ///
    /// After an error nobody knows which of it would, and a second call does not tell: systems
    /// forget what they could not write.
    fn sync(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}

/// Something in a directory.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entry {
    /// Its name, without the directory's.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}
