//! `owner`: names from /etc/passwd and /etc/group, which are read here: a static binary has no other name services.

use super::nearest::hint;
use crate::model::Owner;

/// Reads `user[:group]`, each a name or a number. `passwd` and `group` are the two files.
pub fn parse(text: &str, passwd: &str, group: &str) -> Result<Owner, String> {
    let (user, wanted_group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let uid = self::user(user, passwd)?;
    let gid = match wanted_group {
        Some(name) => self::group(name, group)?,
        None => row(passwd, user)
            .and_then(|row| number(row.get(3)?))
            .ok_or_else(|| format!("/etc/passwd has no user {user} to take the group from: write {user}:GROUP"))?,
    };
    Ok(Owner { uid, gid })
}

/// The number of a user, who is a name in /etc/passwd or a number.
pub fn user(name: &str, passwd: &str) -> Result<u32, String> {
    id("user", name, "/etc/passwd", passwd)
}

/// The number of a group, which is a name in /etc/group or a number.
pub fn group(name: &str, group: &str) -> Result<u32, String> {
    id("group", name, "/etc/group", group)
}

fn id(what: &str, name: &str, file: &str, content: &str) -> Result<u32, String> {
    let id = number(name).or_else(|| number(row(content, name)?.get(2)?));
    id.ok_or_else(|| missing(what, name, file, content))
}

/// The row whose name or number is `wanted`: both files have them in the same columns.
fn row<'a>(file: &'a str, wanted: &str) -> Option<Vec<&'a str>> {
    let column = if number(wanted).is_some() { 2 } else { 0 };
    file.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|row| row.get(column) == Some(&wanted))
}

/// A user's or a group's number. The last one means "none" to the kernel.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|n| digits && *n != u32::MAX)
}

fn missing(what: &str, name: &str, file: &str, content: &str) -> String {
    let names = content.lines().filter_map(|line| line.split(':').next()).filter(|n| !n.is_empty());
    format!("{file} has no {what} {name} (other sources of names are not asked: give a number){}", hint(name, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:\napp:x:1000:1001::/home/app:/bin/sh\nbroken\n+::::::\n";
    const GROUP: &str = "root:x:0:\nwww-data:x:33:\nstaff:x:50:app\n";

    #[test]
    fn names_and_numbers_are_users_and_groups() {
        for (text, expected) in [
            ("app", Ok((1000, 1001))),
            ("app:staff", Ok((1000, 50))),
            ("app:7", Ok((1000, 7))),
            ("1000", Ok((1000, 1001))),
            ("33:staff", Ok((33, 50))),
            ("0", Ok((0, 0))),
            ("4242:4242", Ok((4242, 4242))),
            ("4242", Err("/etc/passwd has no user 4242 to take the group from: write 4242:GROUP")),
            ("www-dat", Err("did you mean www-data?")),
            ("app:stafff", Err("/etc/group has no group stafff")),
            ("app:", Err("/etc/group has no group ")),
            (":staff", Err("/etc/passwd has no user ")),
            ("broken", Err("/etc/passwd has no user broken")),
            ("a:b:c", Err("/etc/passwd has no user a")),
            ("-1:0", Err("/etc/passwd has no user -1")),
            ("4294967295:0", Err("/etc/passwd has no user 4294967295")),
            ("0:99999999999", Err("/etc/group has no group 99999999999")),
        ] {
            match (parse(text, PASSWD, GROUP), expected) {
                (Ok(owner), Ok((uid, gid))) => assert_eq!(owner, Owner { uid, gid }, "{text}"),
                (Err(why), Err(part)) => assert!(why.contains(part), "{text}: {why}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }
}
