//! A file as memory.

use std::ops::Deref;
use std::sync::Arc;

/// A read-only view of a whole file, unmapped when dropped.
#[derive(Clone, Debug)]
pub struct Mapping(Source);

#[derive(Clone, Debug)]
enum Source {
    Mapped(Arc<memmap2::Mmap>),
    Held(Arc<Vec<u8>>),
}

impl Mapping {
    pub(super) fn mapped(map: memmap2::Mmap) -> Mapping {
        Mapping(Source::Mapped(Arc::new(map)))
    }

    pub(super) fn held(bytes: Arc<Vec<u8>>) -> Mapping {
        Mapping(Source::Held(bytes))
    }
}

impl Mapping {
    /// Lets go of the memory that reading has taken; the bytes stay what they are. To be called when much has been read
    /// that will not be wanted soon.
    pub fn release(&self) {
        if let Source::Mapped(map) = &self.0 {
            super::sys::release(map);
        }
    }
}

impl Deref for Mapping {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Source::Mapped(map) => map,
            Source::Held(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        self
    }
}
