//! Sorting. The library's sort is compiled anew for every type, at 3 KB each: this one sorts numbers, and moves the
//! items to the places that the numbers say.

use std::cmp::Ordering;

/// Sorts items; equal ones keep their order.
pub fn sort<T>(items: &mut [T], order: &mut dyn FnMut(&T, &T) -> Ordering) {
    let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
    let mut from: Vec<u32> = (0..count).collect();
    sort_numbers(&mut from, &mut |a, b| order(&items[a as usize], &items[b as usize]));
    // Each item is swapped to its place, along the circle of places that it belongs to.
    for start in 0..count {
        let mut at = start;
        loop {
            let next = std::mem::replace(&mut from[at as usize], at);
            if next == start {
                break;
            }
            items.swap(at as usize, next as usize);
            at = next;
        }
    }
}

/// Sorts different numbers; what `order` calls equal comes by number.
pub fn sort_numbers(numbers: &mut [u32], order: &mut dyn FnMut(u32, u32) -> Ordering) {
    numbers.sort_unstable_by(|a, b| order(*a, *b).then_with(|| a.cmp(b)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_sorted_as_by_the_library() {
        let mut seed = 1_u32;
        for length in [0, 1, 2, 3, 7, 20, 21, 100, 5000] {
            let mut items: Vec<(u32, String)> = (0..length)
                .map(|n| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (seed >> 8 & 63, format!("{n}"))
                })
                .collect();
            let mut expected = items.clone();
            expected.sort_by_key(|(key, _)| *key);
            sort(&mut items, &mut |a, b| a.0.cmp(&b.0));
            assert_eq!(items, expected, "{length}");
        }
    }
}
