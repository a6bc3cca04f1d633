//! Writing a database as a stream, without a copy of it: first the lengths of everything, then everything.
//!
//!   lengths ──▶ Planner ──▶ Layout: root, number of pages ──▶ Writer ◀── pairs
//!                                                              └──▶ bytes from the first to the last
//!
//! The first page names the root, which is known only when all pages are laid out. So whoever writes goes through the
//! pairs twice, and has to give the same ones in the same order: it is asserted that they come to the same pages.

use bytes::Bytes;

use super::contents::{Contents, MAX_RUN_BYTES};
use super::page::{BUCKET_BYTES, HEADER_BYTES, IS_BUCKET, Meta, PAGE_BYTES, PageHeader, PageId, PageKind};
use super::tree::{Finished, Leaf, Pages, Tree, Value, write_leaf};

/// A bucket up to this length stands within the value that names it, as bbolt has it.
const MAX_INLINE_BYTES: usize = PAGE_BYTES / 4;

/// Behind the two metas.
const FIRST_PAGE: PageId = PageId(2);

/// Where a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    /// Within the value that names it, which has so many bytes besides the bucket's header.
    Inline(usize),
    Page(PageId),
}

impl Root {
    fn value_bytes(self) -> usize {
        match self {
            Root::Inline(bytes) => BUCKET_BYTES + bytes,
            Root::Page(_) => BUCKET_BYTES,
        }
    }
}

/// Lays out the pages of a database.
#[derive(Debug)]
pub struct Planner {
    pages: Pages,
    tree: Tree,
    buckets: Vec<(&'static str, Root)>,
}

impl Default for Planner {
    fn default() -> Planner {
        Planner { pages: Pages { next: FIRST_PAGE, longest: 0, out: None }, tree: Tree::default(), buckets: Vec::new() }
    }
}

impl Planner {
    /// Adds a pair to the bucket that is being planned: its key, and the length of its value.
    ///
    /// # Panics
    /// If keys do not come in order, or a key has not 1 to 32768 bytes.
    pub fn put(&mut self, key: &[u8], length: usize) {
        self.tree.push(&mut self.pages, 0, key, Value::Planned(length));
    }

    /// Ends a bucket, which has this name; the next one begins.
    ///
    /// # Panics
    /// If buckets do not come in order.
    pub fn end_bucket(&mut self, name: &'static str) {
        assert!(self.buckets.last().is_none_or(|(before, _)| *before < name), "buckets come in order");
        let tree = std::mem::take(&mut self.tree);
        let root = finish_bucket(tree, &mut self.pages, |leaf| Root::Inline(leaf.bytes()));
        self.buckets.push((name, root));
    }

    /// The layout, when all buckets are in.
    pub fn finish(mut self) -> Layout {
        let mut tree = Tree::default();
        for (name, root) in &self.buckets {
            tree.push(&mut self.pages, IS_BUCKET, name.as_bytes(), Value::Planned(root.value_bytes()));
        }
        let root = finish_root(tree, &mut self.pages);
        Layout { buckets: self.buckets, root, pages: self.pages.next.0, longest: self.pages.longest }
    }
}

/// A bucket's tree ends within the value that names it, if it is small enough, or in pages.
fn finish_bucket(tree: Tree, pages: &mut Pages, inline: impl FnOnce(Leaf) -> Root) -> Root {
    match tree.finish(pages) {
        Finished::Small(leaf) if leaf.bytes() <= MAX_INLINE_BYTES => inline(leaf),
        Finished::Small(leaf) => Root::Page(write_leaf(pages, &leaf)),
        Finished::Written(root) => Root::Page(root),
    }
}

fn finish_root(tree: Tree, pages: &mut Pages) -> PageId {
    match tree.finish(pages) {
        Finished::Small(leaf) => write_leaf(pages, &leaf),
        Finished::Written(root) => root,
    }
}

/// Where everything will be.
#[derive(Debug)]
pub struct Layout {
    buckets: Vec<(&'static str, Root)>,
    root: PageId,
    pages: u64,
    /// The longest page with what overflows it, in bytes.
    longest: usize,
}

impl Layout {
    /// The length of the file.
    pub fn bytes(&self) -> u64 {
        self.pages * PAGE_BYTES as u64
    }

