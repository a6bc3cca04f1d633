//! Another store in the place of the one there is: one that was made of what a leader sent, when the log says so.
//!
//!   store, store.<index>  ──▶  store.old, store.<index>  ──▶  store.old, store  ──▶  store
//!
//! What holds: the log's snapshot record is durable before the first step, so that whoever opens the member finds a store
//! beside the one that the log means, and finishes. A directory without a MANIFEST is no store. What lies there for
//! another record was left by a crash, and goes; the store that was moved away comes back if none has taken its place.

use std::path::{Path, PathBuf};

use ferrite_raft::Index;

use super::Store;
use super::error::StoreError;
use super::manifest::MANIFEST;
use crate::vfs::Vfs;

/// Where a store is made of what was received for a snapshot, beside the store of the member.
pub fn received_dir(store: &Path, index: Index) -> PathBuf {
    store.with_extension(format!("{:016x}", index.0))
}

fn old_dir(store: &Path) -> PathBuf {
    store.with_extension("old")
}

/// Whether anything lies beside a member's store that [`settle`] would have to look at.
pub fn is_unsettled<V: Vfs>(vfs: &V, store: &Path) -> Result<bool, StoreError> {
    let Some(parent) = parent_of(store) else { return Ok(false) };
    let is_left_over = |name: &String| is_left_over(store, &parent.join(name));
    Ok(vfs.exists(parent)? && vfs.read_dir(parent)?.iter().any(is_left_over))
}

fn parent_of(store: &Path) -> Option<&Path> {
    store.parent().filter(|_| store.file_name().is_some())
}

/// Before a member's store is opened: puts the one that was received for the log's last snapshot record in its place, if
/// that had not been done, and removes what else a crash has left. Says whether it did. No other process may run this
/// member, and the record must be durable.
pub fn settle<V: Vfs>(vfs: &V, store: &Path, record: Index) -> Result<bool, StoreError> {
    let Some(parent) = parent_of(store) else { return Ok(false) };
    // An earlier process may have ended between a change of names and its sync.
    vfs.sync_dir(parent)?;
    let received = received_dir(store, record);
    let is_due = vfs.exists(&received.join(MANIFEST))?;
    if is_due {
        replace(vfs, store, &received)?;
    }
    let old = old_dir(store);
    if !vfs.exists(&store.join(MANIFEST))? && vfs.exists(&old.join(MANIFEST))? {
        vfs.remove_dir_all(store)?;
        vfs.rename(&old, store)?;
        vfs.sync_dir(parent)?;
    }
    for name in vfs.read_dir(parent)? {
        let path = parent.join(&name);
        if is_left_over(store, &path) {
            discard(vfs, &path)?;
        }
    }
    Ok(is_due)
}

/// Whether it is a directory that receiving or replacing has made.
fn is_left_over(store: &Path, path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let is_received = extension.len() == 16 && u64::from_str_radix(extension, 16).is_ok();
    path.with_extension("") == store.with_extension("") && (extension == "old" || is_received)
}

/// Puts one directory in the place of another, which goes.
fn replace<V: Vfs>(vfs: &V, store: &Path, received: &Path) -> Result<(), StoreError> {
    let (old, parent) = (old_dir(store), store.parent().unwrap_or(Path::new("")));
    if !vfs.exists(&received.join(MANIFEST))? {
        return Err(StoreError::Missing { dir: received.to_path_buf() });
    }
    if vfs.exists(store)? {
        vfs.remove_dir_all(&old)?;
        vfs.rename(store, &old)?;
        // In this order on disk, too: what is there must always be one of the three that lead to the new store.
        vfs.sync_dir(parent)?;
    }
    vfs.rename(received, store)?;
    vfs.sync_dir(parent)?;
    Ok(vfs.remove_dir_all(&old)?)
}

/// Removes a store that is not wanted. A crash must not leave it without some of its files, and with its MANIFEST.
fn discard<V: Vfs>(vfs: &V, dir: &Path) -> Result<(), StoreError> {
    let manifest = dir.join(MANIFEST);
    if vfs.exists(&manifest)? {
        vfs.remove_file(&manifest)?;
        vfs.sync_dir(dir)?;
    }
    Ok(vfs.remove_dir_all(dir)?)
}

