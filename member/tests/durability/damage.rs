//! One thing damaged in the files of a member that has stopped: it is refused with file and remedy, or no harm was done.

use std::path::{Path, PathBuf};

use ferrite_raft::Index;
use ferrite_storage::vfs::lying::{Dice, LyingDisk};
use ferrite_storage::vfs::{File, Mode, Vfs};

use crate::harness::{Life, Past, Stopped, open_parts};

/// The files of a member that has stopped.
struct Remains {
    disk: LyingDisk,
    past: Past,
    /// Behind this a damaged log may end, if it says so.
    certain: Index,
    /// The last entry that the store has. A log whose end is gone without a trace may end behind this.
    stored: Index,
}

/// What harm leaves of the end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trace {
    /// Something is there, and not what belongs there.
    Left,
    /// The markers are gone with what they vouch for.
    None,
}

/// How it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Killed,
}

fn stopped(end: End, seed: u64) -> Remains {
    let mut dice = Dice::new(seed);
    let disk = LyingDisk::new();
    let mut life = Life::open(&disk, Past::default(), Index(0)).unwrap();
    life.work(&mut dice, 60).unwrap();
    let certain = match end {
        End::Closed => {
            life.close(&mut dice).unwrap();
            life.past.last()
        }
        End::Killed => life.marked,
    };
    let past = life.past.clone();
    drop(life);
    let disk = disk.copy();
    let stored = open_parts(&disk.copy()).unwrap().applied.0;
    Remains { disk, past, certain, stored }
}

fn files(disk: &LyingDisk) -> Vec<(PathBuf, u64)> {
    let mut files = Vec::new();
    for dir in ["wal", "snap", "store"] {
        let dir = Path::new("/data/member").join(dir);
        for name in disk.read_dir(&dir).unwrap().into_iter().filter(|name| name != "LOCK") {
            let path = dir.join(name);
            let length = disk.read(&path).unwrap().len() as u64;
            files.push((path, length));
        }
    }
    files
}

/// What is done to a file at a place.
type Harm<'a> = &'a mut dyn FnMut(&LyingDisk, &Path, u64, u64);

/// Does harm at each place in turn.
fn each(step: u64, trace: Trace, harm: Harm<'_>) {
    let (mut done, mut refused, mut shorter) = (0, 0, 0);
    let mut dice = Dice::new(step);
    for (end, seed) in [(End::Closed, 1), (End::Killed, 2), (End::Killed, 3)] {
        let remains = stopped(end, seed);
        // Unharmed, it is all there.
        assert_eq!(open(&remains, &remains.disk.copy(), Trace::Left, &mut dice), Ok(0));
        for (path, length) in files(&remains.disk) {
            for place in (dice.below(step)..length).step_by(step as usize) {
                let disk = remains.disk.copy();
                harm(&disk, &path, place, length);
                let context = format!("{end:?}: {} at {place} of {length}", path.display());
                let _context = Context(&context);
                done += 1;
                match open(&remains, &disk, trace, &mut dice) {
                    Ok(0) => {}
                    Ok(lost) => {
                        assert!(end == End::Killed, "{lost} entries are lost");
                        shorter += 1;
                    }
                    Err(error) => {
                        refused += 1;
                        assert!(error.contains("/data/member/") && !error.contains('\n'), "{error}");
                    }
                }
            }
        }
    }
    eprintln!("{done} places: {refused} refused, {shorter} shorter");
    assert!(done > 500 && refused > done / 10, "{refused} of {done} refused");
}

/// Opens the member and looks at all of it. Returns how many entries are lost, or why it is refused.
fn open(remains: &Remains, disk: &LyingDisk, trace: Trace, dice: &mut Dice) -> Result<u64, String> {
    let promised = if trace == Trace::Left { remains.certain } else { remains.certain.min(remains.stored) };
    let mut life = match Life::open(disk, remains.past.clone(), promised) {
        Ok(life) => life,
        Err(Stopped::Start(error)) => return Err(error.to_string()),
        Err(other) => panic!("{other}"),
    };
    let lost = remains.past.last().0 - life.past.last().0;
    assert!(lost == 0 || trace == Trace::None || !life.warnings.is_empty(), "{lost} entries are lost without a word");
    life.settle(dice).unwrap_or_else(|stopped| panic!("{stopped}"));
    life.check(dice);
    Ok(lost)
}

/// Says where it happened when a check fails.
struct Context<'a>(&'a str);

impl Drop for Context<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

#[test]
fn a_flipped_bit() {
    let mut dice = Dice::new(1);
    each(37, Trace::Left, &mut |disk, path, place, _| disk.flip(path, place, dice.below(8) as u8));
}

#[test]
fn a_tail_cut_off() {
    each(83, Trace::None, &mut |disk, path, place, _| {
        disk.open(path, Mode::ReadWrite).unwrap().set_len(place).unwrap()
    });
}

#[test]
fn a_tail_of_zeros() {
    each(79, Trace::None, &mut |disk, path, place, length| {
        let zeros = vec![0; (length - place) as usize];
        disk.open(path, Mode::ReadWrite).unwrap().write_at(&zeros, place).unwrap();
    });
}
