//! Users and groups, by name or number, from /etc/passwd and /etc/group: a static binary has no other name services.

use super::suggest::hint;
use crate::model::Owner;

/// The users and groups of this host.
#[derive(Debug, Default)]
pub struct Accounts {
    passwd: String,
    group: String,
}

/// A user that a program can run as.
#[derive(Debug, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub name: String,
    /// User and group ids.
    pub owner: Owner,
    /// All groups.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

impl Accounts {
    /// Reads /etc/passwd and /etc/group. An image may lack both: then only numbers can be used.
    pub fn read() -> Result<Self, String> {
        let read = |path: &str| match std::fs::read(path) {
            Ok(content) => Ok(String::from_utf8_lossy(&content).into_owned()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(e) => Err(format!("cannot read {path}: {}", crate::error::plain(&e))),
        };
        Ok(Self { passwd: read("/etc/passwd")?, group: read("/etc/group")? })
    }

    /// The id of a user.
    pub fn uid(&self, text: &str) -> Result<u32, String> {
        id(&self.passwd, "user", text, "/etc/passwd")
    }

    /// The id of a group.
    pub fn gid(&self, text: &str) -> Result<u32, String> {
        id(&self.group, "group", text, "/etc/group")
    }

    /// A user that a program is to run as; a line in /etc/passwd is required.
    pub fn user(&self, text: &str) -> Result<User, String> {
        let missing = || missing("user", text, "/etc/passwd", &self.passwd);
        let row = row(&self.passwd, text).ok_or_else(missing)?;
        let (uid, gid) = (row.get(2).and_then(|n| number(n)), row.get(3).and_then(|n| number(n)));
        let (Some(uid), Some(gid)) = (uid, gid) else { return Err(missing()) };
        let name = row[0];
        let mut groups = vec![gid];
        for line in self.group.lines() {
            let group: Vec<&str> = line.split(':').collect();
            let is_member = group.get(3).is_some_and(|members| members.split(',').any(|member| member == name));
            groups.extend(group.get(2).filter(|_| is_member).and_then(|n| number(n)).filter(|n| *n != gid));
        }
        let home = row.get(5).filter(|home| !home.is_empty()).unwrap_or(&"/");
        Ok(User { name: name.to_owned(), owner: Owner { uid, gid }, groups, home: (*home).to_owned() })
    }

    /// Parses `user[:group]`, each a name or a number.
    pub fn owner(&self, text: &str) -> Result<Owner, String> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let uid = self.uid(user)?;
        let gid = match group {
            Some(name) => self.gid(name)?,
            None => row(&self.passwd, user)
                .and_then(|row| number(row.get(3)?))
                .ok_or_else(|| format!("/etc/passwd has no user {user} to take the group from: write {user}:GROUP"))?,
        };
        Ok(Owner { uid, gid })
    }
}

/// The number itself, or the id of the row with this name.
fn id(file: &str, what: &str, name: &str, path: &str) -> Result<u32, String> {
    let of_row = || row(file, name).and_then(|row| number(row.get(2)?));
    number(name).or_else(of_row).ok_or_else(|| missing(what, name, path, file))
}

/// The row with the name or number `wanted`: both files have the same first columns.
fn row<'a>(file: &'a str, wanted: &str) -> Option<Vec<&'a str>> {
    let column = if number(wanted).is_some() { 2 } else { 0 };
    file.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|row| row.get(column) == Some(&wanted))
}

/// The id of a user or a group. The largest one means "none" to the kernel.
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

    fn accounts() -> Accounts {
        Accounts { passwd: PASSWD.into(), group: GROUP.into() }
    }

    #[test]
    fn a_user_who_runs_something_has_all_his_groups_and_his_home() {
        let user = accounts().user("app").unwrap();
        assert_eq!(
            (user.owner, user.groups, user.home.as_str()),
            (Owner { uid: 1000, gid: 1001 }, vec![1001, 50], "/home/app")
        );
        assert_eq!(accounts().user("1000").unwrap().name, "app");
        assert_eq!(accounts().user("www-data").unwrap().groups, [33]);
        for nobody in ["", "no", "4242", "broken", "+"] {
            assert!(accounts().user(nobody).unwrap_err().contains("/etc/passwd has no user"), "{nobody}");
        }
    }

    #[test]
    fn names_and_numbers_are_users_and_groups() {
        let accounts = accounts();
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
            match (accounts.owner(text), expected) {
                (Ok(owner), Ok((uid, gid))) => assert_eq!(owner, Owner { uid, gid }, "{text}"),
                (Err(why), Err(part)) => assert!(why.contains(part), "{text}: {why}"),
                (got, _) => panic!("{text}: {got:?}"),
            }
        }
    }
}
