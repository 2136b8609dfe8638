//! Instructions, counted by valgrind's callgrind: the same number however busy the machine is.
//!
//! A program that counts runs itself under callgrind, with arguments that make it a subject. The
//! subject prepares what it needs, and what it does inside [`counted`] is counted.
//!
//! Not gungraun: its runner is a second program of 172 crates, to be installed in the version of
//! the library; that took 5.6 minutes of CPU time, all counts together take 20 s of it. And its figures are
//! totals, where budgets want them per tag and per delivery.

use std::process::Command;

use anyhow::{Context as _, bail, ensure};

/// All functions that copy or clear memory in glibc are chosen by what the CPU can do. Without its
/// newer instructions they are the same everywhere, and so are the counts.
const PLAIN_CPU: &str =
    "glibc.cpu.hwcaps=-AVX_Fast_Unaligned_Load,-AVX2,-AVX512F,-AVX512VL,-ERMS,-FSRM";

/// Does the part of a subject that is counted. May be called often; the counts add up.
pub fn counted<T>(work: impl FnOnce() -> T) -> T {
    let (mut work, mut result) = (Some(work), None);
    counted_section(&mut || result = work.take().map(|work| work()));
    result.expect("the section calls what it is given")
}

/// What callgrind looks for by its name.
#[inline(never)]
fn counted_section(work: &mut dyn FnMut()) {
    work();
}

/// What a subject counted, and what it printed on standard output.
pub struct Count {
    /// Instructions inside [`counted`].
    pub instructions: u64,
    /// Standard output.
    pub output: String,
}

/// Whether valgrind is there; if not, why.
pub fn available() -> Result<(), String> {
    let version = Command::new("valgrind").arg("--version").output();
    match version {
        Ok(version) if version.status.success() => Ok(()),
        Ok(version) => Err(format!("valgrind --version ended with {}", version.status)),
        Err(error) => {
            Err(format!("valgrind cannot be run ({error}); it is a package of that name"))
        }
    }
}

/// Runs this program with `args` under callgrind.
pub fn count(args: &[&str]) -> anyhow::Result<Count> {
    let program = std::env::current_exe()?;
    let out = std::env::temp_dir().join(format!("forebay-callgrind-{}", std::process::id()));
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--toggle-collect=*counted_section*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args(args)
        .env("GLIBC_TUNABLES", PLAIN_CPU)
        .output()
        .context("cannot run valgrind")?;
    let errors = String::from_utf8_lossy(&run.stderr);
    ensure!(
        run.status.success(),
        "under callgrind `{}` ended with {}: {errors}",
        args.join(" "),
        run.status
    );
    let profile = std::fs::read_to_string(&out).context("callgrind wrote no profile")?;
    std::fs::remove_file(&out)?;
    let total = profile.lines().find_map(|line| line.strip_prefix("totals: "));
    let Some(instructions) = total.and_then(|total| total.trim().parse().ok()) else {
        bail!("callgrind's profile has no total");
    };
    ensure!(instructions > 0, "`{}` counted nothing", args.join(" "));
    Ok(Count { instructions, output: String::from_utf8_lossy(&run.stdout).into_owned() })
}