    /// What lets the file be read while it arrives; `None` if it has a page that nobody should hold in memory.
    fn contents(&self) -> Option<Contents> {
        let page = |root: Root| if let Root::Page(page) = root { Some(page) } else { None };
        let trees = self.buckets.iter().filter_map(|(name, root)| Some((name.as_bytes().to_vec(), page(*root)?)));
        (self.longest <= MAX_RUN_BYTES).then(|| Contents { trees: trees.collect() })
    }
}

/// Writes what was laid out.
#[derive(Debug)]
pub struct Writer {
    layout: Layout,
    pages: Pages,
    tree: Tree,
    /// The values that name the buckets that are complete.
    named: Vec<Bytes>,
}

impl Writer {
    pub fn new(layout: Layout) -> Writer {
        let meta = Meta { page_bytes: PAGE_BYTES as u32, root: layout.root, pages: layout.pages, transaction: 0 };
        let mut out = Vec::new();
        for (id, transaction) in [(0, 2), (1, 1)] {
            let header = PageHeader { id: PageId(id), kind: PageKind::Meta, count: 0, overflow: 0 };
            out.extend(header.encode());
            out.extend(Meta { transaction, ..meta }.encode());
            out.resize((id as usize + 1) * PAGE_BYTES, 0);
        }
        if let Some(contents) = layout.contents() {
            contents.write(&mut out[..PAGE_BYTES]);
        }
        let pages = Pages { next: FIRST_PAGE, longest: 0, out: Some(out) };
        Writer { layout, pages, tree: Tree::default(), named: Vec::new() }
    }

    /// Adds a pair to the bucket that is being written.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.tree.push(&mut self.pages, 0, key, Value::Known(value));
    }

    /// Ends a bucket; the next one that was planned begins. Behind the last one comes [`finish`](Self::finish).
    ///
    /// # Panics
    /// If it is not the bucket that was planned.
    pub fn end_bucket(&mut self) {
        let mut image = Vec::new();
        let tree = std::mem::take(&mut self.tree);
        let root = finish_bucket(tree, &mut self.pages, |leaf| {
            leaf.write(PageId(0), 0, &mut image);
            Root::Inline(image.len())
        });
        let (name, planned) = self.layout.buckets[self.named.len()];
        assert_eq!(root, planned, "bucket {name} is what was planned");
        let page = if let Root::Page(page) = root { page } else { PageId(0) };
        let mut value = Vec::with_capacity(root.value_bytes());
        value.extend(page.0.to_le_bytes());
        value.extend([0; BUCKET_BYTES - 8]);
        value.append(&mut image);
        self.named.push(value.into());
    }

    /// Ends the file.
    ///
    /// # Panics
    /// If it is not the file that was planned.
    pub fn finish(&mut self) {
        let mut tree = std::mem::take(&mut self.tree);
        assert_eq!(self.named.len(), self.layout.buckets.len(), "all buckets are written");
        for ((name, _), value) in self.layout.buckets.iter().zip(&self.named) {
            tree.push(&mut self.pages, IS_BUCKET, name.as_bytes(), Value::Known(value));
        }
        let root = finish_root(tree, &mut self.pages);
        assert_eq!((root, self.pages.next.0), (self.layout.root, self.layout.pages), "the file is what was planned");
    }

    /// How many bytes are there to be taken.
    pub fn ready(&self) -> usize {
        self.pages.out.as_ref().map_or(0, Vec::len)
    }

    /// The file's next bytes.
    pub fn take(&mut self) -> Bytes {
        std::mem::take(self.pages.out.as_mut().expect("a writer's pages are put out")).into()
    }
}

const _: () = assert!(HEADER_BYTES + BUCKET_BYTES < MAX_INLINE_BYTES);
