//! Reading a database while it arrives, without a file. Its pages have to stand in order, and it has to say so (`Contents`).
//!
//!   bytes ──▶ a page with its overflow ──leaf────▶ pairs, at once
//!                                     └─branch───▶ names exactly the pages before it that have no parent yet
//!                                     └─root of the buckets ──▶ names the trees that have passed
//!
//! What holds: nothing that is read is believed, as with a file: what comes to its end has had every page in the tree that it
//! belongs to, once, with its keys ascending. Until then the pairs are only what somebody claims. No more is held in memory
//! than a page with its overflow, and the first keys of the pages that wait for their parent.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use super::contents::{Contents, MAX_RUN_BYTES};
use super::error::DatabaseError;
use super::page::{
    BUCKET_BYTES, ELEMENT_BYTES, HEADER_BYTES, IS_BUCKET, MAX_KEY_BYTES, Meta, PAGE_BYTES, PageHeader, PageId,
    PageKind, u32_at, u64_at,
};
use super::read::MAX_DEPTH;

/// A branch ends when a page is full, so no more pages than this wait for one.
const MAX_WAITING: usize = PAGE_BYTES / ELEMENT_BYTES + 1;

/// A database that arrives.
#[derive(Debug)]
pub struct InOrder {
    /// What errors call it.
    name: PathBuf,
    meta: Meta,
    contents: Contents,
    /// What has arrived and is no whole page.
    rest: Vec<u8>,
    /// The page that comes next.
    next: PageId,
    /// The tree that it belongs to; behind the last one that of the buckets, and then none.
    tree: usize,
    growing: Growing,
    last_key: Vec<u8>,
    /// Trees whose bucket has been named.
    named: usize,
}

/// The pages of a tree that have come, and have no parent yet: the first key of each, from the leaves upwards.
#[derive(Debug, Default)]
struct Growing {
    levels: Vec<VecDeque<(Vec<u8>, PageId)>>,
}

impl Growing {
    fn add(&mut self, level: usize, key: &[u8], page: PageId) -> Result<(), &'static str> {
        if level == MAX_DEPTH {
            return Err("the tree is deeper than any can be");
        }
        if self.levels.len() == level {
            self.levels.push(VecDeque::new());
        }
        if self.levels[level].len() == MAX_WAITING {
            return Err("too many pages before it have no parent");
        }
        self.levels[level].push_back((key.to_vec(), page));
        Ok(())
    }

    /// A branch takes the pages that it names from the level below it.
    fn gather<'a>(
        &mut self,
        page: PageId,
        children: impl Iterator<Item = Option<(&'a [u8], PageId)>>,
    ) -> Result<(), &'static str> {
        const STRANGER: &str = "it names pages that do not come before it in their order";
        let mut own: Option<(usize, &[u8])> = None;
        for child in children {
            let (key, child) = child.ok_or("an element is cut off, or points out of its page")?;
            let is_next = |level: &VecDeque<(Vec<u8>, PageId)>| level.front().is_some_and(|(_, id)| *id == child);
            let level = match own {
                Some((level, _)) => level,
                None => self.levels.iter().position(is_next).ok_or(STRANGER)?,
            };
            let is_known = self.levels[level].pop_front().is_some_and(|(first, id)| (&first[..], id) == (key, child));
            if !is_known {
                return Err(STRANGER);
            }
            own = own.or(Some((level, key)));
        }
        let (level, first) = own.ok_or("it is empty")?;
        self.add(level + 1, first, page)
    }

    /// Whether all that has come is below this page. Begins the next tree.
    fn end(&mut self, root: PageId) -> bool {
        let mut left = self.levels.iter().flatten().map(|(_, page)| *page);
        let is_whole = left.next() == Some(root) && left.next().is_none();
        self.levels.clear();
        is_whole
    }
}

impl InOrder {
    /// Bytes that have to be there before it can be told whether a database stands in order.
    pub const FIRST_BYTES: usize = PAGE_BYTES;

