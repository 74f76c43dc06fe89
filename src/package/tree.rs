//! A tree in pieces as an artifact: a source has the names, and streams the contents in the order that is asked for.
//! Files first, links when all else stands.

use super::names::shown;
use super::policy::{Kind, Listing, MAX_LINK};
use super::writer::Writer;
use super::{Unpacked, in_time, is_something};
use crate::artifact::{Node, Tree};
use crate::error::{Context, Error, Result};
use crate::model::Layout;
use crate::sys::clock::Deadline;
use crate::sys::fs::Dir;

/// Lays `tree` out in `staging`.
pub(super) fn unpack(tree: &dyn Tree, staging: Option<&Dir>, layout: &Layout, deadline: Deadline) -> Result<Unpacked> {
    let mut listing = Listing::new(layout, 0);
    let mut members = Vec::new();
    let mut number = 0;
    tree.list(&mut |name, node, size| {
        in_time(deadline)?;
        if listing.add(name, kind(node), size)?.is_some() {
            members.push(number);
        }
        number += 1;
        Ok(())
    })?;
    let plan = listing.check()?;
    is_something(&plan, layout)?;
    let plan = &plan;
    let of_kind = |is_it: fn(Kind) -> bool| (0..).zip(&members).filter(move |(index, _)| is_it(plan.kind(*index)));
    let files: Vec<u32> = of_kind(|kind| matches!(kind, Kind::File | Kind::Program)).map(|(index, _)| index).collect();
    let links: Vec<u32> = of_kind(|kind| kind == Kind::Link).map(|(index, _)| index).collect();
    let wanted: Vec<u32> = files.iter().chain(&links).map(|index| members[*index as usize]).collect();

    let mut writer = Writer::new(plan, staging, layout, deadline)?;
    for (index, _) in of_kind(|kind| kind == Kind::Dir) {
        writer.dir(index)?;
    }
    let mut contents = tree.contents(&wanted, deadline)?;
    for index in files {
        writer.file(index, |write| contents.next(write))?;
    }
    for index in links {
        let mut text = Vec::new();
        let take = &mut |bytes: &[u8]| match text.len() + bytes.len() > MAX_LINK {
            true => Err(Error::refused(format!("a link's text is longer than {MAX_LINK} bytes"))),
            false => {
                text.extend_from_slice(bytes);
                Ok(())
            }
        };
        contents.next(take).context(|| format!("member {}", shown(plan.name(index))))?;
        writer.link(index, &text)?;
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
