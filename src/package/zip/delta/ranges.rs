//! Joins ranges, so that fewer requests fetch them.

use std::ops::Range;

/// Joins `ranges`, which are in order and apart, across gaps below `gap`, and across larger ones as long as more than
/// `most` are left.
pub(super) fn join(mut ranges: Vec<Range<u64>>, mut gap: u64, most: usize) -> Vec<Range<u64>> {
    loop {
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            match joined.last_mut() {
                Some(last) if range.start - last.end < gap => last.end = range.end,
                _ => joined.push(range),
            }
        }
        if joined.len() <= most {
            return joined;
        }
        ranges = joined;
        gap += gap / 4;
    }
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
            (&[0, 150, 1000, 9000], 9, vec![(0, 10), (150, 160), (1000, 1010), (9000, 9010)]),
            (&[0, 150, 1000, 9000], 3, vec![(0, 160), (1000, 1010), (9000, 9010)]),
            (&[0, 150, 1000, 9000], 2, vec![(0, 1010), (9000, 9010)]),
            (&[0, 150, 1000, 9000], 1, vec![(0, 9010)]),
            (&[0, 20, 40, 60], 2, vec![(0, 70)]),
        ] {
            let joined = join(apart(starts), 5, most).into_iter().map(|range| (range.start, range.end));
            assert_eq!(joined.collect::<Vec<_>>(), expected, "{starts:?} {most}");
        }
    }
}
