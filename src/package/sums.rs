//! A list of SHA-256 sums, in the format of `sha256sum` (`HEX  NAME`, `HEX *NAME`) or of `sha256sum --tag` and the BSDs
//! (`SHA256 (NAME) = HEX`). Other lines, those of other hashes too, are ignored.

/// The sum of `name` in `list`, in lower case. Names in the list may begin with `./`.
pub fn find(list: &[u8], name: &str) -> Result<String, String> {
    let list = String::from_utf8_lossy(list);
    let rows: Vec<_> = list.trim_start_matches('\u{feff}').lines().filter_map(row).collect();
    let mut of_name = rows.iter().filter(|(its, _)| its.strip_prefix("./").unwrap_or(its) == name).map(|(_, sum)| sum);
    match of_name.next() {
        Some(sum) if of_name.all(|other| other == sum) => Ok(sum.clone()),
        Some(_) => Err(format!("it has more than one sum for {name}")),
        None if rows.is_empty() => Err("it has no line `HEX  NAME` or `SHA256 (NAME) = HEX`".to_owned()),
        None => Err(format!(
            "it has sums of {} file{}, and none of {name}",
            rows.len(),
            if rows.len() == 1 { "" } else { "s" }
        )),
    }
}

/// The name and the sum in a line.
fn row(line: &str) -> Option<(&str, String)> {
    let (name, sum) = match line.strip_prefix("SHA256 (") {
        Some(rest) => rest.rsplit_once(") = ")?,
        None => {
            let (sum, name) = line.split_once(' ')?;
            (name.strip_prefix([' ', '*'])?, sum)
        }
    };
    let sum = sum.trim_end();
    let is_sum = sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_hexdigit());
    is_sum.then(|| (name, sum.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read() {
        let (a, b) = ("aB".repeat(32), "cd".repeat(32));
        let lower = a.to_lowercase();
        for list in [
            format!("{a}  app.zip\n"),
            format!("{a} *app.zip"),
            format!("{b}  other.zip\r\n{a}  app.zip\r\n"),
            format!("SHA256 (app.zip) = {a}\n"),
            format!("MD5 (app.zip) = {}\nSHA256 (other) = {b}\r\nSHA256 (app.zip) = {a}\r\n", "0".repeat(32)),
            format!("\u{feff}{a}  ./app.zip"),
            format!("# sums\n\n{}{}  app.zip\n{a}  app.zip\n{lower}  app.zip", b, b),
        ] {
            assert_eq!(find(list.as_bytes(), "app.zip"), Ok(lower.clone()), "{list}");
        }
        assert_eq!(find(format!("{b}  a b (1).zip").as_bytes(), "a b (1).zip"), Ok(b.clone()));
        assert_eq!(find(format!("SHA256 (a b (1).zip) = {b}").as_bytes(), "a b (1).zip"), Ok(b));
    }

    #[test]
    fn what_does_not_name_the_archive_once_is_refused() {
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        for (list, why) in [
            (String::new(), "it has no line"),
            (a.clone(), "it has no line"),
            (format!("{a} app.zip"), "it has no line"),
            (format!("{}  app.zip", &a[1..]), "it has no line"),
            (format!("{a}  dist/app.zip"), "sums of 1 file, and none of app.zip"),
            (format!("{a}  xapp.zip\n{a}  app.zip.old"), "sums of 2 files"),
            (format!("{a}  app.zip\n{b}  app.zip"), "more than one sum for app.zip"),
        ] {
            let error = find(list.as_bytes(), "app.zip").unwrap_err();
            assert!(error.contains(why), "{list}: {error}");
        }
    }
}
