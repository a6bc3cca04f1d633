//! A tree in the making: pairs come in the order of their keys, pages go out in the order of the file.
//!
//!   push ──▶ leaf ──full──▶ page ──▶ branch above it ──full──▶ page ──▶ … ──finish──▶ root
//!
//! A page is written when it is full, and its parent behind it, so that one page of each level is in memory. What a page
//! holds depends on the lengths of keys and values alone: a tree that is given lengths only takes the same pages.

use super::page::{ELEMENT_BYTES, HEADER_BYTES, MAX_COUNT, MAX_KEY_BYTES, PAGE_BYTES, PageHeader, PageId, PageKind};

/// A leaf has as many pairs at least, if there are as many, however long they are: as in bbolt, so that less of the last
/// page of a long leaf stays empty.
const LEAF_PAIRS: usize = 2;

/// A value, or only how long it will be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Planned(usize),
    Known(&'a [u8]),
}

impl Value<'_> {
    fn len(&self) -> usize {
        match self {
            Value::Planned(length) => *length,
            Value::Known(bytes) => bytes.len(),
        }
    }
}

/// The pages of a file, in order.
#[derive(Debug)]
pub(super) struct Pages {
    /// The first one that is not taken.
    pub next: PageId,
    /// The longest that was taken with what overflows it, in bytes.
    pub longest: usize,
    /// Where their bytes go, if they are not only counted.
    pub out: Option<Vec<u8>>,
}

impl Pages {
    /// Takes as many pages as so many bytes need, for content that is then put out by `write`.
    fn add(&mut self, bytes: usize, write: impl FnOnce(PageId, u32, &mut Vec<u8>)) -> PageId {
        let id = self.next;
        let count = bytes.div_ceil(PAGE_BYTES);
        self.next = PageId(id.0 + count as u64);
        self.longest = self.longest.max(count * PAGE_BYTES);
        if let Some(out) = &mut self.out {
            let end = out.len() + count * PAGE_BYTES;
            let overflow = u32::try_from(count - 1).expect("an element is shorter than 4 GiB");
            out.reserve(count * PAGE_BYTES);
            write(id, overflow, out);
            assert!(out.len() <= end, "a page has the length that was planned");
            out.resize(end, 0);
        }
        id
    }
}

/// A leaf in the making.
#[derive(Debug, Default)]
pub(super) struct Leaf {
    elements: Vec<LeafElement>,
    /// Keys and values as they follow the elements.
    data: Vec<u8>,
    first_key: Vec<u8>,
    /// The lengths of keys and values.
    content_bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct LeafElement {
    flags: u32,
    key: u32,
    value: u32,
}

impl Leaf {
    /// How long its page is, without what fills it up.
    pub(super) fn bytes(&self) -> usize {
        HEADER_BYTES + self.elements.len() * ELEMENT_BYTES + self.content_bytes
    }

    fn push(&mut self, flags: u32, key: &[u8], value: Value) {
        if self.elements.is_empty() {
            self.first_key.extend_from_slice(key);
        }
        let length = |length: usize| u32::try_from(length).expect("a value is shorter than 4 GiB");
        self.elements.push(LeafElement { flags, key: length(key.len()), value: length(value.len()) });
        self.content_bytes += key.len() + value.len();
        if let Value::Known(value) = value {
            self.data.extend_from_slice(key);
            self.data.extend_from_slice(value);
        }
    }

    /// The page's bytes.
    pub(super) fn write(&self, id: PageId, overflow: u32, out: &mut Vec<u8>) {
        let count = self.elements.len();
        let header = PageHeader { id, kind: PageKind::Leaf, count: count as u16, overflow };
        out.extend(header.encode());
        let mut content = 0;
        for (at, element) in self.elements.iter().enumerate() {
            let position = ((count - at) * ELEMENT_BYTES) as u32 + content;
            out.extend([element.flags, position, element.key, element.value].into_iter().flat_map(u32::to_le_bytes));
            content += element.key + element.value;
        }
        assert_eq!(content as usize, self.data.len(), "a leaf that is written holds all its values");
        out.extend_from_slice(&self.data);
    }

    fn clear(&mut self) {
        self.elements.clear();
        self.data.clear();
        // One value may have been huge.
        self.data.shrink_to(16 * PAGE_BYTES);
        self.first_key.clear();
        self.content_bytes = 0;
    }
}

/// A branch in the making: the first key of each child.
#[derive(Debug, Default)]
struct Branch {
    children: Vec<(Vec<u8>, PageId)>,
    key_bytes: usize,
}

impl Branch {
    fn bytes(&self) -> usize {
        HEADER_BYTES + self.children.len() * ELEMENT_BYTES + self.key_bytes
    }

