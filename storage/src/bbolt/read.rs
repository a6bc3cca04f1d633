//! Reading a database: a bucket's pairs in the order of their keys, one page of each level in memory.
//!
//!   metas ──▶ root of the buckets ──▶ a bucket's root ──▶ branch ▸ branch ▸ leaf ──▶ pair, pair, …
//!
//! What holds: nothing that is read is believed. Pages lie within the file and say that they are where they are; what an
//! element points to lies within its page; keys ascend from the first pair to the last. So whoever reads comes to an end,
//! for no leaf can be met twice, and takes no more memory than a page of each level and a pair.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::error::DatabaseError;
use super::page::{
    BUCKET_BYTES, ELEMENT_BYTES, HEADER_BYTES, IS_BUCKET, MAX_KEY_BYTES, META_PAGE_BYTES, Meta, PageHeader, PageId,
    PageKind, u32_at, u64_at,
};
use crate::vfs::{File, Mode, Vfs};

/// So much of a page and its overflow is read at once. A longer pair is read by itself.
const READ_BYTES: u64 = 64 << 10;

/// Deeper trees are damaged: two children a branch fill any file before that.
pub(super) const MAX_DEPTH: usize = 64;

/// A database that is open.
#[derive(Debug)]
pub struct Database<F> {
    source: Arc<Source<F>>,
    root: PageId,
}

#[derive(Debug)]
struct Source<F> {
    file: F,
    path: PathBuf,
    page_bytes: u64,
    /// Pages in use.
    pages: u64,
}

/// Where a bucket's tree begins.
#[derive(Clone, Debug)]
enum Root {
    Page(PageId),
    /// The page itself, which lies within the leaf of this page.
    Inline(PageId, Bytes),
}

impl<F: File> Database<F> {
    /// Opens a database, and looks at what it says of itself. Nothing is written or locked.
    pub fn open<V: Vfs<File = F>>(vfs: &V, path: &Path) -> Result<Database<F>, DatabaseError> {
        let file = vfs.open(path, Mode::Read)?;
        let meta = choose_meta(&file, path)?;
        let (page_bytes, length) = (u64::from(meta.page_bytes), file.len()?);
        let says = meta.pages.checked_mul(page_bytes);
        if says.is_none_or(|says| says > length) {
            let what = format!("it is cut off: it has {length} bytes, not {} pages of {page_bytes}", meta.pages);
            return Err(DatabaseError::NoDatabase { file: path.to_path_buf(), what });
        }
        let source = Source { file, path: path.to_path_buf(), page_bytes, pages: meta.pages };
        Ok(Database { source: Arc::new(source), root: meta.root })
    }

    /// The length of what is in use. A file may be longer.
    pub fn bytes(&self) -> u64 {
        self.source.pages * self.source.page_bytes
    }

    /// The pairs of a bucket, in the order of their keys; none if there is no such bucket.
    pub fn pairs(&self, bucket: &str) -> Result<Pairs<F>, DatabaseError> {
        let mut names = self.walk(Root::Page(self.root));
        while let Some(found) = names.advance() {
            let Found { page, flags, key, value } = found?;
            let damaged = |what| DatabaseError::damaged(&self.source.path, page, what);
            if flags & IS_BUCKET == 0 {
                return Err(damaged("a pair stands among the buckets"));
            }
            if key == bucket.as_bytes() {
                let root = u64_at(&value, 0).filter(|_| value.len() >= BUCKET_BYTES);
                return match root.ok_or_else(|| damaged("a bucket's header is cut off"))? {
                    0 => Ok(self.walk(Root::Inline(page, value.slice(BUCKET_BYTES..)))),
                    root => Ok(self.walk(Root::Page(PageId(root)))),
                };
            }
        }
        Ok(Pairs { source: self.source.clone(), root: None, path: Vec::new(), last: Bytes::new(), floor: None })
    }

    fn walk(&self, root: Root) -> Pairs<F> {
        Pairs { source: self.source.clone(), root: Some(root), path: Vec::new(), last: Bytes::new(), floor: None }
    }
}

