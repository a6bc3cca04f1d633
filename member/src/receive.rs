//! A snapshot that arrives: a whole database, made into a store and a state beside those that run.
//!
//!   pieces ──in order────────────┬─▶ store.<index>, synced ──▶ state ──▶ Prepared, for the member
//!      └──others──▶ snap/tmp-… ──┘            └──▶ Place ──▶ the store keeper
//!
//! Members of Ferrite write the pages of a database in order, so that it becomes a store while it arrives. etcd's first have
//! to be in a file. That is not synced, nor written out early: it is read once, at once, and goes. What the kernel has not written out
//! by then (Linux begins after half a minute, or when a tenth of the memory waits for it) never reaches the disk, and then
//! takes nothing of it when it goes, either: to free a gigabyte delays what others sync by tens of milliseconds.
//!
//! What holds: one at a time, and the next can come whatever became of this one: what is ready but never reached the
//! member, because its sender's connection broke, goes with whoever drops it. Nothing of what runs is touched, and what a
//! crash leaves is removed when the member starts, unless the log has a record of the snapshot: then it is the store from
//! there on. Whatever is wrong with what arrives is the sender's to be told.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use ferrite_raft::{Index, SnapshotMeta, Term};
use ferrite_state::{LoadError, Settings, State};
use ferrite_storage::store::{self, Identity, Import, ImportError, Imported, Store, StoreError, received_dir};
use ferrite_storage::vfs::{self, File, Mode, Vfs};
use ferrite_storage::{Revision, WindowWriter};
use parking_lot::Mutex;

use crate::bootstrap::{Directories, Ids};

/// The state that a snapshot holds, ready to go on with.
#[derive(Debug)]
pub struct Prepared {
    /// The last entry that is in it, and its term.
    pub index: Index,
    pub term: Term,
    pub state: State,
    /// Where what is applied behind it goes.
    pub window: WindowWriter,
    /// What loading the state left for the store to forget.
    pub dead: Vec<Revision>,
    /// Its store.
    ready: Box<dyn HandOver>,
}

impl Prepared {
    /// The member has it: from now on the store keeper must be told to go over to its store, or to discard it.
    pub(crate) fn hand_over(&mut self) {
        self.ready.hand_over();
    }
}

/// What does not depend on the kind of files that a store is made of.
trait HandOver: Debug + Send {
    fn hand_over(&mut self);
}

/// A store that is ready, and not in its place yet. Dropped, it is removed, and the place is free.
#[derive(Debug)]
struct Ready<V: Vfs> {
    place: Place<V>,
    store: Option<Box<Store<V>>>,
}

impl<V: Vfs> HandOver for Ready<V> {
    fn hand_over(&mut self) {
        if let Some(store) = self.store.take() {
            *self.place.0.lock() = Held::Ready(store);
        }
    }
}

impl<V: Vfs> Drop for Ready<V> {
    fn drop(&mut self) {
        if let Some(store) = self.store.take() {
            // If it cannot be removed, the next start does it.
            let _ = store.remove();
            self.place.give_up();
        }
    }
}

/// Why a snapshot cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    #[error("another snapshot is being received")]
    Busy,
    #[error(
        "the database is whole up to entry {found} of term {found_term}, and the snapshot stands at {expected} of term \
         {expected_term}"
    )]
    OtherEntry { found: Index, found_term: Term, expected: Index, expected_term: Term },
    #[error(transparent)]
    Io(#[from] vfs::Error),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    State(#[from] LoadError),
}

/// The place of the store that is to follow on the one that runs: there is one.
#[derive(Debug)]
pub struct Place<V: Vfs>(Arc<Mutex<Held<V>>>);

#[derive(Debug)]
enum Held<V: Vfs> {
    Nothing,
    /// Somebody is at work.
    Arriving,
    Ready(Box<Store<V>>),
}

impl<V: Vfs> Clone for Place<V> {
    fn clone(&self) -> Self {
        Place(self.0.clone())
    }
}

impl<V: Vfs> Default for Place<V> {
    fn default() -> Self {
        Place(Arc::new(Mutex::new(Held::Nothing)))
    }
}

impl<V: Vfs> Place<V> {
    /// Takes the store that is ready, if one is. The place is free when whoever took it gives it up: until then the next
    /// snapshot might be written where this one lies.
    pub(crate) fn take(&self) -> Option<Box<Store<V>>> {
        let mut held = self.0.lock();
        match std::mem::replace(&mut *held, Held::Arriving) {
            Held::Ready(store) => Some(store),
            other => {
                *held = other;
                None
            }
        }
    }

    fn reserve(&self) -> Result<(), ReceiveError> {
        let mut held = self.0.lock();
        match *held {
            Held::Nothing => *held = Held::Arriving,
            Held::Arriving | Held::Ready(_) => return Err(ReceiveError::Busy),
        }
        Ok(())
    }

    /// Nothing came of it, or it is where it belongs.
    pub(crate) fn give_up(&self) {
        let mut held = self.0.lock();
        if matches!(*held, Held::Arriving) {
            *held = Held::Nothing;
        }
    }
}

/// Where snapshots arrive.
#[derive(Clone, Debug)]
pub struct Receiver<V: Vfs> {
    vfs: V,
    directories: Directories,
    identity: Identity,
    settings: Settings,
    options: store::Options,
    place: Place<V>,
}

impl<V: Vfs> Receiver<V> {
    pub fn new(
        vfs: V,
        directories: Directories,
        ids: Ids,
        settings: Settings,
        options: store::Options,
        place: Place<V>,
    ) -> Receiver<V> {
        let identity = Identity { node_id: ids.member.0, cluster_id: ids.cluster };
        Receiver { vfs, directories, identity, settings, options, place }
    }