    fn push(&mut self, key: Vec<u8>, child: PageId) {
        self.key_bytes += key.len();
        self.children.push((key, child));
    }

    fn pop(&mut self) -> Option<(Vec<u8>, PageId)> {
        let child = self.children.pop()?;
        self.key_bytes -= child.0.len();
        Some(child)
    }

    fn write(&self, id: PageId, overflow: u32, out: &mut Vec<u8>) {
        let count = self.children.len();
        let header = PageHeader { id, kind: PageKind::Branch, count: count as u16, overflow };
        out.extend(header.encode());
        let mut content = 0;
        for (at, (key, child)) in self.children.iter().enumerate() {
            out.extend((((count - at) * ELEMENT_BYTES + content) as u32).to_le_bytes());
            out.extend((key.len() as u32).to_le_bytes());
            out.extend(child.0.to_le_bytes());
            content += key.len();
        }
        self.children.iter().for_each(|(key, _)| out.extend_from_slice(key));
    }
}

/// A tree that is complete.
#[derive(Debug)]
pub(super) enum Finished {
    /// All of it fits into one leaf, which has not been written.
    Small(Leaf),
    /// It has been written; this is its root.
    Written(PageId),
}

/// A tree in the making.
#[derive(Debug, Default)]
pub(super) struct Tree {
    leaf: Leaf,
    /// From the level above the leaves upwards.
    branches: Vec<Branch>,
    last_key: Vec<u8>,
}

impl Tree {
    pub(super) fn push(&mut self, pages: &mut Pages, flags: u32, key: &[u8], value: Value) {
        assert!((1..=MAX_KEY_BYTES).contains(&key.len()), "a key has 1 to 32768 bytes");
        assert!(self.last_key.as_slice() < key, "keys come in order");
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        let leaf = &self.leaf;
        let length = leaf.bytes() + ELEMENT_BYTES + key.len() + value.len();
        if leaf.elements.len() >= LEAF_PAIRS && (length > PAGE_BYTES || leaf.elements.len() == MAX_COUNT) {
            self.close_leaf(pages);
        }
        self.leaf.push(flags, key, value);
    }

    fn close_leaf(&mut self, pages: &mut Pages) {
        let leaf = &mut self.leaf;
        let id = pages.add(leaf.bytes(), |id, overflow, out| leaf.write(id, overflow, out));
        let key = std::mem::take(&mut leaf.first_key);
        leaf.clear();
        self.add_child(pages, 0, key, id);
    }

    fn add_child(&mut self, pages: &mut Pages, level: usize, key: Vec<u8>, child: PageId) {
        if self.branches.len() == level {
            self.branches.push(Branch::default());
        }
        let branch = &mut self.branches[level];
        let full = branch.bytes() + ELEMENT_BYTES + key.len() > PAGE_BYTES || branch.children.len() == MAX_COUNT;
        // A branch has two children at least, so the last one goes with the one that comes.
        if full && branch.children.len() >= 3 {
            let last = branch.pop().expect("it has three");
            let (first, id) = write_branch(pages, branch);
            *branch = Branch::default();
            branch.push(last.0, last.1);
            branch.push(key, child);
            self.add_child(pages, level + 1, first, id);
        } else {
            branch.push(key, child);
        }
    }

    /// Writes what is left.
    pub(super) fn finish(mut self, pages: &mut Pages) -> Finished {
        if self.branches.is_empty() {
            return Finished::Small(self.leaf);
        }
        self.close_leaf(pages);
        let mut level = 0;
        loop {
            let branch = std::mem::take(&mut self.branches[level]);
            assert!(branch.children.len() >= 2, "a branch has two children at least");
            let (first, id) = write_branch(pages, &branch);
            level += 1;
            if level == self.branches.len() {
                return Finished::Written(id);
            }
            self.add_child(pages, level, first, id);
        }
    }
}

fn write_branch(pages: &mut Pages, branch: &Branch) -> (Vec<u8>, PageId) {
    let id = pages.add(branch.bytes(), |id, overflow, out| branch.write(id, overflow, out));
    (branch.children[0].0.clone(), id)
}

/// Writes a leaf that is all of its tree.
pub(super) fn write_leaf(pages: &mut Pages, leaf: &Leaf) -> PageId {
    pages.add(leaf.bytes(), |id, overflow, out| leaf.write(id, overflow, out))
}
