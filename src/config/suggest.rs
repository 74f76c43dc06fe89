//! Suggests the known word that is nearest to a misspelt one.

/// The candidate nearest to `word`; `None`: none is near enough to be worth printing.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(64).collect();
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.chars().collect::<Vec<_>>()), candidate))
        .filter(|(distance, candidate)| {
            let begins = word.len() >= 3 && candidate.chars().take(word.len()).eq(word.iter().copied());
            begins || *distance <= 1 + word.len().min(candidate.len()) / 4
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean X?`, or nothing.
pub fn hint<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map_or(String::new(), |c| format!("; did you mean {c}?"))
}

/// The number of insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use crate::config::suggest::*;

    #[test]
    fn distances_count_edits() {
        for (a, b, n) in [("", "", 0), ("a", "", 1), ("remot", "remote", 1), ("sotre", "store", 1), ("abc", "xyz", 3)] {
            let (a, b): (Vec<_>, Vec<_>) = (a.chars().collect(), b.chars().collect());
            assert_eq!((distance(&a, &b), distance(&b, &a)), (n, n), "{a:?} {b:?}");
        }
    }

    #[test]
    fn the_nearest_word_is_named_when_it_is_near() {
        let words = ["remote", "local", "max-files", "max-download", "keep"];
        for (word, expected) in [
            ("remot", Some("remote")),
            ("locla", Some("local")),
            ("max-file", Some("max-files")),
            ("max-down", Some("max-download")),
            ("kep", Some("keep")),
            ("frobnicate", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, words), expected, "{word}");
        }
        assert_eq!(nearest(&"remote".repeat(100_000), words), None);
    }
}