    /// A database that begins with these bytes, and is called `name` in errors; `None` if it does not say that it stands in
    /// order. None of the bytes counts as taken.
    pub fn begin(first: &[u8], name: &Path) -> Option<InOrder> {
        let contents = Contents::read(first)?;
        let meta = Meta::decode(&first[HEADER_BYTES..]).ok().filter(|meta| meta.page_bytes as usize == PAGE_BYTES)?;
        Some(InOrder {
            name: name.to_path_buf(),
            meta,
            contents,
            rest: Vec::new(),
            next: PageId(0),
            tree: 0,
            growing: Growing::default(),
            last_key: Vec::new(),
            named: 0,
        })
    }

    /// Takes the next bytes, and hands out the pairs that are complete: the bucket's name, key and value.
    pub fn take<E: From<DatabaseError>>(
        &mut self,
        bytes: &[u8],
        put: &mut impl FnMut(&[u8], &[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = std::mem::take(&mut self.rest);
        rest.extend_from_slice(bytes);
        let mut taken = 0;
        while let Some(length) = self.next_run(&rest[taken..])? {
            let run = &rest[taken..taken + length];
            // The metas were looked at when it began.
            if self.next.0 >= 2 {
                self.page(run, put)?;
            }
            self.next.0 += (length / PAGE_BYTES) as u64;
            taken += length;
        }
        rest.drain(..taken);
        self.rest = rest;
        Ok(())
    }

    /// All has arrived.
    pub fn finish(self) -> Result<(), DatabaseError> {
        let is_whole = self.next.0 == self.meta.pages && self.tree == self.contents.trees.len() + 1;
        match is_whole && self.rest.is_empty() && self.named == self.contents.trees.len() {
            true => Ok(()),
            false => Err(self.damaged("it ends here, and is not complete")),
        }
    }

    fn damaged(&self, what: &str) -> DatabaseError {
        DatabaseError::damaged(&self.name, self.next, what)
    }

    /// The length of the next page with its overflow, if all of it is there.
    fn next_run(&self, bytes: &[u8]) -> Result<Option<usize>, DatabaseError> {
        if self.next.0 < 2 {
            return Ok((bytes.len() >= PAGE_BYTES).then_some(PAGE_BYTES));
        }
        if bytes.len() < HEADER_BYTES {
            return Ok(None);
        }
        let header = PageHeader::decode(bytes).filter(|header| header.kind != PageKind::Meta && header.id == self.next);
        let header = header.ok_or_else(|| self.damaged("it is no page of a tree, or another one"))?;
        if u64::from(header.overflow) >= self.meta.pages.saturating_sub(self.next.0) {
            return Err(self.damaged("it is longer than the file"));
        }
        let length = (header.overflow as usize).saturating_add(1).saturating_mul(PAGE_BYTES);
        if length > MAX_RUN_BYTES {
            return Err(self.damaged("it is longer than a page of a file in order may be"));
        }
        Ok((bytes.len() >= length).then_some(length))
    }

    fn page<E: From<DatabaseError>>(
        &mut self,
        run: &[u8],
        put: &mut impl FnMut(&[u8], &[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let page = Page::of(run).ok_or_else(|| self.damaged("it is empty, or has more elements than space"))?;
        match page.kind {
            PageKind::Leaf => {
                let first = self.leaf(&page, put)?;
                self.growing.add(0, first, self.next).map_err(|what| self.damaged(what))?;
            }
            _ => self.growing.gather(self.next, page.children()).map_err(|what| self.damaged(what))?,
        }
        let root = self.contents.trees.get(self.tree).map_or(self.meta.root, |(_, root)| *root);
        if self.next == root {
            if !self.growing.end(root) {
                return Err(self.damaged("pages before it are in no tree").into());
            }
            self.tree += 1;
            self.last_key.clear();
        }
        Ok(())
    }

    /// Returns the leaf's first key.
    fn leaf<'a, E: From<DatabaseError>>(
        &mut self,
        page: &Page<'a>,
        put: &mut impl FnMut(&[u8], &[u8], &[u8]) -> Result<(), E>,
    ) -> Result<&'a [u8], E> {
        let mut first = None;
        for at in 0..page.count {
            let Element { flags, key, value } = self.element(page, at)?;
            if *self.last_key >= *key {
                return Err(self.damaged("keys are not in order").into());
            }
            let is_bucket = flags & IS_BUCKET != 0;
            match self.contents.trees.get(self.tree) {
                Some((bucket, _)) if flags == 0 => put(bucket, key, value)?,
                None if is_bucket => self.bucket(key, value, put)?,
                Some(_) => return Err(self.damaged("a bucket stands among the pairs").into()),
                None => return Err(self.damaged("a pair stands among the buckets").into()),
            }
            self.last_key.clear();
            self.last_key.extend_from_slice(key);
            first = first.or(Some(key));
        }
        Ok(first.expect("no leaf is empty"))
    }

    fn element<'a>(&self, page: &Page<'a>, at: usize) -> Result<Element<'a>, DatabaseError> {
        page.element(at).ok_or_else(|| self.damaged("an element is cut off, or points out of its page"))
    }

