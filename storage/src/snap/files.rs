//! The directory of `.snap` files.

use std::fmt;
use std::path::{Path, PathBuf};

use ferrite_raft::{Index, Snapshot, SnapshotMeta, Term};

use super::format;
use crate::vfs::{self, File, Mode, Vfs};

/// What can go wrong with a snapshot's file.
#[derive(Debug, thiserror::Error)]
pub enum SnapError {
    #[error(transparent)]
    Io(#[from] vfs::Error),
    #[error("{} cannot be used as a snapshot: {what}", file.display())]
    Broken { file: PathBuf, what: &'static str },
}

/// The name of a snapshot's file: term, then index, in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapName {
    pub term: Term,
    pub index: Index,
}

impl SnapName {
    fn parse(name: &str) -> Option<SnapName> {
        let (term, index) = name.strip_suffix(".snap")?.split_once('-')?;
        let number = |digits: &str| {
            let valid = digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            valid.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        Some(SnapName { term: Term(number(term)?), index: Index(number(index)?) })
    }
}

impl From<&SnapshotMeta> for SnapName {
    fn from(meta: &SnapshotMeta) -> SnapName {
        SnapName { term: meta.term, index: meta.index }
    }
}

impl fmt::Display for SnapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}.snap", self.term.0, self.index.0)
    }
}

/// What was found when a snapshot was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub snapshot: Option<Snapshot>,
    pub warnings: Vec<String>,
}

/// The snapshot files of one member.
#[derive(Clone, Debug)]
pub struct SnapshotFiles<V: Vfs> {
    vfs: V,
    dir: PathBuf,
}

impl<V: Vfs> SnapshotFiles<V> {
    /// The files in `dir`, which is made if it is not there.
    pub fn open(vfs: V, dir: &Path) -> Result<SnapshotFiles<V>, SnapError> {
        vfs.create_dir_all(dir)?;
        let files = SnapshotFiles { vfs, dir: dir.to_path_buf() };
        // What a crash has left half done, by the names that we and etcd give such files.
        for name in files.vfs.read_dir(dir)? {
            if name.starts_with("tmp") || name.starts_with("db.tmp") {
                files.vfs.remove_file(&dir.join(name))?;
            }
        }
        Ok(files)
    }

    /// Writes a snapshot. When this returns its file is there after any crash; the log's record comes after that.
    pub fn save(&self, snapshot: &Snapshot) -> Result<(), SnapError> {
        let name = SnapName::from(&snapshot.meta).to_string();
        let (temporary, path) = (self.dir.join(format!("tmp-{name}")), self.dir.join(name));
        let write = || {
            let file = self.vfs.open(&temporary, Mode::Create)?;
            file.set_len(0)?;
            file.write_at(&format::encode(snapshot), 0)?;
            file.sync_data()
        };
        if let Err(error) = write() {
            // Half a file takes space that may be what is missing. That it could not be written is what counts.
            let _ = self.vfs.remove_file(&temporary);
            return Err(error.into());
        }
        self.vfs.rename(&temporary, &path)?;
        self.vfs.sync_dir(&self.dir)?;
        Ok(())
    }

    /// The names of all snapshots, the newest first.
    pub fn names(&self) -> Result<Vec<SnapName>, SnapError> {
        let mut names: Vec<_> = self.vfs.read_dir(&self.dir)?.iter().filter_map(|name| SnapName::parse(name)).collect();
        names.sort_unstable_by(|one, other| other.cmp(one));
        Ok(names)
    }

    pub fn load(&self, name: SnapName) -> Result<Snapshot, SnapError> {
        let file = self.dir.join(name.to_string());
        let snapshot = format::decode(self.vfs.read(&file)?);
        match snapshot {
            Ok(snapshot) if SnapName::from(&snapshot.meta) == name => Ok(snapshot),
            Ok(_) => Err(SnapError::Broken { file, what: "it is another snapshot than its name says" }),
            Err(what) => Err(SnapError::Broken { file, what }),
        }
    }