impl<V: Vfs> Store<V> {
    /// Puts this store, which was made beside another, in the place of that one. Who reads from the other may go on.
    pub fn take_the_place_of(&mut self, other: &mut Store<V>) -> Result<(), StoreError> {
        // Nothing may be written there any more, whatever comes of this.
        other.is_poisoned = true;
        // Whoever asks how large the store is, asks for this one from now on.
        let own = std::mem::replace(&mut self.shared.sizes, other.shared.sizes.clone());
        self.shared.sizes.follow(&own);
        self.show_sizes();
        let place = other.home.dir.clone();
        self.change(|store| {
            replace(&store.home.vfs, &place, &store.home.dir)?;
            store.home.dir = place;
            Ok(())
        })
    }

    /// Removes this store, which was made beside another and is not wanted.
    pub fn remove(self) -> Result<(), StoreError> {
        discard(&self.home.vfs, &self.home.dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::lying::{LyingDisk, Survival};
    use crate::vfs::{File, Mode};

    const RECORD: Index = Index(7);

    /// The power goes behind each step of putting a received store in the place of another. Returns what store there may be
    /// when the member has been opened again.
    fn stores_after_power_cuts(prepare: impl Fn(&LyingDisk)) -> Vec<Option<Vec<u8>>> {
        let (disk, store) = (LyingDisk::new(), Path::new("/member/store"));
        for (dir, content) in [(store.to_owned(), "old"), (received_dir(store, RECORD), "new")] {
            disk.create_dir_all(&dir).unwrap();
            let file = disk.open(&dir.join(MANIFEST), Mode::CreateNew).unwrap();
            file.write_at(content.as_bytes(), 0).unwrap();
            file.sync_data().unwrap();
            disk.sync_dir(&dir).unwrap();
        }
        disk.forget_history();
        prepare(&disk);
        assert!(settle(&disk, store, RECORD).unwrap());
        let (mut history, mut stores) = (disk.history(), Vec::new());
        loop {
            for seed in 0..50 {
                let after = history.crash(Survival::Seeded(seed));
                settle(&after, store, RECORD).unwrap();
                stores.push(after.read(&store.join(MANIFEST)).ok());
            }
            if history.step().is_none() {
                break;
            }
        }
        stores
    }

    fn make(disk: &LyingDisk, dir: &Path) {
        disk.create_dir_all(dir).unwrap();
        disk.open(&dir.join(MANIFEST), Mode::CreateNew).unwrap();
    }

    #[test]
    fn a_store_that_was_moved_away_for_nothing_comes_back() {
        let (disk, store) = (LyingDisk::new(), Path::new("/member/store"));
        make(&disk, &old_dir(store));
        assert!(is_unsettled(&disk, store).unwrap());
        assert!(!settle(&disk, store, RECORD).unwrap());
        assert!(disk.exists(&store.join(MANIFEST)).unwrap() && !disk.exists(&old_dir(store)).unwrap());
        assert!(!is_unsettled(&disk, store).unwrap());
    }

    #[test]
    fn a_store_is_not_moved_away_for_one_that_is_not_there() {
        let (disk, store) = (LyingDisk::new(), Path::new("/member/store"));
        make(&disk, store);
        let error = replace(&disk, store, &received_dir(store, RECORD)).unwrap_err();
        assert!(matches!(error, StoreError::Missing { .. }), "{error}");
        assert!(disk.exists(&store.join(MANIFEST)).unwrap());
    }

    #[test]
    fn wherever_the_power_goes_the_received_store_is_the_one() {
        let is_new = |store: &Option<Vec<u8>>| store.as_deref() == Some(b"new");
        assert!(stores_after_power_cuts(|_| ()).iter().all(is_new));
        let unsynced = stores_after_power_cuts(|disk| disk.ignore_name_syncs(Path::new("/member")));
        assert!(!unsynced.iter().all(is_new), "the syncs of the directory are needed");
    }
}
