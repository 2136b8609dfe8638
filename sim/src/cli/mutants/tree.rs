//! The scratch copy of the workspace in which mutants are built.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use forebay_sim::mutant::Mutant;

/// The copy, and what is built of it.
pub(super) struct Tree {
    /// The workspace itself.
    workspace: PathBuf,
    /// Where everything about mutants goes.
    folder: PathBuf,
}

/// What came of a build.
pub(super) enum Built {
    /// The mutated simulator.
    Binary(PathBuf),
    /// What the compiler said.
    DoesNotCompile(String),
}

impl Tree {
    /// The one of the workspace that this was built from.
    pub(super) fn new() -> anyhow::Result<Self> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let workspace = workspace.canonicalize().context("the workspace is gone")?;
        let folder = workspace.join("target/mutants");
        Ok(Self { workspace, folder })
    }

    /// Where the patches are.
    pub(super) fn patches(&self) -> PathBuf {
        self.workspace.join("sim/mutants")
    }

    /// Where small plans are kept.
    pub(super) fn plan(&self, mutant: &Mutant) -> PathBuf {
        self.folder.join("plans").join(format!("{}.plan", mutant.name))
    }

    /// Where a mutated simulator is kept.
    pub(super) fn binary(&self, mutant: &Mutant) -> PathBuf {
        self.folder.join("bin").join(&mutant.name)
    }

    fn copy(&self) -> PathBuf {
        self.folder.join("tree")
    }

    fn patch(&self, mutant: &Mutant) -> PathBuf {
        self.patches().join(format!("{}.patch", mutant.name))
    }

    /// Makes the copy, or brings the one that is there up to date: what differs is copied, for
    /// cargo builds again whatever was written, and what is gone is removed.
    pub(super) fn update(&self) -> anyhow::Result<()> {
        let copy = self.copy();
        fs::create_dir_all(&copy)?;
        let wanted = self.files()?;
        for file in &wanted {
            let (from, to) = (self.workspace.join(file), copy.join(file));
            let content = fs::read(&from).with_context(|| from.display().to_string())?;
            if fs::read(&to).ok().as_ref() != Some(&content) {
                fs::create_dir_all(to.parent().unwrap_or(&copy))?;
                fs::write(&to, content)?;
            }
        }
        let mut there = Vec::new();
        walk(&copy, Path::new(""), &mut there)?;
        // Cargo writes the lock file if the workspace has none.
        let is_gone = |file: &&PathBuf| !wanted.contains(*file) && !file.ends_with("Cargo.lock");
        for file in there.iter().filter(is_gone) {
            fs::remove_file(copy.join(file))?;
        }
        Ok(())
    }

    /// The workspace's files: those that git knows of, or all if there is no git. Cargo finds
    /// `.cargo` in the folders above; a second one would give its flags twice, and so other
    /// binaries than the workspace's.
    fn files(&self) -> anyhow::Result<BTreeSet<PathBuf>> {
        let mut list = Command::new("git");
        list.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let listed = list.current_dir(&self.workspace).stderr(Stdio::null()).output();
        let mut files = match listed {
            Ok(output) if output.status.success() => {
                let names = String::from_utf8(output.stdout)?;
                names.split_terminator('\0').map(PathBuf::from).collect()
            }
            _ => {
                let mut files = Vec::new();
                walk(&self.workspace, Path::new(""), &mut files)?;
                files
            }
        };
        files.retain(|file| !file.starts_with(".cargo") && self.workspace.join(file).is_file());
        Ok(files.into_iter().collect())
    }

    /// Whether a patch applies.
    pub(super) fn check(&self, mutant: &Mutant) -> anyhow::Result<()> {
        self.apply(mutant, &["apply", "--check"], &["-p1", "--dry-run"])
    }

    fn apply(&self, mutant: &Mutant, git: &[&str], patch: &[&str]) -> anyhow::Result<()> {
        let file = self.patch(mutant);
        let run = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(program);
            // The copy is in a work tree of git, but it is none: paths are the copy's.
            command.env("GIT_CEILING_DIRECTORIES", &self.folder);
            command.args(arguments).stdin(fs::File::open(&file)?);
            command.current_dir(self.copy()).output()
        };
        let output = run("git", git).or_else(|_| run("patch", patch));
        let output = output.context("neither `git` nor `patch` can be run")?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr);
            bail!("{}: the patch does not apply\n{}", mutant.name, why.trim_end());
        }
        Ok(())
    }

    /// Builds the simulator with a mutant's core. The copy is as before afterwards.
    pub(super) fn build(&self, mutant: &Mutant) -> anyhow::Result<Built> {
        let paths: Vec<_> = mutant.files.iter().map(|file| self.copy().join(file)).collect();
        let before = paths.iter().map(|path| (path, fs::read(path).ok())).collect::<Vec<_>>();
        let built = self.apply(mutant, &["apply"], &["-p1"]).and_then(|()| self.compile(mutant));
        for (path, content) in before {
            match content {
                Some(content) => fs::write(path, content)?,
                None => drop(fs::remove_file(path)),
            }
        }
        built
    }

    fn compile(&self, mutant: &Mutant) -> anyhow::Result<Built> {
        let target = self.folder.join("target");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--profile", "sim", "--package", "forebay-sim"]);
        build.current_dir(self.copy()).env("CARGO_TARGET_DIR", &target);
        let output = build.output().context("cargo cannot be run")?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
            return Ok(Built::DoesNotCompile(why));
        }
        // The next build takes its place.
        let kept = self.binary(mutant);
        fs::create_dir_all(self.folder.join("bin"))?;
        let name = format!("forebay-sim{}", std::env::consts::EXE_SUFFIX);
        fs::copy(target.join("sim").join(name), &kept)?;
        Ok(Built::Binary(kept))
    }
}

/// All files below a folder, but for what is built and what is git's.
fn walk(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        let is_ours = !["target", ".git"].iter().any(|name| entry.file_name() == *name);
        match entry.file_type()?.is_dir() {
            true if is_ours => walk(root, &path, files)?,
            false if is_ours => files.push(path),
            _ => {}
        }
    }
    Ok(())
}