    /// Begins to receive the database of a snapshot.
    pub fn begin(&self, meta: &SnapshotMeta) -> Result<Arriving<V>, ReceiveError> {
        self.place.reserve()?;
        Ok(Arriving { receiver: self.clone(), meta: meta.clone(), goes: Goes::Nowhere(Vec::new()), is_ready: false })
    }

    /// Where the store is made.
    fn store_dir(&self, meta: &SnapshotMeta) -> PathBuf {
        received_dir(&self.directories.store, meta.index)
    }

    /// Where a database goes that begins with these bytes.
    fn way(&self, first: &[u8], meta: &SnapshotMeta) -> Result<Goes<V>, ReceiveError> {
        let expected = Imported { applied: meta.index, term: meta.term };
        let dir = self.store_dir(meta);
        let import = Import::begin(&self.vfs, first, &dir, expected, self.identity, self.options)?;
        if let Some(import) = import {
            return Ok(Goes::IntoStore(Box::new(import)));
        }
        let path = self.directories.snapshots.join(format!("tmp-{:016x}.snap.db", meta.index.0));
        // A new file, even where one has been left: ext4 writes out early what replaces the content of another.
        if self.vfs.exists(&path)? {
            self.vfs.remove_file(&path)?;
        }
        let file = self.vfs.open(&path, Mode::CreateNew)?;
        Ok(Goes::IntoFile(Spool { vfs: self.vfs.clone(), path, file, length: 0 }))
    }

    /// Loads the store that was made of a database.
    fn load(&self, imported: Imported, meta: &SnapshotMeta) -> Result<Prepared, ReceiveError> {
        if (imported.applied, imported.term) != (meta.index, meta.term) {
            return Err(ReceiveError::OtherEntry {
                found: imported.applied,
                found_term: imported.term,
                expected: meta.index,
                expected_term: meta.term,
            });
        }
        let (store, opened) =
            Store::open(self.vfs.clone(), &self.store_dir(meta), self.identity, meta.index, self.options)?;
        let (state, dead) = State::load(opened.rows, opened.revisions, self.settings)?;
        let ready = Box::new(Ready { place: self.place.clone(), store: Some(Box::new(store)) });
        Ok(Prepared { index: meta.index, term: meta.term, state, window: opened.window, dead, ready })
    }
}

/// A database that is arriving. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct Arriving<V: Vfs> {
    receiver: Receiver<V>,
    meta: SnapshotMeta,
    goes: Goes<V>,
    /// The place is the ready store's.
    is_ready: bool,
}

/// Where what arrives is put.
#[derive(Debug)]
enum Goes<V: Vfs> {
    /// Too little has come to tell.
    Nowhere(Vec<u8>),
    IntoStore(Box<Import<V>>),
    IntoFile(Spool<V>),
}

/// A database in a file, which goes when it is dropped.
#[derive(Debug)]
struct Spool<V: Vfs> {
    vfs: V,
    path: PathBuf,
    file: V::File,
    length: u64,
}

impl<V: Vfs> Spool<V> {
    fn write(&mut self, piece: &[u8]) -> vfs::Result<()> {
        self.file.write_at(piece, self.length)?;
        self.length += piece.len() as u64;
        Ok(())
    }
}

impl<V: Vfs> Drop for Spool<V> {
    fn drop(&mut self) {
        // If it cannot be removed, the next start does it.
        let _ = self.vfs.remove_file(&self.path);
    }
}

impl<V: Vfs> Arriving<V> {
    /// Writes the next piece.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), ReceiveError> {
        match &mut self.goes {
            Goes::Nowhere(first) => {
                first.extend_from_slice(piece);
                if first.len() >= Import::<V>::FIRST_BYTES {
                    self.decide()?;
                }
            }
            Goes::IntoStore(import) => import.take(piece)?,
            Goes::IntoFile(spool) => spool.write(piece)?,
        }
        Ok(())
    }

    /// What has come is put where it goes.
    fn decide(&mut self) -> Result<(), ReceiveError> {
        let Goes::Nowhere(first) = &mut self.goes else { return Ok(()) };
        let first = std::mem::take(first);
        self.goes = self.receiver.way(&first, &self.meta)?;
        self.write(&first)
    }

    /// All has arrived: makes a store of it that is durable, and ready. Takes as long as reading it, and writing it again, if
    /// that has not been done while it arrived.
    pub fn finish(mut self) -> Result<Prepared, ReceiveError> {
        // One that is shorter than that is no database, as reading it will tell.
        self.decide()?;
        let imported = match std::mem::replace(&mut self.goes, Goes::Nowhere(Vec::new())) {
            Goes::IntoStore(import) => import.finish()?,
            Goes::IntoFile(spool) => {
                let Receiver { vfs, identity, options, .. } = &self.receiver;
                Store::import(vfs, &spool.path, &self.receiver.store_dir(&self.meta), *identity, *options)?
            }
            Goes::Nowhere(_) => unreachable!("that has just been decided"),
        };
        let prepared = self.receiver.load(imported, &self.meta)?;
        self.is_ready = true;
        Ok(prepared)
    }
}

impl<V: Vfs> Drop for Arriving<V> {
    fn drop(&mut self) {
        if !self.is_ready {
            // What there is of a store takes space, and is no use. If it cannot be removed, the next start does it.
            let _ = self.receiver.vfs.remove_dir_all(&self.receiver.store_dir(&self.meta));
            self.receiver.place.give_up();
        }
    }
}
