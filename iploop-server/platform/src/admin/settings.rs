//! Settings of the platform that admins change while it runs. Each is read where it takes effect, at each use.

use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::{AdminError, AdminService};
use crate::abuse::{Actor, AuditAction};
use crate::account::Standing;
use crate::accounts::EmailAddress;
use crate::field::{self, FieldProblem, keep, line};
use crate::ids::PlanId;

/// The seeded plan Starter (migration 2).
const STARTER: PlanId = PlanId::of(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
/// The free bytes of a new account: 5 GB, once.
const BONUS_BYTES: i64 = 5_000_000_000;
/// Most free bytes of a new account: 1 TB.
const MAX_BONUS_BYTES: i64 = 1_000_000_000_000;

/// All settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PlatformSettings {
    /// Whether strangers may register. Admins make accounts in any case.
    pub registrations_open: bool,
    /// Free bytes of a new account, once.
    pub bonus_bytes: i64,
    /// The plan that new accounts start on. It stays on offer.
    pub first_plan: PlanId,
    /// How far those who register are trusted from the start.
    pub new_standing: Standing,
    /// Shown on the status page and in `/api/platform`, such as a planned interruption.
    pub notice: Option<String>,
    /// Where customers write to; shown likewise.
    pub support_address: Option<String>,
}

impl Default for PlatformSettings {
    fn default() -> Self {
        Self {
            registrations_open: true,
            bonus_bytes: BONUS_BYTES,
            first_plan: STARTER,
            new_standing: Standing::New,
            notice: None,
            support_address: None,
        }
    }
}

/// The settings as they are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionedSettings {
    /// Counts up with every change.
    pub version: u64,
    /// The settings.
    pub settings: PlatformSettings,
}

/// What came of writing settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettingsWritten {
    /// Written, with this version.
    Done(u64),
    /// They have another version than the writer read.
    Changed,
    /// There is no such plan on offer.
    PlanNotOffered,
}

impl AdminService {
    /// The settings.
    ///
    /// # Errors
    /// If the data can't be read.
    pub async fn settings(&self) -> Result<VersionedSettings, AdminError> {
        Ok(self.parts().store.settings().await?)
    }

    /// Sets all of them; in force at every process when this returns.
    ///
    /// # Errors
    /// If a field is wrong, or they changed since `version` was read.
    pub async fn change_settings(
        &self,
        actor: Actor,
        version: u64,
        wanted: PlatformSettings,
        reason: &str,
    ) -> Result<VersionedSettings, AdminError> {
        let reason = field::reason(reason)?;
        let settings = checked(wanted)?;
        let mut entry = self.entry(
            actor,
            AuditAction::SettingsChanged,
            None,
            "settings".to_owned(),
            &reason,
        );
        entry.after = json!(settings);
        let written = self
            .parts()
            .store
            .change_settings(version, &settings, entry)
            .await?;
        match written {
            SettingsWritten::Done(version) => Ok(VersionedSettings { version, settings }),
            SettingsWritten::Changed => Err(AdminError::SettingsChanged),
            SettingsWritten::PlanNotOffered => {
                Err(AdminError::field("firstPlan", "There is no such plan on offer"))
            }
        }
    }
}

fn checked(mut settings: PlatformSettings) -> Result<PlatformSettings, AdminError> {
    let mut problems = Vec::new();
    if !(0..=MAX_BONUS_BYTES).contains(&settings.bonus_bytes) {
        problems.push(FieldProblem::new("bonusBytes", "bonusBytes must be 0 to 10^12"));
    }
    let notice = settings.notice.as_deref().unwrap_or_default();
    if let Some(notice) = keep(line("notice", "The notice", notice, 0, 500), &mut problems) {
        settings.notice = Some(notice).filter(|notice| !notice.is_empty());
    }
    let address = settings.support_address.as_deref().map(str::trim);
    if let Some(address) = address.filter(|address| !address.is_empty()) {
        let parsed = address
            .parse::<EmailAddress>()
            .map_err(|problem| FieldProblem::new("supportAddress", problem.message));
        settings.support_address = keep(parsed, &mut problems).map(|address| address.to_string());
    } else {
        settings.support_address = None;
    }
    match problems.is_empty() {
        true => Ok(settings),
        false => Err(AdminError::Invalid(problems)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_absent_in_the_database_has_its_default() {
        let read = |text: &str| serde_json::from_str::<PlatformSettings>(text).unwrap();
        assert_eq!(read("{}"), PlatformSettings::default());
        let closed = read(r#"{"registrationsOpen":false,"ofALaterRelease":1}"#);
        assert_eq!(
            closed,
            PlatformSettings {
                registrations_open: false,
                ..PlatformSettings::default()
            }
        );
    }

    #[test]
    fn every_mistake_is_named_and_texts_are_trimmed() {
        let wrong = PlatformSettings {
            bonus_bytes: -1,
            notice: Some("a\u{7}".to_owned()),
            support_address: Some("nobody".to_owned()),
            ..PlatformSettings::default()
        };
        let Err(AdminError::Invalid(problems)) = checked(wrong) else {
            panic!("accepted")
        };
        let fields: Vec<_> = problems.iter().map(|problem| problem.field).collect();
        assert_eq!(fields, ["bonusBytes", "notice", "supportAddress"]);
        let blank = PlatformSettings {
            notice: Some("  ".to_owned()),
            support_address: Some(" help@example.com ".to_owned()),
            ..PlatformSettings::default()
        };
        let blank = checked(blank).unwrap();
        assert_eq!(
            (blank.notice, blank.support_address.as_deref()),
            (None, Some("help@example.com"))
        );
    }
}
