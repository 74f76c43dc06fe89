//! The targets of a tree's symbolic links: resolved without the file system, through the other links of the tree too,
//! as the kernel would resolve them once all are made. None may lead outside. Pure; each link is resolved once.

use std::collections::HashMap;

use super::names::{shown, up};
use super::policy::{Kind, MAX_LINK, Plan};
use crate::artifact::Texts;
use crate::error::{Context, Error, Result};
use crate::model::Links;
use crate::store::manifest::{Budget, Entry};

/// The refusal of a text that no link can have.
const IMPOSSIBLE: &str = "is no possible target";
/// The most links on the way of a path, as in Linux.
const MOST: u32 = 40;

/// The links of a plan, and the resolved targets of those that other links go through.
pub(super) struct Paths<'a> {
    plan: &'a Plan,
    what: &'a [Entry],
    texts: &'a Texts,
    rule: Links,
    ends: HashMap<u32, End>,
    /// Limits the memory for resolved targets.
    budget: Budget,
}

/// The target of a link.
#[derive(Clone)]
struct End {
    place: Box<[u8]>,
    /// The number of links on the way, itself included.
    links: u32,
}

impl<'a> Paths<'a> {
    /// The links of `plan`, with their texts according to `what`.
    pub(super) fn new(plan: &'a Plan, what: &'a [Entry], texts: &'a Texts, rule: Links, budget: Budget) -> Self {
        Self { plan, what, texts, rule, ends: HashMap::new(), budget }
    }

    /// Refuses any link that `rule` does not allow.
    pub(super) fn check(&mut self) -> Result<()> {
        for index in self.plan.members().filter(|index| self.plan.kind(*index) == Kind::Link) {
            let text = self.text(index);
            if text.is_empty() || text.len() > MAX_LINK || text.iter().any(u8::is_ascii_control) {
                return Err(self.refusal(index, IMPOSSIBLE));
            }
            match self.rule {
                Links::Any => {}
                // The entry at its end is a link of the tree, which is checked itself, or no link.
                Links::Inside | Links::Refuse => {
                    let end = self.follow(index, false, 0);
                    end.map_err(|e| e.unwrap_or_else(|| self.endless(index)))?;
                }
            }
        }
        Ok(())
    }

    /// Follows the text of the link `index`, and a link at its end only if `whole`. It is the `depth`th link on the
    /// way. The error `None`: there are too many.
    fn follow(&mut self, index: u32, whole: bool, depth: u32) -> Result<End, Option<Error>> {
        let text = self.text(index);
        if text.starts_with(b"/") {
            return Err(Some(self.refusal(index, "is absolute")));
        }
        let (mut place, mut links) = (self.plan.path(index).to_vec(), 1);
        up(&mut place);
        let mut components = text.split(|b| *b == b'/').peekable();
        while let Some(component) = components.next() {
            match component {
                b"" | b"." => continue,
                b".." if place.is_empty() => return Err(Some(self.refusal(index, "leads outside"))),
                b".." => up(&mut place),
                name => {
                    if !place.is_empty() {
                        place.push(b'/');
                    }
                    place.extend_from_slice(name);
                }
            }
            if place.len() > MAX_LINK {
                return Err(Some(self.refusal(index, "leads too far")));
            }
            if !whole && components.peek().is_none() {
                break;
            }
            if let Some(next) = self.plan.link_at(&place) {
                let end = self.end(next, depth + 1)?;
                place = end.place.into_vec();
                links += end.links;
            }
            if links > MOST {
                return Err(None);
            }
        }
        Ok(End { place: place.into(), links })
    }

    /// The final target of the link `index`.
    fn end(&mut self, index: u32, depth: u32) -> Result<End, Option<Error>> {
        if let Some(end) = self.ends.get(&index) {
            return Ok(end.clone());
        }
        if depth > MOST {
            return Err(None);
        }
        let end = self.follow(index, true, depth)?;
        let kept = self.budget.take(end.place.len() as u64);
        kept.with_context(|| format!("member {}", shown(self.plan.name(index))))?;
        self.ends.insert(index, end.clone());
        Ok(end)
    }

