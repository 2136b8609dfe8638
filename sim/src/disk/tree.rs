//! Tree: names and files, as programs see them, and as they would be after a loss of power.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path};

use super::pages::Pages;
use crate::random::Rng;

/// The number of a file or a directory, which has it whatever its name is.
pub(super) type Inode = usize;

const ROOT: Inode = 0;

/// All files and directories.
#[derive(Clone)]
pub(super) struct Tree {
    nodes: Vec<Node>,
}

#[derive(Clone)]
enum Node {
    Dir(Dir),
    File(Opened),
}

#[derive(Clone, Default)]
struct Opened {
    pages: Pages,
    is_open: bool,
}

#[derive(Clone, Default)]
struct Dir {
    cached: BTreeMap<String, Inode>,
    durable: BTreeMap<String, Inode>,
    /// What was done since the directory was synced, in order.
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Put(String, Inode),
    Remove(String),
    /// At once, whatever happens.
    Rename(String, String),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, Inode>) {
        match self {
            Self::Put(name, inode) => drop(names.insert(name.clone(), *inode)),
            Self::Remove(name) => drop(names.remove(name)),
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

impl Dir {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.cached);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        self.unsynced.clear();
        self.durable.clone_from(&self.cached);
    }

    fn lose_power(&mut self, random: &mut Rng) {
        // A journal keeps a beginning; nobody has promised that there is one.
        let changes = std::mem::take(&mut self.unsynced);
        let (is_journal, first) = (random.bool(), random.usize(..=changes.len()));
        for (index, change) in changes.iter().enumerate() {
            if if is_journal { index < first } else { random.bool() } {
                change.apply(&mut self.durable);
            }
        }
        self.cached.clone_from(&self.durable);
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: vec![Node::Dir(Dir::default())] }
    }
}

