//! The mistakes that are planted to see whether they are seen.

use std::path::Path;
use std::process::Command;

/// `cargo sim mutants` takes half an hour; that it can begin is seen in a moment.
#[test]
fn every_mutant_applies_to_the_core_as_it_is() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let patches = workspace.join("sim/mutants").read_dir().expect("the mutants");
    let mut paths: Vec<_> = patches.map(|file| file.expect("a file").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
    assert!(paths.len() >= 20, "{} mutants", paths.len());
    for path in paths {
        let mut command = Command::new("git");
        command.args(["apply", "--check"]).arg(&path).current_dir(&workspace);
        let checked = command.output().expect("git runs");
        let why = String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "{}: {why}", path.display());
    }
}
