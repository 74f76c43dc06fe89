//! What a left-over phase means. [`decide`] is pure and total: every phase, attempt and standing of the live tree has one
//! answer; doing it is `deploy/mod.rs`'s business.

use crate::activate::LiveTree;
use crate::model::{ActivationMode, ReleaseId};
use crate::store::state::{Found, Phase, State};

/// How often post hooks are tried again after a crash, before the way is back.
pub const MAX_ATTEMPTS: u32 = 3;

/// What to do before anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryAction {
    /// All is as the state says.
    Nothing,
    /// Nothing was ever live: remember what a revert of the first deployment has to put back.
    Fresh(Found),
    /// Our link, and no state: it is the live release.
    Adopt(ReleaseId),
    /// In-place on a directory with content: keep a copy before the first change.
    KeepFound,
    /// This cannot be deployed onto; in words.
    Refuse(&'static str),
    /// Idle: put the live release back where it is gone.
    Repair,
    /// Cut off before the first live change: begin again at the pre hooks.
    StartOver,
    /// Cut off while activating: make the target live again and run its post hooks.
    Resume,
    /// Finish going back.
    Revert,
}

/// What to do about `state` with the live tree as it stands.
pub fn decide(mode: ActivationMode, state: Option<&State>, standing: &LiveTree) -> RecoveryAction {
    let Some(state) = state else { return first(mode, standing) };
    let Some(current) = &state.current else {
        return match state.phase {
            Phase::Idle => first(mode, standing),
            phase => cut_off(mode, phase, state, standing, None),
        };
    };
    match (state.phase, mode, standing) {
        (_, ActivationMode::InPlace, LiveTree::Link(_) | LiveTree::Release(_) | LiveTree::Other) => {
            RecoveryAction::Refuse(NO_DIRECTORY)
        }
        (Phase::Idle, ActivationMode::Install, _) => RecoveryAction::Nothing,
        (Phase::Idle, ActivationMode::Symlink, LiveTree::Release(live)) if *live == current.release => {
            RecoveryAction::Nothing
        }
        (Phase::Idle, _, _) => RecoveryAction::Repair,
        (phase, _, _) => cut_off(mode, phase, state, standing, Some(&current.release)),
    }
}

const NO_DIRECTORY: &str =
    "it is a link or a file, and activation = in-place needs a directory: move it away, or say activation = symlink";
const HAS_CONTENT: &str = "it is a directory with content, and activation = symlink would hide it: move it away, or say activation = in-place";
const NO_LINK: &str = "it is neither a link nor a directory: move it away";

fn first(mode: ActivationMode, standing: &LiveTree) -> RecoveryAction {
    match (mode, standing) {
        // Nothing of ours is at <local>: the ledger knows what to put back.
        (ActivationMode::Install, _) => RecoveryAction::Fresh(Found::Absent),
        (_, LiveTree::Absent) => RecoveryAction::Fresh(Found::Absent),
        (_, LiveTree::Empty) => RecoveryAction::Fresh(Found::Empty),
        (ActivationMode::Symlink, LiveTree::Release(id)) => RecoveryAction::Adopt(id.clone()),
        (ActivationMode::Symlink, LiveTree::Link(target)) => RecoveryAction::Fresh(Found::Link(target.clone())),
        (ActivationMode::Symlink, LiveTree::Directory) => RecoveryAction::Refuse(HAS_CONTENT),
        (ActivationMode::Symlink, LiveTree::Other) => RecoveryAction::Refuse(NO_LINK),
        (ActivationMode::InPlace, LiveTree::Directory) => RecoveryAction::KeepFound,
        (ActivationMode::InPlace, LiveTree::Release(_) | LiveTree::Link(_) | LiveTree::Other) => {
            RecoveryAction::Refuse(NO_DIRECTORY)
        }
    }
}

