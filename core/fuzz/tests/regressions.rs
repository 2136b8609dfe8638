//! What the fuzzer ever found, tried again.

use std::fs;
use std::path::Path;

use forebay_fuzz::{TARGETS, within_memory};

#[test]
fn every_input_that_was_ever_a_find_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/fuzz");
    for (name, check) in TARGETS {
        let Ok(files) = fs::read_dir(folder.join(name)) else { continue };
        for file in files {
            let path = file.unwrap().path();
            // Named before it is tried, for whoever reads a panic.
            println!("{}", path.display());
            within_memory(check, &fs::read(path).unwrap());
        }
    }
}

#[test]
fn short_inputs_of_every_kind_pass() {
    for (_, check) in TARGETS {
        within_memory(check, &[]);
        for cuts in [0, 1, 2, 255] {
            for byte in 0..=255 {
                within_memory(check, &[cuts, byte]);
                within_memory(check, &[&[cuts][..], &[byte; 40]].concat());
            }
        }
    }
}
