//! What is shipped, and what a newcomer waits for.

use super::Sizes;
use crate::report::Figure;
use std::{process::Command, time::Instant};

pub fn shipped(_: &Sizes) -> Vec<Figure> {
    let program = crate::build("dist");
    let mib = std::fs::metadata(&program).map_or(0.0, |file| file.len() as f64 / 1_048_576.0);
    vec![Figure::new("size", "the release binary (profile dist, stripped)", "MiB", mib).below(30.0)]
}

/// A clean debug build and all tests, in a target folder of their own.
pub fn build(_: &Sizes) -> Vec<Figure> {
    let target = tempfile::tempdir_in(crate::folder()).expect("a folder");
    let begun = Instant::now();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let done = Command::new(cargo).arg("test").current_dir(crate::ROOT).env("CARGO_TARGET_DIR", target.path()).status();
    assert!(done.is_ok_and(|status| status.success()), "the tests fail");
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    vec![Figure::new("build", "clean debug build and all tests", "min", minutes).below(25.0)]
}
