//! One table over the whole domain: owner, mode, ACL, sticky bit, read-only mount, role. The result is compared with
//! the rule written a second time, as acl(5) and path_resolution(7) put it.

use super::*;

const US: Us = Us { uid: 7, gid: 8, friend: Some((9, 10)) };

fn meta(kind: Kind, uid: u32, gid: u32, mode: u32) -> Meta {
    let zero = (0, 0);
    Meta { kind, mode, uid, gid, size: 0, mtime: zero, ctime: zero, dev: 1, ino: 1, links: 1, allocated: 0 }
}

/// The extended attribute of an ACL with these entries: tag, permissions, id.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, perm, id) in entries {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(perm.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}

const NONE: u32 = u32::MAX;
const OWNER: (u16, u16, u32) = (0x01, 7, NONE);

/// ACLs, and the user or group that each lets write if the mask permits, in a directory of group root.
fn acls() -> Vec<(Vec<u8>, Option<Named>)> {
    let with = |entry: (u16, u16, u32), mask: u16| {
        acl(&[OWNER, entry, (GROUP_OBJ, 5, NONE), (MASK, mask, NONE), (OTHER, 5, NONE)])
    };
    vec![
        (Vec::new(), None),
        (with((USER, 7, 1234), 7), Some(Named::User(1234))),
        (with((USER, 2, 1234), 2), Some(Named::User(1234))),
        (with((USER, 5, 1234), 7), None),
        (with((USER, 7, 1234), 5), None), // masked
        (with((USER, 7, 0), 7), None),
        (with((USER, 7, 7), 7), None),
        (with((USER, 7, 9), 7), None),
        (with((GROUP, 7, 1234), 7), Some(Named::Group(1234))),
        (with((GROUP, 7, 1234), 5), None),
        (with((GROUP, 7, 8), 7), None),
        (with((GROUP, 7, 10), 7), None),
        (acl(&[OWNER, (GROUP_OBJ, 5, NONE), (OTHER, 7, NONE)]), Some(Named::Other)),
        (b"\x02".to_vec(), None), // not one at all
    ]
}

#[test]
fn the_whole_table_of_owner_mode_acl_sticky_mount_and_role() {
    let mut trusted = 0;
    let mut rows = 0;
    for uid in [0, 7, 9, 1234] {
        for gid in [0, 8, 10, 1234] {
            for mode in [0o755, 0o775, 0o757, 0o777, 0o700, 0o720, 0o702] {
                for sticky in [0, 0o1000] {
                    for is_read_only in [false, true] {
                        for role in [Role::OnTheWay, Role::Itself] {
                            for kind in [Kind::Dir, Kind::File] {
                                for (acl, by_acl) in acls() {
                                    for (default_acl, by_default) in [(Vec::new(), None), acls()[1].clone()] {
                                        let meta = meta(kind, uid, gid, mode | sticky);
                                        let facts = Facts { acl: acl.clone(), default_acl, is_read_only };
                                        let got = writer(&meta, &facts, role, US);
                                        let shields = is_read_only || (sticky != 0 && role == Role::OnTheWay);
                                        let group_bit = mode & 0o020 != 0;
                                        let expected = if ![0, 7, 9].contains(&uid) {
                                            Some(Writer::Owner(uid))
                                        } else if shields {
                                            None
                                        } else if mode & 0o002 != 0
                                            || group_bit && acl.is_empty() && ![0, 8, 10].contains(&gid)
                                        {
                                            Some(Writer::Others)
                                        } else if group_bit && by_acl.is_some() {
                                            by_acl.map(Writer::Acl)
                                        } else if role == Role::Itself && kind == Kind::Dir {
                                            by_default.map(Writer::DefaultAcl)
                                        } else {
                                            None
                                        };
                                        let case = format!("{meta:?} {facts:?} {role:?}");
                                        assert_eq!(got, expected, "{case}");
                                        rows += 1;
                                        trusted += u32::from(got.is_none());
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(rows > 40_000 && trusted > rows / 10 && trusted < rows, "{trusted} of {rows}: the table says something");
}

#[test]
fn an_owning_group_with_an_acl_writes_by_its_own_entry_not_by_the_mask() {
    let by = |perm: u16, gid: u32| {
        let acl = acl(&[OWNER, (USER, 5, 1), (GROUP_OBJ, perm, NONE), (MASK, 7, NONE), (OTHER, 0, NONE)]);
        let facts = Facts { acl, ..Facts::default() };
        writer(&meta(Kind::File, 0, gid, 0o770), &facts, Role::Itself, US)
    };
    assert_eq!((by(7, 0), by(5, 1234)), (None, None));
    assert_eq!(by(7, 1234), Some(Writer::Acl(Named::OwningGroup)));
}

#[test]
fn links_lead_where_their_owner_wants() {
    for (uid, expected) in [(0, None), (7, None), (9, None), (1234, Some(Writer::Link(1234)))] {
        assert_eq!(link(uid, US), expected, "{uid}");
    }
}

#[test]
fn what_is_wrong_says_what_mends_it() {
    for (writer, text) in [
        (Writer::Owner(5), "/x belongs to user 5: chown root /x"),
        (Writer::Others, "others may write /x: chmod go-w /x"),
        (Writer::Link(5), "/x is a link that belongs to user 5: chown -h root /x"),
        (Writer::Acl(Named::User(5)), "user 5 may write /x by its ACL: setfacl -x u:5 /x"),
        (
            Writer::DefaultAcl(Named::Group(5)),
            "group 5 may write what is made in /x by its default ACL: setfacl -d -x g:5 /x",
        ),
    ] {
        assert_eq!(Untrusted::new(Path::new("/x"), writer).to_string(), text);
    }
}