/// The good meta with the higher transaction.
fn choose_meta(file: &impl File, path: &Path) -> Result<Meta, DatabaseError> {
    let at = |offset: u64| -> Result<Result<Meta, &'static str>, DatabaseError> {
        let mut bytes = [0; META_PAGE_BYTES];
        let filled = file.read_at(&mut bytes, offset)?;
        Ok(Meta::decode(&bytes[..filled][HEADER_BYTES.min(filled)..]))
    };
    let first = at(0)?;
    // Where the second one is depends on the page size, which may have to be guessed.
    let sizes = match first {
        Ok(meta) => vec![meta.page_bytes],
        Err(_) => (10..=24).map(|power| 1 << power).collect(),
    };
    let mut best = first;
    for page_bytes in sizes {
        if let Ok(second) = at(page_bytes.into())?
            && second.page_bytes == page_bytes
            && best.is_ok_and(|first| second.transaction > first.transaction) | best.is_err()
        {
            best = Ok(second);
        }
    }
    best.map_err(|what| DatabaseError::NoDatabase {
        file: path.to_path_buf(),
        what: format!("neither of its two meta pages is good; of the first, {what}"),
    })
}

/// The pairs of a bucket, in the order of their keys. Behind an error nothing comes.
#[derive(Debug)]
pub struct Pairs<F> {
    source: Arc<Source<F>>,
    /// What has not been entered yet.
    root: Option<Root>,
    /// From the root to the page of the next pair.
    path: Vec<Step>,
    /// The last key handed out; none is empty.
    last: Bytes,
    /// The branches say that the next key is not before this one.
    floor: Option<Bytes>,
}

/// A page on the way, and its next element.
#[derive(Debug)]
struct Step {
    page: Page,
    next: usize,
}

/// An element of a leaf.
struct Found {
    page: PageId,
    flags: u32,
    key: Bytes,
    value: Bytes,
}

impl<F: File> Iterator for Pairs<F> {
    type Item = Result<(Bytes, Bytes), DatabaseError>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.advance()?.and_then(|found| match found.flags {
            0 => Ok((found.key, found.value)),
            _ => Err(DatabaseError::damaged(&self.source.path, found.page, "a bucket stands among the pairs")),
        });
        if found.is_err() {
            (self.root, self.path) = (None, Vec::new());
        }
        Some(found)
    }
}

impl<F: File> Pairs<F> {
    fn advance(&mut self) -> Option<Result<Found, DatabaseError>> {
        let found = self.find().transpose();
        if let Some(Err(_)) = found {
            (self.root, self.path) = (None, Vec::new());
        }
        found
    }

    fn find(&mut self) -> Result<Option<Found>, DatabaseError> {
        if let Some(root) = self.root.take() {
            let page = match root {
                Root::Page(id) => self.source.load(id)?,
                Root::Inline(holder, bytes) => self.source.load_inline(holder, bytes)?,
            };
            // Only a bucket without pairs has a leaf without any.
            if page.count == 0 && page.kind == PageKind::Leaf {
                return Ok(None);
            }
            self.enter(page)?;
        }
        while let Some(step) = self.path.last_mut() {
            if step.next == step.page.count {
                self.path.pop();
                continue;
            }
            let at = step.next;
            step.next += 1;
            match step.page.kind {
                PageKind::Leaf => {
                    let found = self.source.leaf_element(&step.page, at)?;
                    self.check_order(&found.key, found.page)?;
                    self.last = found.key.clone();
                    self.floor = None;
                    return Ok(Some(found));
                }
                _ => {
                    let (id, key, child) = (step.page.id, self.source.branch_key(&step.page, at)?, step.page.child(at));
                    self.check_order(&key, id)?;
                    self.floor = Some(key);
                    let child = child.ok_or_else(|| self.source.damaged(id, "an element is cut off"))?;
                    let page = self.source.load(child)?;
                    self.enter(page)?;
                }
            }
        }
        Ok(None)
    }

    fn enter(&mut self, page: Page) -> Result<(), DatabaseError> {
        if page.count == 0 {
            return Err(self.source.damaged(page.id, "it is empty"));
        }
        if self.path.len() == MAX_DEPTH {
            return Err(self.source.damaged(page.id, "the tree is deeper than any can be"));
        }
        self.path.push(Step { page, next: 0 });
        Ok(())
    }

    fn check_order(&self, key: &Bytes, page: PageId) -> Result<(), DatabaseError> {
        let in_order = self.last < *key && self.floor.as_ref().is_none_or(|floor| floor <= key);
        if in_order { Ok(()) } else { Err(self.source.damaged(page, "keys are not in order")) }
    }
}

/// A page of a tree, with those that overflow it.
#[derive(Debug)]
struct Page {
    /// For an inline one, the page that holds it.
    id: PageId,
    kind: PageKind,
    count: usize,
    /// Where it is in the file; an inline one is in memory as a whole.
    offset: u64,
    length: u64,
    /// Its beginning: all elements, and what they point to unless that is far behind.
    head: Bytes,
}