fn cut_off(
    mode: ActivationMode,
    phase: Phase,
    state: &State,
    standing: &LiveTree,
    from: Option<&ReleaseId>,
) -> RecoveryAction {
    if phase == Phase::Reverting {
        return RecoveryAction::Revert;
    }
    let is_from = match (standing, from) {
        (LiveTree::Release(live), Some(from)) => live == from,
        (LiveTree::Absent, None) => true,
        (LiveTree::Empty, None) => state.found == Found::Empty,
        (LiveTree::Link(target), None) => state.found == Found::Link(target.clone()),
        _ => false,
    };
    // In place nobody can tell an untouched tree from one that was cut off early: forward heals both. So it does for an
    // installation, whose application may have been stopped already. Who goes back by hand has decided: no hook may block it.
    if is_from && mode == ActivationMode::Symlink && !state.is_rollback() {
        return RecoveryAction::StartOver;
    }
    if state.attempt < MAX_ATTEMPTS { RecoveryAction::Resume } else { RecoveryAction::Revert }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::deploy::recovery_action::*;
    use crate::model::{Revision, Validators};
    use crate::store::state::Record;

    fn id(n: u8) -> ReleaseId {
        ReleaseId::of("s", &Revision::new(n.to_string()), "")
    }

    fn record(n: u8) -> Record {
        Record {
            release: id(n),
            revision: Revision::new(n.to_string()),
            validators: Validators::default(),
            since: 0,
            proof: None,
        }
    }

    fn standings() -> Vec<LiveTree> {
        let mut all = vec![LiveTree::Absent, LiveTree::Empty, LiveTree::Directory, LiveTree::Other];
        all.extend([1, 2, 3].map(|n| LiveTree::Release(id(n))));
        all.extend(["x", "y"].map(|t| LiveTree::Link(t.into())));
        all
    }

    /// With and without a rollback at work.
    fn states() -> Vec<State> {
        let rolled_back = |mut state: State| {
            let live = state.current.clone()?;
            state.rolled_back.push(live);
            Some(state)
        };
        let plain = plain_states();
        plain.iter().cloned().chain(plain.iter().cloned().filter_map(rolled_back)).collect()
    }

    fn plain_states() -> Vec<State> {
        let mut all = Vec::new();
        for mode in ActivationMode::ALL {
            for phase in [Phase::Idle, Phase::Activating, Phase::Reverting] {
                for attempt in 1..=4 {
                    for found in [Found::Absent, Found::Empty, Found::Link("x".into())] {
                        for current in [None, Some(record(1))] {
                            let mut state = State::fresh(PathBuf::from("/l"), mode, found.clone());
                            (state.phase, state.attempt, state.current) = (phase, attempt, current);
                            state.target = Some(record(2));
                            all.push(state);
                        }
                    }
                }
            }
        }
        all
    }

    #[test]
    fn the_laws_hold_over_the_whole_domain() {
        for state in states() {
            for standing in standings() {
                let heal = decide(state.mode, Some(&state), &standing);
                let case = format!("{state:?}\n{standing:?}\n-> {heal:?}");
                match state.phase {
                    // Nothing live changes while idle but to put the live release back.
                    Phase::Idle => assert!(
                        !matches!(heal, RecoveryAction::Resume | RecoveryAction::Revert | RecoveryAction::StartOver),
                        "{case}"
                    ),
                    // A revert is finished, whatever stands there, unless it could destroy what is not ours.
                    Phase::Reverting => {
                        assert!(matches!(heal, RecoveryAction::Revert | RecoveryAction::Refuse(_)), "{case}");
                    }
                    Phase::Activating => {
                        assert!(
                            matches!(
                                heal,
                                RecoveryAction::StartOver
                                    | RecoveryAction::Resume
                                    | RecoveryAction::Revert
                                    | RecoveryAction::Refuse(_)
                            ),
                            "{case}"
                        );
                        if state.is_rollback() {
                            assert_ne!(
                                heal,
                                RecoveryAction::StartOver,
                                "what was decided by hand is not forgotten: {case}"
                            );
                        }
                        if heal == RecoveryAction::Resume {
                            assert!(state.attempt < MAX_ATTEMPTS, "it would try for ever: {case}");
                        }
                        if standing == LiveTree::Release(id(2)) && state.mode == ActivationMode::Symlink {
                            assert!(
                                matches!(heal, RecoveryAction::Resume | RecoveryAction::Revert),
                                "the target is live: {case}"
                            );
                        }
                    }
                }
                if state.phase == Phase::Idle && state.current.is_some() && standing == LiveTree::Release(id(1)) {
                    let expected = state.mode != ActivationMode::InPlace;
                    assert_eq!(heal == RecoveryAction::Nothing, expected, "{case}");
                }
                // An installation is a matter of the ledger, whatever stands at <local>.
                if state.mode == ActivationMode::Install {
                    assert_eq!(heal, decide(state.mode, Some(&state), &LiveTree::Absent), "{case}");
                    assert!(
                        !matches!(heal, RecoveryAction::Refuse(_) | RecoveryAction::StartOver | RecoveryAction::Repair),
                        "{case}"
                    );
                }
                // A directory with content is never replaced by a link.
                if standing == LiveTree::Directory && state.mode == ActivationMode::Symlink && state.current.is_none() {
                    assert_ne!(heal, RecoveryAction::Fresh(Found::Absent), "{case}");
                }
            }
        }
    }

    #[test]
    fn without_a_state_the_live_tree_decides() {
        use ActivationMode::{InPlace, Install, Symlink};
        let cases = [
            (Symlink, LiveTree::Absent, RecoveryAction::Fresh(Found::Absent)),
            (Symlink, LiveTree::Empty, RecoveryAction::Fresh(Found::Empty)),
            (Symlink, LiveTree::Release(id(1)), RecoveryAction::Adopt(id(1))),
            (Symlink, LiveTree::Link("x".into()), RecoveryAction::Fresh(Found::Link("x".into()))),
            (Symlink, LiveTree::Directory, RecoveryAction::Refuse(HAS_CONTENT)),
            (Symlink, LiveTree::Other, RecoveryAction::Refuse(NO_LINK)),
            (InPlace, LiveTree::Absent, RecoveryAction::Fresh(Found::Absent)),
            (InPlace, LiveTree::Empty, RecoveryAction::Fresh(Found::Empty)),
            (InPlace, LiveTree::Directory, RecoveryAction::KeepFound),
            (InPlace, LiveTree::Link("x".into()), RecoveryAction::Refuse(NO_DIRECTORY)),
            (InPlace, LiveTree::Other, RecoveryAction::Refuse(NO_DIRECTORY)),
            (Install, LiveTree::Absent, RecoveryAction::Fresh(Found::Absent)),
            (Install, LiveTree::Directory, RecoveryAction::Fresh(Found::Absent)),
            (Install, LiveTree::Link("x".into()), RecoveryAction::Fresh(Found::Absent)),
        ];
        for (mode, standing, expected) in cases {
            assert_eq!(decide(mode, None, &standing), expected, "{mode} {standing:?}");
        }
    }
}
