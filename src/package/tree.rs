//! A tree in pieces as an artifact: a source has the names, and streams the contents in the requested order.

use super::policy::{Kind, Listing};
use super::transfer::in_time;
use super::unpacked::{Unpacked, is_something};
use super::writer::Writer;
use crate::artifact::{Node, Tree};
use crate::error::Result;
use crate::model::Layout;
use crate::sys::clock::Deadline;
use crate::sys::fs::Dir;

/// Unpacks `tree` into `staging`.
pub(super) fn unpack(tree: &dyn Tree, staging: Option<&Dir>, layout: &Layout, deadline: Deadline) -> Result<Unpacked> {
    let mut listing = Listing::of(layout, tree.names());
    // The number of each file and link in the tree.
    let mut wanted = Vec::new();
    let mut number = 0;
    tree.list(&mut |name, node, size| {
        in_time(deadline)?;
        if listing.add_at(name, kind(node), size)?.is_some() && node != Node::Dir {
            wanted.push(number);
        }
        number += 1;
        Ok(())
    })?;
    let plan = listing.check()?;
    is_something(&plan, layout)?;
    let mut writer = Writer::new(&plan, staging, layout, deadline)?;
    let mut contents = tree.contents(wanted, deadline)?;
    for index in plan.members() {
        match plan.kind(index) {
            Kind::Dir => writer.dir(index)?,
            Kind::Link => writer.link(index, |keep| contents.next(keep))?,
            Kind::File | Kind::Program => writer.file(index, None, |write| contents.next(write))?,
        }
    }
    contents.finish()?;
    writer.finish()
}

fn kind(node: Node) -> Kind {
    match node {
        Node::File => Kind::File,
        Node::Program => Kind::Program,
        Node::Link => Kind::Link,
        Node::Dir => Kind::Dir,
    }
}