impl Page {
    fn element(&self, at: usize) -> usize {
        HEADER_BYTES + at * ELEMENT_BYTES
    }

    fn number(&self, at: usize, field: usize) -> Option<u64> {
        u32_at(&self.head, self.element(at) + 4 * field).map(u64::from)
    }

    fn child(&self, at: usize) -> Option<PageId> {
        u64_at(&self.head, self.element(at) + 8).map(PageId)
    }
}

impl<F: File> Source<F> {
    fn damaged(&self, page: PageId, what: &str) -> DatabaseError {
        DatabaseError::damaged(&self.path, page, what)
    }

    fn load(&self, id: PageId) -> Result<Page, DatabaseError> {
        if id.0 < 2 || id.0 >= self.pages {
            return Err(self.damaged(id, "there is no such page"));
        }
        let offset = id.0 * self.page_bytes;
        let mut head = self.read(id, offset, self.page_bytes.min(READ_BYTES))?;
        let header = PageHeader::decode(&head).filter(|header| header.kind != PageKind::Meta);
        let header = header.ok_or_else(|| self.damaged(id, "it is no page of a tree"))?;
        if header.id != id {
            return Err(self.damaged(id, &format!("it says that it is page {}", header.id.0)));
        }
        if u64::from(header.overflow) >= self.pages - id.0 {
            return Err(self.damaged(id, "it is longer than the file"));
        }
        let length = (u64::from(header.overflow) + 1) * self.page_bytes;
        let elements = (HEADER_BYTES + usize::from(header.count) * ELEMENT_BYTES) as u64;
        if elements > length {
            return Err(self.damaged(id, "it has more elements than space"));
        }
        let wanted = length.min(READ_BYTES).max(elements);
        if wanted > head.len() as u64 {
            head = self.read(id, offset, wanted)?;
        }
        Ok(Page { id, kind: header.kind, count: header.count.into(), offset, length, head })
    }

    fn load_inline(&self, holder: PageId, head: Bytes) -> Result<Page, DatabaseError> {
        let header = PageHeader::decode(&head).filter(|header| header.kind == PageKind::Leaf);
        let header = header.ok_or_else(|| self.damaged(holder, "an inline bucket is no leaf"))?;
        let (count, length) = (usize::from(header.count), head.len());
        if HEADER_BYTES + count * ELEMENT_BYTES > length {
            return Err(self.damaged(holder, "an inline bucket has more elements than space"));
        }
        Ok(Page { id: holder, kind: PageKind::Leaf, count, offset: 0, length: length as u64, head })
    }

    fn leaf_element(&self, page: &Page, at: usize) -> Result<Found, DatabaseError> {
        let cut_off = || self.damaged(page.id, "an element is cut off");
        let field = |field| page.number(at, field).ok_or_else(cut_off);
        let (flags, start, key, value) = (field(0)? as u32, field(1)?, field(2)?, field(3)?);
        let pair = self.content(page, at, start, key, key + value)?;
        let key = key as usize;
        Ok(Found { page: page.id, flags, key: pair.slice(..key), value: pair.slice(key..) })
    }

    fn branch_key(&self, page: &Page, at: usize) -> Result<Bytes, DatabaseError> {
        let cut_off = || self.damaged(page.id, "an element is cut off");
        let (start, key) = (page.number(at, 0).ok_or_else(cut_off)?, page.number(at, 1).ok_or_else(cut_off)?);
        self.content(page, at, start, key, key)
    }

    /// What an element points to: a key, and what stands behind it.
    fn content(&self, page: &Page, at: usize, start: u64, key: u64, length: u64) -> Result<Bytes, DatabaseError> {
        if key == 0 || key > MAX_KEY_BYTES as u64 {
            return Err(self.damaged(page.id, "a key has an impossible length"));
        }
        let start = page.element(at) as u64 + start;
        if start < page.element(page.count) as u64 || start + length > page.length {
            return Err(self.damaged(page.id, "an element points out of its page"));
        }
        match start + length <= page.head.len() as u64 {
            true => Ok(page.head.slice(start as usize..(start + length) as usize)),
            false => self.read(page.id, page.offset + start, length),
        }
    }

    fn read(&self, page: PageId, offset: u64, length: u64) -> Result<Bytes, DatabaseError> {
        let mut bytes = vec![0; length as usize];
        let filled = self.file.read_at(&mut bytes, offset)?;
        if filled < bytes.len() {
            return Err(self.damaged(page, "the file ends within it"));
        }
        Ok(bytes.into())
    }
}
