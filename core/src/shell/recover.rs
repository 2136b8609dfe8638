//! Recovery of files on a disk: what [`Recovery`] found is done, in an order that may be cut short
//! anywhere and begun again.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::{Disk, File};
use crate::archive::{Checked, PART, Recovery, Sound};
use crate::flv::file::FileError;

/// Bytes read at once.
const READ_LEN: usize = 256 << 10;

/// How many directories deep files are looked for. The archive's own are one deep.
const DEPTH_MAX: usize = 8;

/// What became of a file, or would.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// It was right as it was.
    Nothing,
    /// What was torn is cut off, the head is complete, and it has its final name.
    Recovered,
    /// Nothing in it was ever durable: it is gone.
    Removed,
    /// It is not for us to change.
    LeftAlone,
}

/// A file that was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// The name that it had.
    pub path: PathBuf,
    /// The name that it has, if it is another one.
    pub renamed: Option<PathBuf>,
    /// What was done.
    pub action: Action,
    /// What was found.
    pub sound: Sound,
}

impl Recovered {
    /// Whether something that was written is lost or is not as it was, which recovery cannot mend.
    /// What was never durable is not meant.
    pub fn is_damaged(&self) -> bool {
        match self.sound.checked {
            _ if self.action == Action::Removed => false,
            Checked::Differs => true,
            Checked::Sound | Checked::NeverSynced => false,
            Checked::Cut | Checked::Without => self.sound.framing.is_some(),
        }
    }
}

/// The name a file has when it is complete, if this is one that is not.
pub fn final_name(path: &Path) -> Option<PathBuf> {
    path.to_str().and_then(|name| name.strip_suffix(PART)).map(PathBuf::from)
}

/// Makes a file sound, and gives it its final name. With `dry_run` it only says what it would do.
///
/// A file that somebody is writing is refused as long as he does.
pub async fn recover<D: Disk>(disk: &D, path: &Path, dry_run: bool) -> io::Result<Recovered> {
    let mut file = disk.open(path).await?;
    let sound = read(&mut file).await?;
    let renamed = final_name(path);
    let action = decide(&sound, renamed.is_some());
    let done = Recovered {
        path: path.to_owned(),
        renamed: renamed.filter(|_| action == Action::Recovered),
        action,
        sound,
    };
    if !dry_run {
        carry_out(disk, file, &done).await?;
    }
    Ok(done)
}

/// Writes a file's first bytes where they are, so that the next sync is about all of them: what an
/// earlier one failed to write, systems have forgotten, and still show.
async fn write_again<F: File>(file: &mut F, end: u64) -> io::Result<()> {
    let mut at = 0;
    while at < end {
        let len = (end - at).min(READ_LEN as u64) as usize;
        let bytes = file.read_at(at, len).await?;
        if bytes.is_empty() {
            break;
        }
        let from = at;
        at += bytes.len() as u64;
        file.write_at(from, bytes).await?;
    }
    Ok(())
}

async fn read<F: File>(file: &mut F) -> io::Result<Sound> {
    let mut recovery = Recovery::new();
    let mut at = 0;
    loop {
        let bytes = file.read_at(at, READ_LEN).await?;
        if bytes.is_empty() {
            return Ok(recovery.finish());
        }
        at += bytes.len() as u64;
        recovery.push(bytes);
    }
}

fn decide(sound: &Sound, is_part: bool) -> Action {
    let is_no_flv = matches!(
        sound.framing,
        Some(
            FileError::NoSignature | FileError::UnknownVersion { .. } | FileError::HeaderLen { .. }
        )
    );
    match is_part {
        true if sound.is_stillborn || sound.checked == Checked::NeverSynced => Action::Removed,
        // Where nothing is sound, cutting would take everything.
        _ if is_no_flv || sound.tags == 0 => Action::LeftAlone,
        false if sound.is_complete() => Action::Nothing,
        _ => Action::Recovered,
    }
}

/// Each step leaves a file of which the next attempt finds the same to be sound.
async fn carry_out<D: Disk>(disk: &D, mut file: D::File, done: &Recovered) -> io::Result<()> {
    let directory = done.path.parent().unwrap_or(Path::new("."));
    match done.action {
        Action::Nothing | Action::LeftAlone => return Ok(()),
        Action::Removed => {
            drop(file);
            disk.remove(&done.path).await?;
            return disk.sync_dir(directory).await;
        }
        Action::Recovered => {}
    }
    if let Some(renamed) = &done.renamed {
        let names = disk.list(directory).await?;
        if names.iter().any(|entry| renamed.file_name().is_some_and(|name| name == &*entry.name)) {
            let message = format!("{} is there already", renamed.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
    }
    if done.sound.keep < done.sound.size {
        file.truncate(done.sound.keep).await?;
    }
    if done.renamed.is_some() {
        write_again(&mut file, done.sound.keep).await?;
    }
    if let Some(head) = &done.sound.head {
        // Cut before the head says so: a head that promises more than there is would be believed.
        file.sync().await?;
        file.write_at(0, head.clone()).await?;
    }
    file.sync().await?;
    if let Some(renamed) = &done.renamed {
        disk.rename(&done.path, renamed).await?;
        disk.sync_dir(directory).await?;
    }
    Ok(())
}

/// The files below a directory that are not complete, or all recordings. In the order of names.
pub async fn recordings<D: Disk>(
    disk: &D,
    directory: &Path,
    all: bool,
) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut todo = vec![(directory.to_owned(), 0)];
    while let Some((directory, depth)) = todo.pop() {
        for entry in disk.list(&directory).await? {
            let path = directory.join(&entry.name);
            let is_wanted =
                entry.name.ends_with(".flv.part") || (all && entry.name.ends_with(".flv"));
            match entry.is_dir {
                true if depth < DEPTH_MAX => todo.push((path, depth + 1)),
                false if is_wanted => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}
