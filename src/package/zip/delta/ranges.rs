//! Joins ranges, so that fewer requests fetch them.

use std::ops::Range;

/// Joins `ranges`, which are in order and apart, across gaps below `gap`, then across the smallest gaps until at most
/// `most` are left.
pub(super) fn join(ranges: Vec<Range<u64>>, gap: u64, most: usize) -> Vec<Range<u64>> {
    let near = joined(ranges, |space| space < gap);
    if near.len() <= most {
        return near;
    }
    let mut spaces: Vec<u64> = near.windows(2).map(|pair| pair[1].start - pair[0].end).collect();
    // The largest gaps stay. Of several that are equal to the smallest of these, none does.
    spaces.sort_unstable_by(|a, b| b.cmp(a));
    let limit = spaces.get(most - 1).copied().unwrap_or(0);
    joined(near, |space| space <= limit)
}

fn joined(ranges: Vec<Range<u64>>, is_small: impl Fn(u64) -> bool) -> Vec<Range<u64>> {
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if is_small(range.start.saturating_sub(last.end)) => last.end = range.end,
            _ => joined.push(range),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_across_small_gaps_and_across_the_smallest_when_too_many() {
        let apart = |starts: &[u64]| starts.iter().map(|start| *start..start + 10).collect::<Vec<_>>();
        for (starts, most, expected) in [
            (&[][..], 3, vec![]),
            (&[0], 1, vec![(0, 10)]),
            (&[0, 10, 24, 42], 9, vec![(0, 34), (42, 52)]),
            (&[0, 15, 100, 1000], 9, vec![(0, 10), (15, 25), (100, 110), (1000, 1010)]),
            (&[0, 15, 100, 1000], 3, vec![(0, 25), (100, 110), (1000, 1010)]),
            (&[0, 15, 100, 1000], 2, vec![(0, 110), (1000, 1010)]),
            (&[0, 15, 100, 1000], 1, vec![(0, 1010)]),
            (&[0, 20, 40, 60], 2, vec![(0, 70)]),
        ] {
            let joined = join(apart(starts), 5, most).into_iter().map(|range| (range.start, range.end));
            assert_eq!(joined.collect::<Vec<_>>(), expected, "{starts:?} {most}");
        }
    }
}
