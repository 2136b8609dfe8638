//! `testdata`: every recording is the one that was measured, and its origin is written down.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::report::{Report, Verdict};
use crate::workspace;

/// Recordings only grow, and every clone pays for them.
const TOTAL_LEN_MAX: u64 = 26_000_000;

/// What `testdata/manifest.json` says about one file; it says more.
#[derive(Deserialize)]
struct Entry {
    file: String,
    bytes: u64,
    sha256: String,
}

/// Checks `testdata/flv` and `testdata/rtmp` against the manifest and the README.
pub(crate) fn run(root: &Path, report: &mut Report) -> Result<Verdict> {
    let folder = root.join("testdata");
    let manifest = fs::read_to_string(folder.join("manifest.json")).context("manifest.json")?;
    let readme = fs::read_to_string(folder.join("README.md")).context("testdata/README.md")?;
    let mut found = BTreeMap::new();
    for kind in ["flv", "rtmp"] {
        for path in workspace::files(&folder.join(kind))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found.insert(name, (format!("{kind}/"), fs::read(&path)?));
        }
    }
    let total: u64 = found.values().map(|(_, bytes)| bytes.len() as u64).sum();
    report.summary(format!("{} recordings, {:.1} MB", found.len(), total as f64 / 1e6));
    Ok(Verdict::from_problems(check(&manifest, &readme, &found, total)?, report))
}

fn check(
    manifest: &str,
    readme: &str,
    found: &BTreeMap<String, (String, Vec<u8>)>,
    total: u64,
) -> Result<Vec<String>> {
    let entries: Vec<Entry> = serde_json::from_str(manifest).context("manifest.json")?;
    let entries: BTreeMap<_, _> = entries.iter().map(|entry| (&entry.file, entry)).collect();
    let mut problems = Vec::new();
    for (name, (folder, bytes)) in found {
        let sum: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        match entries.get(name) {
            None => problems.push(format!("{folder}{name} is not in testdata/manifest.json")),
            Some(entry) if entry.bytes != bytes.len() as u64 || entry.sha256 != sum => {
                problems.push(format!("{folder}{name} is not the file of testdata/manifest.json"));
            }
            Some(_) => {}
        }
        if !readme.contains(&format!("`{folder}{name}`")) || !readme.contains(&sum) {
            problems.push(format!("testdata/README.md does not say how {folder}{name} was made"));
        }
    }
    let gone = entries.keys().filter(|name| !found.contains_key(**name));
    problems.extend(gone.map(|name| format!("{name} of testdata/manifest.json is not there")));
    if total > TOTAL_LEN_MAX {
        problems.push(format!("recordings have {total} bytes, over the limit of {TOTAL_LEN_MAX}"));
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use super::*;

    // SHA-256 of "abc" (FIPS 180-2, B.1).
    const SUM: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn problems(bytes: &[u8], readme: &str) -> Vec<String> {
        let manifest = format!("[{{\"file\":\"a.flv\",\"bytes\":3,\"sha256\":\"{SUM}\",\"x\":1}}]");
        let found = BTreeMap::from([("a.flv".to_owned(), ("flv/".to_owned(), bytes.to_vec()))]);
        check(&manifest, readme, &found, 3).unwrap()
    }

    #[test]
    fn a_recording_with_an_origin_passes() {
        assert_eq!(problems(b"abc", &format!("`flv/a.flv` {SUM}")), Vec::<String>::new());
    }

    #[test]
    fn a_changed_recording_is_found() {
        assert!(problems(b"abd", &format!("`flv/a.flv` {SUM}"))[0].contains("not the file"));
    }

    #[test]
    fn a_recording_without_an_origin_is_found() {
        assert!(problems(b"abc", "nothing here")[0].contains("does not say how"));
    }

    #[test]
    fn files_and_manifest_must_match_both_ways() {
        let found = BTreeMap::from([("b.flv".to_owned(), ("flv/".to_owned(), b"abc".to_vec()))]);
        let manifest = format!("[{{\"file\":\"a.flv\",\"bytes\":3,\"sha256\":\"{SUM}\"}}]");
        let found = check(&manifest, &format!("`flv/b.flv` {SUM}"), &found, 3).unwrap();
        assert_eq!(
            found,
            [
                "flv/b.flv is not in testdata/manifest.json",
                "a.flv of testdata/manifest.json is not there"
            ]
        );
    }

    #[test]
    fn the_total_is_bounded() {
        let found = check("[]", "", &BTreeMap::new(), TOTAL_LEN_MAX + 1).unwrap();
        assert!(found[0].contains("over the limit"));
    }
}
