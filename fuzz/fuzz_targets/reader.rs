//! Any bytes as a capture file.

#![no_main]

use restage::fuzzing;

use std::path::PathBuf;
use std::sync::LazyLock;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("restage-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder in the temporary folder");
    folder
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzing::reader(&FOLDER, bytes));
