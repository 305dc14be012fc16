//! Which period is asked for, in whose days, and in which form the answer is wanted.

use iploop_platform::account::Account;
use iploop_platform::clock::Timestamp;
use iploop_platform::field::FieldProblem;
use iploop_platform::ids::ApiKeyId;
use iploop_platform::statistics::{Period, PeriodError, Zone};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::error::ApiError;

/// Days of a period that nobody named.
const DEFAULT_DAYS: u32 = 30;

/// The form of an answer.
#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    #[default]
    Json,
    Csv,
}

/// Which period: `days`, or `from` and `to`.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(crate) struct PeriodQuery {
    /// The last days, today included, from midnight to midnight in `tz`.
    #[param(minimum = 1, maximum = 366, default = 30)]
    days: Option<u32>,
    /// Requests begun at or after this; sums are by 15 minutes, so it is moved back to the start of one.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Requests begun before this, moved on to the end of 15 minutes; without it: until now.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
    /// IANA name of a time zone, such as `Europe/Berlin`: whose days and hours; default: the account's.
    tz: Option<String>,
    /// Only what was used with this key.
    #[param(value_type = Option<String>, format = Uuid)]
    key: Option<ApiKeyId>,
    /// `json` or `csv` (RFC 4180, with a header line).
    #[param(inline)]
    format: Format,
}

/// What is asked for.
pub(super) struct Asked {
    pub(super) period: Period,
    pub(super) key: Option<ApiKeyId>,
    pub(super) format: Format,
}

/// From when to when.
#[derive(Serialize, ToSchema)]
pub(crate) struct PeriodInfo {
    /// Local days that it has or touches.
    days: usize,
    #[schema(value_type = String, format = DateTime)]
    from: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    to: Timestamp,
    /// Whose days and hours.
    #[schema(example = "Europe/Berlin")]
    tz: String,
}

impl PeriodQuery {
    /// As of `now`; without a zone, in the days of the account's.
    pub(super) fn read(self, now: Timestamp, account: &Account) -> Result<Asked, ApiError> {
        let zone = match self.tz.as_deref() {
            None | Some("") => Zone::named(&account.time_zone).unwrap_or_default(),
            Some(name) => Zone::named(name).map_err(|error| invalid("tz", &error))?,
        };
        let period = match (self.days, self.from, self.to) {
            (days, None, None) => {
                Period::last_days(zone, days.unwrap_or(DEFAULT_DAYS), now).map_err(|error| {
                    if error == PeriodError::TooLong {
                        invalid("days", &"days must be between 1 and 366")
                    } else {
                        invalid("days", &error)
                    }
                })
            }
            (None, Some(from), to) => {
                Period::between(zone, from, to.unwrap_or(now)).map_err(|error| invalid("to", &error))
            }
            (None, None, Some(_)) => Err(invalid("from", &"is needed beside to")),
            (Some(_), _, _) => Err(invalid("days", &"give either days, or from and to")),
        }?;
        Ok(Asked {
            period,
            key: self.key,
            format: self.format,
        })
    }
}

impl From<&Period> for PeriodInfo {
    fn from(period: &Period) -> Self {
        Self {
            days: period.days().len(),
            from: period.from,
            to: period.to,
            tz: period.zone.name().to_owned(),
        }
    }
}

fn invalid(field: &'static str, reason: &dyn std::fmt::Display) -> ApiError {
    ApiError::InvalidFields(vec![FieldProblem::new(field, reason.to_string())])
}
