//! What the disk under a folder does by itself, to compare with what servers make of it.

use crate::command::Failure;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PIECE_BYTES: usize = 1 << 20;
const BLOCK_BYTES: usize = 4 << 10;
const SYNCS: usize = 300;

/// A file that goes with this.
struct Scratch {
    path: PathBuf,
    file: File,
}

impl Scratch {
    fn create(folder: &Path) -> Result<Scratch, Failure> {
        let path = folder.join("scratch");
        Ok(Scratch { file: File::create(&path)?, path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is in a folder that is emptied before the next run.
        drop(fs::remove_file(&self.path));
    }
}

/// Bytes a second of one file that is written from its beginning to its end, and synced.
pub fn write_rate(folder: &Path, bytes: u64) -> Result<f64, Failure> {
    let mut scratch = Scratch::create(folder)?;
    let piece = vec![0x5a; PIECE_BYTES];
    let pieces = bytes.div_ceil(PIECE_BYTES as u64).max(1);
    let begun = Instant::now();
    for _ in 0..pieces {
        scratch.file.write_all(&piece)?;
    }
    scratch.file.sync_data()?;
    Ok((pieces * PIECE_BYTES as u64) as f64 / begun.elapsed().as_secs_f64())
}

/// How long a sync takes of a block that was written into space that is there: the median.
pub fn sync_time(folder: &Path) -> Result<Duration, Failure> {
    let mut scratch = Scratch::create(folder)?;
    scratch.file.write_all(&vec![0; SYNCS * BLOCK_BYTES])?;
    scratch.file.sync_all()?;
    let mut times = Vec::with_capacity(SYNCS);
    for number in 0..SYNCS {
        let begun = Instant::now();
        scratch.file.write_all_at(&[0x5a; BLOCK_BYTES], (number * BLOCK_BYTES) as u64)?;
        scratch.file.sync_data()?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times[SYNCS / 2])
}