impl Tree {
    fn dir(&mut self, inode: Inode) -> io::Result<&mut Dir> {
        match self.nodes.get_mut(inode) {
            Some(Node::Dir(dir)) => Ok(dir),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn find(&mut self, path: &Path) -> io::Result<Inode> {
        let mut at = ROOT;
        for name in names(path) {
            at = *self.dir(at)?.cached.get(name).ok_or_else(missing)?;
        }
        Ok(at)
    }

    /// The directory that a path's last name is in, and the name.
    fn parent<'p>(&mut self, path: &'p Path) -> io::Result<(&mut Dir, &'p str)> {
        let name = names(path).last().ok_or_else(missing)?;
        let inode = self.find(path.parent().unwrap_or(Path::new("")))?;
        Ok((self.dir(inode)?, name))
    }

    fn put(&mut self, path: &Path, node: Node) -> io::Result<Inode> {
        let inode = self.nodes.len();
        let (dir, name) = self.parent(path)?;
        if dir.cached.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        dir.change(Change::Put(name.to_owned(), inode));
        self.nodes.push(node);
        Ok(inode)
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<Inode> {
        let file = Opened { is_open: true, ..Opened::default() };
        self.put(path, Node::File(file))
    }

    pub(super) fn open(&mut self, path: &Path) -> io::Result<Inode> {
        let inode = self.find(path)?;
        match &mut self.nodes[inode] {
            Node::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
            Node::File(file) if file.is_open => Err(io::ErrorKind::WouldBlock.into()),
            Node::File(file) => {
                file.is_open = true;
                Ok(inode)
            }
        }
    }

    pub(super) fn close(&mut self, inode: Inode) {
        if let Some(Node::File(file)) = self.nodes.get_mut(inode) {
            file.is_open = false;
        }
    }

    /// Whether all of these directories are there.
    pub(super) fn has_dir(&mut self, path: &Path) -> bool {
        self.find(path).and_then(|inode| self.dir(inode).map(drop)).is_ok()
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        for path in path.ancestors().collect::<Vec<_>>().into_iter().rev() {
            if !self.has_dir(path) {
                self.put(path, Node::Dir(Dir::default()))?;
            }
        }
        Ok(())
    }

    /// Names, and whether they are directories'.
    pub(super) fn list(&mut self, path: &Path) -> io::Result<Vec<(String, bool)>> {
        let inode = self.find(path)?;
        let names = self.dir(inode)?.cached.clone();
        let is_dir = |inode: Inode| matches!(self.nodes[inode], Node::Dir(_));
        Ok(names.into_iter().map(|(name, inode)| (name, is_dir(inode))).collect())
    }

    /// Within one directory: nobody here needs more.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if from.parent() != to.parent() {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        let new = names(to).last().ok_or_else(missing)?;
        let (dir, old) = self.parent(from)?;
        if !dir.cached.contains_key(old) {
            return Err(missing());
        }
        dir.change(Change::Rename(old.to_owned(), new.to_owned()));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        if !dir.cached.contains_key(name) {
            return Err(missing());
        }
        dir.change(Change::Remove(name.to_owned()));
        Ok(())
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.find(path)?;
        self.dir(inode)?.sync();
        Ok(())
    }

    pub(super) fn pages(&mut self, inode: Inode) -> io::Result<&mut Pages> {
        match self.nodes.get_mut(inode) {
            Some(Node::File(file)) => Ok(&mut file.pages),
            _ => Err(missing()),
        }
    }

    /// A file that has been there for long.
    pub(super) fn plant(&mut self, path: &Path, bytes: Vec<u8>) -> io::Result<()> {
        self.create_dir(path.parent().unwrap_or(Path::new("")))?;
        let file = Opened { pages: Pages::of(bytes), is_open: false };
        self.put(path, Node::File(file))?;
        self.parent(path)?.0.sync();
        Ok(())
    }

    /// All files by their names, in order.
    pub(super) fn files(&self) -> Vec<(String, Inode)> {
        let mut found = Vec::new();
        let mut todo = vec![(String::new(), ROOT)];
        while let Some((path, inode)) = todo.pop() {
            match &self.nodes[inode] {
                Node::File(_) => found.push((path, inode)),
                Node::Dir(dir) => todo.extend(dir.cached.iter().map(|(name, inode)| {
                    let slash = if path.is_empty() { "" } else { "/" };
                    (format!("{path}{slash}{name}"), *inode)
                })),
            }
        }
        found.sort();
        found
    }

    pub(super) fn close_all(&mut self) {
        (0..self.nodes.len()).for_each(|inode| self.close(inode));
    }

    pub(super) fn settle(&mut self) {
        for node in &mut self.nodes {
            match node {
                Node::Dir(dir) => dir.sync(),
                Node::File(file) => file.pages.settle(),
            }
        }
    }

    pub(super) fn lose_power(&mut self, random: &mut Rng) {
        for node in &mut self.nodes {
            match node {
                Node::Dir(dir) => dir.lose_power(random),
                Node::File(file) => file.pages.lose_power(random),
            }
        }
    }
}

/// The names that a path is made of. Where it begins does not matter: there is one tree.
fn names(path: &Path) -> impl Iterator<Item = &str> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::random;

    fn names_after(seed: u64, mut tree: Tree) -> Vec<String> {
        tree.lose_power(&mut random::stream(seed, "test"));
        tree.files().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_name_is_durable_once_its_directories_are_synced() {
        let mut tree = Tree::default();
        tree.create_dir(Path::new("a/b")).expect("there is nothing");
        tree.create(Path::new("a/b/c")).expect("there is nothing");
        tree.sync_dir(Path::new("a/b")).expect("it is there");
        let lost = |tree: &Tree| {
            (0..50).filter(|seed| names_after(*seed, tree.clone()).is_empty()).count()
        };
        assert!(lost(&tree) > 0, "those above may be lost");
        tree.sync_dir(Path::new("")).expect("it is there");
        tree.sync_dir(Path::new("a")).expect("it is there");
        assert_eq!(lost(&tree), 0);
    }

    #[test]
    fn a_rename_happens_or_not() {
        let mut tree = Tree::default();
        tree.plant(Path::new("old"), vec![1]).expect("there is nothing");
        tree.rename(Path::new("old"), Path::new("new")).expect("it is there");
        let ends: BTreeSet<_> = (0..50).map(|seed| names_after(seed, tree.clone())).collect();
        assert_eq!(ends, BTreeSet::from([vec!["new".to_owned()], vec!["old".to_owned()]]));
    }
}
