//! The consent text, and the act of agreeing to it on a command line.

use std::io::Write;

use anyhow::Result;
use iploop_node::{Clock, Consent, ConsentAct, NetworkKind, OwnersWord, StateDir, SystemClock};

use crate::exit::End;

/// Version of the text that this agent shows.
pub const TERMS_VERSION: &str = "2026-11";

/// The text that this agent shows.
pub const TERMS_TEXT: &str = include_str!("../terms/2026-11.txt");

/// What the owner says on the command line.
pub(crate) struct Answer<'a> {
    /// The version that `--accept-terms` names.
    pub(crate) accepts: Option<&'a str>,
    /// `--mobile-data`.
    pub(crate) mobile_data: bool,
}

/// The consent to run with: the one on record, or a new one if the owner agrees now. A withdrawal stands.
pub(crate) fn consent_to_run(state: &StateDir, answer: &Answer<'_>) -> Result<Consent> {
    let accepts = answer.checked()?;
    match state.consent()? {
        OwnersWord::Withdrawn(withdrawn) => Err(End::consent(format!(
            "Not sharing: you withdrew your consent on {}. To share again: iploop-node consent --accept-terms {TERMS_VERSION}",
            withdrawn.at()
        ))
        .into()),
        OwnersWord::Given(consent) if answer.is_covered_by(&consent) => Ok(consent),
        OwnersWord::Given(_) | OwnersWord::None => {
            if accepts {
                answer.act()
            } else {
                Err(not_agreed().into())
            }
        }
    }
}

/// A new consent, whatever was said before.
pub(crate) fn consent_anew(answer: &Answer<'_>) -> Result<Consent> {
    if answer.checked()? {
        answer.act()
    } else {
        Err(not_agreed().into())
    }
}

impl Answer<'_> {
    /// Whether the owner agrees to the text that there is. Agreeing to another one is an error.
    fn checked(&self) -> Result<bool, End> {
        match self.accepts {
            None => Ok(false),
            Some(TERMS_VERSION) => Ok(true),
            Some(other) => Err(End::consent(format!(
                "There is no text {other:?} to accept; this agent's text is {TERMS_VERSION}. Read it by running without --accept-terms."
            ))),
        }
    }

    /// Whether the record says all that this answer says, and still lasts.
    fn is_covered_by(&self, consent: &Consent) -> bool {
        let lasts = consent.check_current(SystemClock.now()).is_ok();
        let says_it_all = self.accepts.is_none() || consent.allows(NetworkKind::Cellular) == self.mobile_data;
        lasts && says_it_all && consent.is_for(TERMS_VERSION, TERMS_TEXT)
    }

    /// The affirmative act: the owner typed the version of the text, which is shown with it.
    fn act(&self) -> Result<Consent> {
        show();
        let mut networks = vec![NetworkKind::Wifi, NetworkKind::Ethernet];
        if self.mobile_data {
            networks.push(NetworkKind::Cellular);
        }
        let act = ConsentAct {
            text_version: TERMS_VERSION.to_owned(),
            text: TERMS_TEXT.to_owned(),
            language: "en".to_owned(),
            act: "command-line".to_owned(),
            networks,
            minimum_age: true,
        };
        Ok(Consent::given(act, SystemClock.now())?)
    }
}

fn not_agreed() -> End {
    show();
    End::consent(format!(
        "Not sharing: it needs your consent. If you agree to the text above, add --accept-terms {TERMS_VERSION}"
    ))
}

fn show() {
    // Nobody may be listening any longer.
    let _ = writeln!(std::io::stderr(), "{TERMS_TEXT}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(accepts: Option<&str>) -> Answer<'_> {
        Answer {
            accepts,
            mobile_data: false,
        }
    }

    #[test]
    fn only_the_text_that_there_is_can_be_accepted() {
        let temp = tempfile::tempdir().unwrap();
        let state = StateDir::open(temp.path()).unwrap();
        let error = consent_to_run(&state, &answer(Some("2020-01")))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("2020-01") && error.contains(TERMS_VERSION),
            "{error}"
        );
        assert!(consent_to_run(&state, &answer(None)).is_err());
        assert!(TERMS_TEXT.contains(&format!("--accept-terms {TERMS_VERSION}")));
    }

    #[test]
    fn one_act_is_one_record() {
        let temp = tempfile::tempdir().unwrap();
        let state = StateDir::open(temp.path()).unwrap();
        let first = consent_to_run(&state, &answer(Some(TERMS_VERSION))).unwrap();
        state.record(&first).unwrap();
        assert_eq!(
            consent_to_run(&state, &answer(Some(TERMS_VERSION))).unwrap(),
            first
        );
        assert_eq!(consent_to_run(&state, &answer(None)).unwrap(), first);
        let mobile = Answer {
            accepts: Some(TERMS_VERSION),
            mobile_data: true,
        };
        let second = consent_to_run(&state, &mobile).unwrap();
        assert!(second.id() != first.id() && second.allows(NetworkKind::Cellular));
    }

    #[test]
    fn run_never_undoes_a_withdrawal() {
        let temp = tempfile::tempdir().unwrap();
        let state = StateDir::open(temp.path()).unwrap();
        let consent = consent_anew(&answer(Some(TERMS_VERSION))).unwrap();
        state.record(&consent).unwrap();
        state.withdraw(SystemClock.now(), "").unwrap();
        let error = consent_to_run(&state, &answer(Some(TERMS_VERSION)))
            .unwrap_err()
            .to_string();
        assert!(error.contains("withdrew"), "{error}");
        state
            .record(&consent_anew(&answer(Some(TERMS_VERSION))).unwrap())
            .unwrap();
        assert!(consent_to_run(&state, &answer(None)).is_ok());
    }
}
