//! The words of the program that tests compare: each stands here once, so that a text is changed in the program, here and on its page,
//! and nowhere else. Where the words are no promise, a test compares the exit code, the status file or the answer in JSON.
//! house.rs keeps it so: each phrase is one of the program, and no other file of the suite spells it out.

/// Each phrase as a constant, and all of them with their names for house.rs.
macro_rules! phrases {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*
        pub const ALL: &[(&str, &str)] = &[$((stringify!($name), $text)),*];
    };
}

phrases! {
    /// A deployment is over, and the release is live; see [`deployed_revision`] for that of a revision.
    DEPLOYED = "deployed revision";
    /// A check found nothing new; in the log with `-v` only.
    UNCHANGED = "unchanged:";
    /// The first check of a daemon, or the first after a failure, found nothing new.
    UP_TO_DATE = "up to date:";
    /// A pre hook failed, and the live tree was not touched.
    BLOCKED = "blocked:";
    /// A step after the switch failed.
    ROLLING_BACK = "rolling back";
    /// Rolling back is over, and the release before is live.
    LIVE_AGAIN = "is live again";
    /// The source still offers the release that an operator rolled back from.
    HELD_AFTER_ROLLBACK = "is on hold: rolled back to release";
    /// An operator rolled back: the answer of the command.
    ROLLED_BACK_TO = "rolled back to";
    /// The other half of that answer: how long the release that was live is on hold.
    HELD_UNTIL = "is on hold until the source has another one";
    /// The source still offers a revision that was refused.
    REFUSED_BEFORE = "refused before";
    /// A release was unpacked; a candidate that is kept is not unpacked again.
    UNPACKED = "unpacked release";
    /// The live tree is not at the release that the state names.
    DRIFT = "drift:";
    /// The store has lost the live release.
    LIVE_IS_GONE = "the live release is gone";
    /// A hook or script failed; the code follows.
    EXIT_CODE = "ended with exit code";
    /// A hook or script was stopped; the reason follows.
    WAS_ENDED = "was ended";
    /// A hook or script cannot be executed; the reason follows.
    CANNOT_START = "cannot start";
    /// A reason: the program after `#!`; its path and the trouble follow.
    ITS_INTERPRETER = "its interpreter";
    /// The run was stopped by a signal; its number follows.
    STOPPED_BY = "stopped by signal";
    /// Neither the release before nor the new one is live for certain.
    IN_DOUBT = "in doubt";
    /// The state is broken; the reason follows.
    UNREADABLE = "cannot be read";
    /// Another process holds the lock.
    AT_WORK = "another repo-deploy is at work";
    /// A command waits for the lock.
    WAITING = "waiting for another repo-deploy";
    /// The object of the remote does not exist; its name follows.
    NOTHING_AT = "there is nothing at";
    /// The source cannot be asked; its name and the reason follow.
    CANNOT_POLL = "cannot poll";
    /// The source has something new, and fetching it failed.
    CANNOT_FETCH = "cannot fetch";
    /// The listener of `notify-url`, or systemd, cannot be told; its name and the reason follow.
    CANNOT_NOTIFY = "cannot notify";
    /// A file cannot be read; its name and the reason follow.
    CANNOT_READ = "cannot read";
    /// A file cannot be written; its name and the reason follow.
    CANNOT_WRITE = "cannot write";
    /// A value is refused; its key, the value and the reason follow.
    CANNOT_USE = "cannot use";
    /// An unfinished download, deployment or configuration is used further; its name follows.
    RESUMED = "going on with";
    /// A server said Retry-After; the time follows.
    NOT_BEFORE = "asked for no request before";
    /// A server answered with a failure; the status follows.
    ANSWERED = "it answered";
    /// The user or key of a request that was refused.
    ASKED_AS = "asked as";
    /// A path is not trusted, for its mode; the path follows.
    OTHERS_MAY_WRITE = "others may write";
    /// A link is not trusted, for its owner; the number of the user follows.
    FOREIGN_LINK = "is a link that belongs to user";
    /// A path is not trusted, for its owner; the number of the user follows.
    BELONGS_TO = "belongs to user";
    /// Two places of the configuration lie in each other; the way out.
    APART = "keep the two apart";
    /// Two places of the configuration lie in each other; the inner one follows.
    CONTAINS = "it contains";
    /// An entry of the live tree that no release can have.
    NOT_A_FILE = "a FIFO, socket or device is";
    /// The way out for an entry that is in the way.
    MOVE_AWAY = "move it away";
    /// A file is wanted, and a directory is there.
    IS_A_DIRECTORY = "it is a directory";
    /// A user is not known; its name follows.
    NO_USER = "/etc/passwd has no user";
    /// A value has another form; the form follows.
    TAKES = "it takes";
    /// A word is not known; the nearest one follows.
    DID_YOU_MEAN = "did you mean";
    /// An option belongs to a command that was not given; the command follows.
    WITHOUT_COMMAND = "without the command";
    /// `validate` found no fault.
    VALID = "nothing is wrong with it";
    /// The first check of a daemon waits for its place in a fleet; the time follows.
    FIRST_CHECK = "first check at";
    /// The daemon has read the configuration again.
    READ_AGAIN = "read the configuration again";
    /// A hook or its directory is not trusted; the reason follows.
    IS_REFUSED = "is refused";
    /// A deployment that was cut off goes on; the number of the attempt follows.
    CUT_OFF = "was cut off: attempt";
    /// A remote or bundle has another format; the guess follows.
    NO_ARCHIVE = "is no ZIP";
    /// Nothing was configured for a request that was refused.
    WITHOUT_CREDENTIALS = "asked without credentials";
    /// The place that credentials come from follows; in the log with `-v` only.
    CREDENTIALS_OF = "AWS credentials:";
    /// A hook or script has the line ends of Windows.
    CARRIAGE_RETURN = "its first line ends in a carriage return";
    /// The archive has another SHA-256; the configured one follows.
    OTHER_SUM = "and sha256 says";
    /// A check, hook or script ended by a signal; the signal follows.
    WAS_KILLED = "was killed by";
    /// A command has nothing to do.
    LIVE_ALREADY = "is live already";
    /// The answer of `rollback` when it fails; the reason follows.
    CANNOT_ROLL_BACK = "cannot roll back";
    /// The live directory was replaced; its inode follows.
    OTHER_DIRECTORY = "another directory (inode";
    /// Another revision with nothing to deploy in it.
    SAME_CONTENT = "has the content that is live";
    /// The way out for a certificate of a CA that is not known.
    NAME_THE_CA = "name the CA's certificate with ca-file";
    /// A hook cannot be asked any more.
    HOOK_IS_GONE = "was there when the check began, and is gone";
    /// The way out for a release that is on hold.
    RETRY = "`repo-deploy retry` tries it again";
    /// The answer of `verify` without a release.
    NOTHING_TO_VERIFY = "nothing to verify";
    /// A FIFO or socket is no place for a log.
    NOBODY_READS = "nobody reads it";
    /// One entry of the live tree differs from the release; the tree follows.
    ONE_MISSING = "1 entry of";
    /// The signature is one of another archive.
    OTHER_BYTES = "it is not the signature of these bytes";
    /// The store has no release of the name that an operator gave.
    NO_SUCH_RELEASE = "there is no such release";
    /// The kind of credentials that the instance metadata service gave.
    OF_THE_INSTANCE = "of the instance (IMDSv2)";
}

/// [`DEPLOYED`] of one revision, or of those that begin so.
pub fn deployed_revision(revision: &str) -> String {
    format!("{DEPLOYED} {revision}")
}
