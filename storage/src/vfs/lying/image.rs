//! All that is on a disk at one moment.

use std::collections::BTreeMap;
use std::path::Path;

use super::content::Content;
use super::dice::mix;
use super::names::{DirId, FileId, Names, Node};
use super::{Operation, Survival};

#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    names: Names,
    files: BTreeMap<FileId, Content>,
    /// The number of the last file or directory; directory 0 is the root.
    last_id: u64,
}

impl Image {
    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    pub(super) fn file(&self, path: &Path) -> Option<FileId> {
        match self.names.find(path)? {
            Node::File(file) => Some(file),
            Node::Dir(_) => None,
        }
    }

    pub(super) fn content(&self, file: FileId) -> &Content {
        self.files.get(&file).expect("a file outlives its handles")
    }

    pub(super) fn content_mut(&mut self, file: FileId) -> &mut Content {
        self.files.get_mut(&file).expect("a file outlives its handles")
    }

    /// Space taken by the files that have a name.
    pub(super) fn used(&self) -> u64 {
        self.names.files().into_iter().map(|file| self.content(file).allocated()).sum()
    }

    pub(super) fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Create { dir, name } => {
                self.last_id += 1;
                let file = FileId(self.last_id);
                self.files.insert(file, Content::default());
                self.names.link((*dir, name.clone()), Node::File(file));
            }
            Operation::MakeDir { dir, name } => {
                self.last_id += 1;
                self.names.link((*dir, name.clone()), Node::Dir(DirId(self.last_id)));
            }
            Operation::Rename { from, to } => self.names.rename(from.clone(), to.clone()),
            Operation::Unlink { dir, name } => self.names.unlink((*dir, name.clone())),
            Operation::Write { file, offset, data } => self.content_mut(*file).write(*offset, data.clone()),
            Operation::SetLen { file, length } => self.content_mut(*file).set_len(*length),
            Operation::Allocate { file, end } => self.content_mut(*file).allocate(*end),
            Operation::Sync { file } => self.content_mut(*file).sync(),
            Operation::FailSync { file, seed } => self.content_mut(*file).fail_sync(*seed),
            Operation::SyncDir { dir } => self.names.sync(*dir),
        }
    }

    /// The disk after a crash: only what can be reached by a name is left.
    pub(super) fn crashed(&self, survival: Survival) -> Image {
        let names = self.names.survivor(survival);
        let survivor = |file: FileId| {
            // Each file by a seed of its own.
            let survival = match survival {
                Survival::Seeded(seed) => Survival::Seeded(mix(seed ^ mix(file.0))),
                other => other,
            };
            (file, Content::durable(self.content(file).survivor(survival)))
        };
        let files = names.files().into_iter().map(survivor).collect();
        Image { names, files, last_id: self.last_id }
    }
}
