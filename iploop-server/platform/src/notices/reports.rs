//! When which report is due. By UTC: a week begins on Monday, and its report goes out in the morning after it.

use std::time::Duration;

use serde_json::json;
use time::{Date, Month, OffsetDateTime, Time};

use super::{NewReport, Notice};
use crate::clock::{DAY, Timestamp};

/// Hour of the morning in which reports go out.
const MORNING: Duration = Duration::from_secs(7 * 3600);

/// The reports that are due by now. Each stays due until the next of its kind, so a server that was away catches up once.
pub(super) fn due(now: Timestamp) -> Vec<NewReport> {
    // Until the morning the last ones stand.
    let today = now.minus(MORNING).day_start();
    let days_since_monday = i64::from(today.utc_day()).saturating_add(3).rem_euclid(7);
    let monday = today.minus(DAY * u32::try_from(days_since_monday).unwrap_or(0));
    let weekly = report(Notice::WeeklyReport, "weekly", monday.minus(DAY * 7), monday);
    let date = today.to_utc().date();
    let first = first_of(date.year(), date.month());
    let (year, month) = match date.month() {
        Month::January => (date.year() - 1, Month::December),
        month => (date.year(), month.previous()),
    };
    let monthly = report(Notice::MonthlyReport, "monthly", first_of(year, month), first);
    vec![weekly, monthly]
}

fn report(notice: Notice, name: &str, from: Timestamp, to: Timestamp) -> NewReport {
    NewReport {
        notice,
        occasion: format!("{name}:{}", to.to_utc().date()),
        data: json!({ "from": from, "to": to }),
        made_before: to,
    }
}

fn first_of(year: i32, month: Month) -> Timestamp {
    let date = Date::from_calendar_date(year, month, 1).unwrap_or(Date::MIN);
    let seconds = OffsetDateTime::new_utc(date, Time::MIDNIGHT).unix_timestamp();
    Timestamp::from_millis(seconds.saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occasions(now: &str) -> Vec<String> {
        let now: Timestamp = serde_json::from_value(json!(now)).unwrap();
        due(now)
            .into_iter()
            .map(|report| {
                format!(
                    "{} {} {}",
                    report.occasion, report.data["from"], report.data["to"]
                )
            })
            .collect()
    }

    #[test]
    fn a_report_is_due_from_the_morning_after_its_period_until_the_next() {
        let weekly = |day: &str, from: &str| format!("weekly:{day} \"{from}T00:00:00Z\" \"{day}T00:00:00Z\"");
        // 23 November 2026 is a Monday.
        for (now, day, from) in [
            ("2026-11-23T06:59:59Z", "2026-11-16", "2026-11-09"),
            ("2026-11-23T07:00:00Z", "2026-11-23", "2026-11-16"),
            ("2026-11-29T23:59:59Z", "2026-11-23", "2026-11-16"),
            ("2026-11-30T06:00:00Z", "2026-11-23", "2026-11-16"),
            ("2026-11-30T08:00:00Z", "2026-11-30", "2026-11-23"),
        ] {
            assert_eq!(occasions(now)[0], weekly(day, from), "{now}");
        }
        for (now, day, from) in [
            ("2027-01-01T06:59:00Z", "2026-12-01", "2026-11-01"),
            ("2027-01-01T07:00:00Z", "2027-01-01", "2026-12-01"),
            ("2028-03-31T12:00:00Z", "2028-03-01", "2028-02-01"),
        ] {
            assert_eq!(
                occasions(now)[1],
                format!("monthly:{day} \"{from}T00:00:00Z\" \"{day}T00:00:00Z\""),
                "{now}"
            );
        }
    }
}