    fn text(&self, index: u32) -> &'a [u8] {
        match self.what[index as usize] {
            Entry::Link { text } => self.texts.get(text),
            Entry::File { .. } | Entry::Dir { .. } => b"",
        }
    }

    fn endless(&self, index: u32) -> Error {
        self.refusal(index, &format!("goes through more than {MOST} links, or in a circle"))
    }

    fn refusal(&self, index: u32, why: &str) -> Error {
        let (name, text) = (shown(self.plan.name(index)), shown(self.text(index)));
        let hint = "symlinks = inside allows those that stay inside, symlinks = any all of them as they are";
        let hint = if self.rule == Links::Any || why == IMPOSSIBLE { String::new() } else { format!(" ({hint})") };
        Error::refused(format!("member {name}: a link to {text}, which {why}{hint}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Layout;
    use crate::package::policy::Listing;

    /// Checks a tree of files (without a text) and links.
    fn look(rule: Links, members: &[(&str, Option<&str>)]) -> Result<()> {
        let layout = Layout { symlinks: rule, ..Layout::default() };
        let (mut listing, mut texts, mut what) = (Listing::new(&layout, 0), Texts::default(), Vec::new());
        for (name, text) in members {
            let kind = if text.is_some() { Kind::Link } else { Kind::File };
            listing.add(name.as_bytes(), kind, text.map_or(0, str::len) as u64)?;
            what.push(match text {
                Some(text) => Entry::Link { text: texts.push(text.as_bytes()).unwrap() },
                None => Entry::File { size: 0, crc: 0, mode: 0o644 },
            });
        }
        let plan = listing.check()?;
        Paths::new(&plan, &what, &texts, rule, plan.budget.clone()).check()
    }

    /// Checks a link with this text in a tree of files and other links.
    fn inside(text: &str) -> Result<()> {
        let tree = [
            ("d/file", None),
            ("d/e/f/g", None),
            ("top", Some("d")),
            ("d/hop", Some("../top/e")),
            ("d/down", Some("e/f")),
            ("loop", Some("loop")),
            ("there", Some("here/x")),
            ("here", Some("there/y")),
            ("d/e/link", Some(text)),
        ];
        look(Links::Inside, &tree[..6]).unwrap();
        look(Links::Inside, &[&tree[..6], &tree[8..]].concat())
    }

    #[test]
    fn links_stay_inside() {
        for text in ["x", "f", "f/g", "../file", "../../top", ".", "./f/", "../..", "..//file", "missing/..", "a\\b"] {
            assert!(inside(text).is_ok(), "{text}");
        }
        let long = "l".repeat(MAX_LINK + 1);
        for (text, words) in [
            ("", "no possible target"),
            ("a\nb", "no possible target"),
            (&long, "a text of more than 4095 bytes"),
            ("/etc/passwd", "is absolute (symlinks = inside allows those that stay inside, symlinks = any all of them"),
            ("../../../x", "leads outside (symlinks = inside"),
            ("../../../d/file", "leads outside"),
            ("x/../../../../d", "leads outside"),
        ] {
            let e = inside(text).unwrap_err().to_string();
            assert!(e.contains("member d/e/link: ") && e.contains(words), "{e}");
        }
    }

    #[test]
    fn links_go_through_others_as_the_kernel_goes() {
        // d/hop is d/e by two links; d/down is d/e/f.
        for text in ["../hop/x", "../hop/..", "../hop/../..", "../hop/", "../../top/.", "../down/../../.."] {
            assert!(inside(text).is_ok(), "{text}");
        }
        for text in ["../hop/../../..", "../down/../../../..", "../../top/../..", "../hop/../../../d/e"] {
            let e = inside(text).unwrap_err().to_string();
            assert!(e.contains("leads outside"), "{text}: {e}");
        }
        for text in ["../../loop/x", "../../loop/", "link/x"] {
            let e = inside(text).unwrap_err().to_string();
            assert!(e.contains("through more than 40 links, or in a circle"), "{text}: {e}");
        }
        let circle = [("a", Some("b/x")), ("b", Some("a/y"))];
        assert!(look(Links::Inside, &circle).unwrap_err().to_string().contains("member a: a link to b/x, which goes"));
        let ends = [("a", Some("b")), ("b", Some("a")), ("c", Some("gone"))];
        assert!(look(Links::Inside, &ends).is_ok());
    }

    #[test]
    fn forty_links_are_followed_and_no_more() {
        let names: Vec<String> = (0..40).map(|n| format!("l{n}")).collect();
        let texts: Vec<String> = (0..41).map(|n| format!("l{n}/f")).collect();
        let mut tree = vec![("d/f", None), ("l0", Some("d"))];
        tree.extend((1..40).map(|n| (names[n].as_str(), Some(names[n - 1].as_str()))));
        tree.push(("z", Some(&texts[38])));
        assert!(look(Links::Inside, &tree).is_ok());
        tree.push(("y", Some(&texts[39])));
        let e = look(Links::Inside, &tree).unwrap_err().to_string();
        assert!(e.contains("member y: a link to l39/f, which goes through more than 40 links"), "{e}");
    }

    #[test]
    fn links_are_taken_as_they_are_where_any_may_be() {
        for text in ["/etc/passwd", "../../../x", "../../loop/x"] {
            assert!(look(Links::Any, &[("d/l", Some(text)), ("loop", Some("loop"))]).is_ok(), "{text}");
        }
        for text in ["", "a\0b"] {
            let e = look(Links::Any, &[("l", Some(text))]).unwrap_err().to_string();
            assert!(e.ends_with("which is no possible target"), "{e}");
        }
        let long = "l".repeat(MAX_LINK + 1);
        assert!(look(Links::Any, &[("l", Some(&long))]).is_err());
    }

    #[test]
    fn many_links_through_long_ones_cost_each_once() {
        let way = "./".repeat(1000);
        let texts: Vec<String> = (0..40).map(|n| format!("{way}h{}/{way}", n + 1)).collect();
        let names: Vec<String> = (0..30_000).map(|n| format!("h{n}")).collect();
        let tree = names.iter().enumerate().map(|(n, name)| match n {
            0..38 => (name.as_str(), Some(texts[n].as_str())),
            _ => (name.as_str(), Some("h1/x/..")),
        });
        let started = std::time::Instant::now();
        let tree: Vec<_> = tree.filter(|(name, _)| *name != "h38").collect();
        look(Links::Inside, &tree).unwrap();
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }
}
