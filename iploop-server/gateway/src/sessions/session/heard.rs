//! What a session makes of what other gateways know of it, when the answer comes.
//!
//! News may come while an answer is under way. It is older than the news then, and the session stays unknown: whoever uses it
//! next asks again.

use iploop_platform::clock::Timestamp;
use iploop_platform::shared::SharedError;
use iploop_platform::sticky::SharedSession;

use super::State;

/// A question that is under way.
#[derive(Debug)]
pub(in super::super) struct Question {
    /// [`State::forgotten`] when it was asked.
    forgotten: u64,
}

impl State {
    /// Another gateway changed it, or may have: it is to be asked anew.
    pub(in super::super) fn forget(&mut self) {
        self.is_known = false;
        self.forgotten += 1;
    }

    /// What to ask of the others; none where that is known.
    pub(in super::super) fn ask(&self) -> Option<Question> {
        let forgotten = self.forgotten;
        (!self.is_known).then_some(Question { forgotten })
    }

    /// Takes in the answer. True: nobody knows of it, and what it is here is to be told.
    pub(in super::super) fn hear(
        &mut self,
        asked: &Question,
        answer: Result<Option<SharedSession>, SharedError>,
        now: Timestamp,
    ) -> bool {
        // Also while the shared state is away: its return makes all unknown.
        self.is_known = self.forgotten == asked.forgotten;
        match answer {
            // What changed here meanwhile is newer.
            Ok(Some(_)) if self.is_untold => {}
            Ok(Some(SharedSession::Lives(kept))) => self.adopt(&kept, now),
            Ok(Some(SharedSession::Ended)) => self.end_elsewhere(now),
            Ok(None) => return self.has_exit(),
            Err(_) => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Arc;

    use iploop_platform::ids::{AccountId, NodeId};
    use iploop_platform::sticky::{HeldExit, StickySession as Kept};
    use iploop_protocol::targeting::Targeting;

    use super::super::{StickySession, Terms};
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_764_000_000_000);

    fn session() -> StickySession {
        let targeting = Arc::new(Targeting::parse("session-a").unwrap());
        let terms = Terms::of(&targeting).unwrap();
        StickySession::new(AccountId::new(), "a".into(), terms, NOW)
    }

    fn ip(last: u8) -> IpAddr {
        [198, 51, 100, last].into()
    }

    /// The same session as another gateway wrote it down, with this exit.
    fn elsewhere(session: &StickySession, exit: u8) -> Result<Option<SharedSession>, SharedError> {
        let (kept, _) = session.take_told().unwrap();
        Ok(Some(SharedSession::Lives(Box::new(Kept {
            exit: Some(HeldExit {
                node: NodeId::new(),
                ip: ip(exit),
                country: None,
                city: None,
                asn: None,
                since: NOW,
            }),
            ..kept
        }))))
    }

    fn holds(state: &State, exit: u8) -> bool {
        state.exit_at(ip(exit)).is_some()
    }

    #[test]
    fn news_during_an_answer_has_it_asked_once_more_and_the_newest_stays() {
        let session = session();
        let (old, new) = (elsewhere(&session, 1), elsewhere(&session, 2));
        let mut state = session.state.lock();
        let first = state.ask().unwrap();
        state.forget();
        assert!(!state.hear(&first, old, NOW));
        assert!(holds(&state, 1), "better than nothing, until the next answer");
        let second = state.ask().expect("what came is older than the news");
        assert!(!state.hear(&second, new, NOW));
        assert!(holds(&state, 2) && state.ask().is_none());
    }

    #[test]
    fn an_answer_to_an_older_question_does_not_make_it_known() {
        let session = session();
        let (old, new) = (elsewhere(&session, 1), elsewhere(&session, 2));
        let mut state = session.state.lock();
        let first = state.ask().unwrap();
        state.forget();
        let second = state.ask().unwrap();
        state.hear(&second, new, NOW);
        assert!(state.ask().is_none());
        state.forget();
        state.hear(&first, old, NOW);
        assert!(state.ask().is_some());
    }

    #[test]
    fn what_changed_here_and_was_not_told_yet_is_newer_than_any_answer() {
        let session = session();
        let (ours, theirs) = (elsewhere(&session, 1), elsewhere(&session, 2));
        let mut state = session.state.lock();
        let question = state.ask().unwrap();
        state.hear(&question, ours, NOW);
        state.is_untold = true;
        state.forget();
        for answer in [theirs, Ok(Some(SharedSession::Ended))] {
            let question = state.ask().unwrap();
            assert!(!state.hear(&question, answer, NOW));
            assert!(holds(&state, 1));
            state.forget();
        }
    }

    #[test]
    fn what_nobody_knows_is_told_if_there_is_anything_to_tell() {
        let session = session();
        let exit = elsewhere(&session, 1);
        let mut state = session.state.lock();
        let question = state.ask().unwrap();
        assert!(!state.hear(&question, Ok(None), NOW));
        assert!(state.ask().is_none());
        state.forget();
        let question = state.ask().unwrap();
        state.hear(&question, exit, NOW);
        assert!(state.hear(&question, Ok(None), NOW) && holds(&state, 1));
    }

    #[test]
    fn while_nobody_answers_it_goes_on_with_what_it_knows() {
        let session = session();
        let exit = elsewhere(&session, 1);
        let mut state = session.state.lock();
        let question = state.ask().unwrap();
        state.hear(&question, exit, NOW);
        state.forget();
        let question = state.ask().unwrap();
        assert!(!state.hear(&question, Err(SharedError::Away), NOW));
        assert!(holds(&state, 1) && state.ask().is_none());
    }
}