    /// A bucket is named: one of those that have passed, or one within its name's value.
    fn bucket<E: From<DatabaseError>>(
        &mut self,
        name: &[u8],
        value: &[u8],
        put: &mut impl FnMut(&[u8], &[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let root = u64_at(value, 0).filter(|_| value.len() >= BUCKET_BYTES);
        let root = root.ok_or_else(|| self.damaged("a bucket's header is cut off"))?;
        if root != 0 {
            let passed = self.contents.trees.get(self.named);
            if passed.is_none_or(|(passed, its_root)| passed != name || its_root.0 != root) {
                return Err(self.damaged("a bucket is named that has not passed").into());
            }
            self.named += 1;
            return Ok(());
        }
        let header = PageHeader::decode(&value[BUCKET_BYTES..]).filter(|header| header.kind == PageKind::Leaf);
        let header = header.ok_or_else(|| self.damaged("an inline bucket is no leaf"))?;
        if header.count == 0 {
            return Ok(());
        }
        let page = Page::of(&value[BUCKET_BYTES..]);
        let page = page.ok_or_else(|| self.damaged("an inline bucket has more elements than space"))?;
        let mut last: &[u8] = &[];
        for at in 0..page.count {
            let Element { flags, key, value } = self.element(&page, at)?;
            if flags != 0 || last >= key {
                return Err(self.damaged("an inline bucket has keys out of order, or holds a bucket").into());
            }
            put(name, key, value)?;
            last = key;
        }
        Ok(())
    }
}

/// A page of a tree, with its overflow, that has elements.
struct Page<'a> {
    kind: PageKind,
    count: usize,
    bytes: &'a [u8],
}

/// An element of a leaf.
struct Element<'a> {
    flags: u32,
    key: &'a [u8],
    value: &'a [u8],
}

impl<'a> Page<'a> {
    fn of(bytes: &'a [u8]) -> Option<Page<'a>> {
        let header = PageHeader::decode(bytes)?;
        let count = usize::from(header.count);
        let fits = count > 0 && HEADER_BYTES + count * ELEMENT_BYTES <= bytes.len();
        fits.then_some(Page { kind: header.kind, count, bytes })
    }

    fn number(&self, at: usize, field: usize) -> Option<usize> {
        u32_at(self.bytes, HEADER_BYTES + at * ELEMENT_BYTES + 4 * field).map(|number| number as usize)
    }

    /// What an element points to: a key of so many bytes, and what stands behind it.
    fn content(&self, at: usize, start: usize, key: usize, length: usize) -> Option<&'a [u8]> {
        let start = HEADER_BYTES + at * ELEMENT_BYTES + start;
        let is_possible = (1..=MAX_KEY_BYTES).contains(&key) && start >= HEADER_BYTES + self.count * ELEMENT_BYTES;
        self.bytes.get(start..start.checked_add(length)?).filter(|_| is_possible)
    }

    fn element(&self, at: usize) -> Option<Element<'a>> {
        let (flags, start) = (self.number(at, 0)? as u32, self.number(at, 1)?);
        let (key, value) = (self.number(at, 2)?, self.number(at, 3)?);
        let (key, value) = self.content(at, start, key, key.checked_add(value)?)?.split_at(key);
        Some(Element { flags, key, value })
    }

    /// The first key of each child, and its page. `None` for an element that is damaged.
    fn children(&self) -> impl Iterator<Item = Option<(&'a [u8], PageId)>> {
        (0..self.count).map(|at| {
            let (start, key) = (self.number(at, 0)?, self.number(at, 1)?);
            let child = u64_at(self.bytes, HEADER_BYTES + at * ELEMENT_BYTES + 8)?;
            Some((self.content(at, start, key, key)?, PageId(child)))
        })
    }
}