    /// The newest snapshot that is among `valid` (those the log has a record of) and can be read. Those newer ones that
    /// cannot be read are set aside as `.broken`.
    pub fn newest_of(&self, valid: &[SnapshotMeta]) -> Result<Loaded, SnapError> {
        let mut loaded = Loaded { snapshot: None, warnings: Vec::new() };
        for name in self.names()? {
            match self.load(name) {
                Ok(snapshot) if valid.iter().any(|meta| SnapName::from(meta) == name) => {
                    loaded.snapshot = Some(snapshot);
                    break;
                }
                Ok(_) => {}
                Err(SnapError::Broken { file, what }) => {
                    let aside = file.with_extension("snap.broken");
                    self.vfs.rename(&file, &aside)?;
                    loaded.warnings.push(format!(
                        "{} is broken ({what}): renamed to {}",
                        file.display(),
                        aside.display()
                    ));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(loaded)
    }

    /// Removes the oldest snapshots until at most `keep` are left. Answers how many went.
    pub fn purge(&self, keep: usize) -> Result<usize, SnapError> {
        let names = self.names()?;
        let oldest = names.get(keep..).unwrap_or_default();
        for name in oldest.iter().rev() {
            self.vfs.remove_file(&self.dir.join(name.to_string()))?;
        }
        Ok(oldest.len())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use ferrite_raft::ConfState;

    use super::*;
    use crate::vfs::lying::{LyingDisk, Survival};

    fn snapshot(term: u64, index: u64) -> Snapshot {
        let meta = SnapshotMeta { index: Index(index), term: Term(term), conf: ConfState::default() };
        Snapshot { meta, data: Bytes::from(format!("{term}/{index}")) }
    }

    fn dir() -> &'static Path {
        Path::new("/snap")
    }

    fn files(disk: &LyingDisk) -> SnapshotFiles<LyingDisk> {
        SnapshotFiles::open(disk.clone(), dir()).unwrap()
    }

    #[test]
    fn the_newest_readable_one_with_a_record_is_loaded() {
        let disk = LyingDisk::new();
        let files = files(&disk);
        let all = [(1, 5), (1, 16), (2, 10), (3, 30), (4, 40)].map(|(term, index)| snapshot(term, index));
        for snapshot in &all {
            files.save(snapshot).unwrap();
        }
        disk.flip(&dir().join("0000000000000003-000000000000001e.snap"), 9, 3);
        let valid: Vec<_> = all[..4].iter().map(|snapshot| snapshot.meta.clone()).collect();
        let loaded = files.newest_of(&valid).unwrap();
        assert_eq!(loaded.snapshot, Some(all[2].clone()));
        assert_eq!(loaded.warnings.len(), 1);
        assert!(disk.exists(&dir().join("0000000000000003-000000000000001e.snap.broken")).unwrap());
        assert_eq!(files.newest_of(&[]).unwrap().snapshot, None);
    }

    #[test]
    fn the_oldest_go_and_half_done_files_too() {
        let disk = LyingDisk::new();
        let files = files(&disk);
        for (term, index) in [(1, 5), (1, 16), (2, 10)] {
            files.save(&snapshot(term, index)).unwrap();
        }
        for name in ["tmp123", "tmp-000000000000000a.snap.db", "db.tmp.7", "db"] {
            disk.open(&dir().join(name), Mode::Create).unwrap();
        }
        assert_eq!(files.purge(2).unwrap(), 1);
        assert_eq!(files.purge(2).unwrap(), 0);
        super::SnapshotFiles::open(disk.clone(), dir()).unwrap();
        let expected = ["0000000000000001-0000000000000010.snap", "0000000000000002-000000000000000a.snap", "db"];
        assert_eq!(disk.read_dir(dir()).unwrap(), expected);
    }

    #[test]
    fn a_snapshot_is_there_as_a_whole_or_not_at_all() {
        let disk = LyingDisk::new();
        let files = files(&disk);
        disk.sync_dir(Path::new("/")).unwrap();
        files.save(&snapshot(1, 1)).unwrap();
        let first_saved = disk.operations();
        files.save(&snapshot(1, 2)).unwrap();
        let mut history = disk.history();
        while history.step().is_some() {
            for seed in 0..20 {
                let after = history.crash(Survival::Seeded(seed));
                let files = super::SnapshotFiles::open(after, dir()).unwrap();
                let names = files.names().unwrap();
                assert!(
                    history.position() < first_saved || names.contains(&SnapName { term: Term(1), index: Index(1) })
                );
                assert!(history.position() < disk.operations() || names.len() == 2);
                for name in names {
                    files.load(name).unwrap();
                }
            }
        }
    }

    #[test]
    fn a_full_disk_leaves_nothing_behind() {
        let disk = LyingDisk::new();
        let files = files(&disk);
        disk.set_capacity(10);
        let error = files.save(&snapshot(1, 1)).unwrap_err();
        assert!(matches!(error, SnapError::Io(error) if error.is_full()));
        assert!(disk.read_dir(dir()).unwrap().is_empty());
    }
}
