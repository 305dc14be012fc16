//! When which report is due, by the days of whoever gets it: a week begins on Monday, and its report goes out in the morning
//! after it.

use std::time::Duration;

use jiff::ToSpan as _;
use jiff::civil::Date;
use serde_json::json;

use super::{NewReport, Notice};
use crate::clock::Timestamp;
use crate::statistics::Zone;

/// Hour of the morning in which reports go out.
const MORNING: Duration = Duration::from_secs(7 * 3600);

/// The reports that are due by now in a time zone. Each stays due until the next of its kind, so a server that was away
/// catches up once.
pub(super) fn due(now: Timestamp, zone: &Zone) -> Vec<NewReport> {
    // Until the morning the last ones stand.
    let today = zone.date(now.minus(MORNING));
    let days = i64::from(today.weekday().to_monday_zero_offset());
    let monday = today.saturating_sub(days.days());
    let first = today.first_of_month();
    vec![
        report(
            Notice::WeeklyReport,
            "weekly",
            zone,
            monday.saturating_sub(7.days()),
            monday,
        ),
        report(
            Notice::MonthlyReport,
            "monthly",
            zone,
            first.saturating_sub(1.month()),
            first,
        ),
    ]
}

/// Named by its day, not by its moment: who moves to another time zone gets no second one.
fn report(notice: Notice, name: &str, zone: &Zone, first: Date, after: Date) -> NewReport {
    let (from, to) = (zone.midnight(first), zone.midnight(after));
    NewReport {
        notice,
        occasion: format!("{name}:{after}"),
        data: json!({ "from": from, "to": to, "timeZone": zone.name() }),
        time_zone: zone.name().to_owned(),
        made_before: to,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occasions(now: &str, zone: &str) -> Vec<String> {
        let now: Timestamp = serde_json::from_value(json!(now)).unwrap();
        due(now, &Zone::named(zone).unwrap())
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
            assert_eq!(occasions(now, "UTC")[0], weekly(day, from), "{now}");
        }
        for (now, day, from) in [
            ("2027-01-01T06:59:00Z", "2026-12-01", "2026-11-01"),
            ("2027-01-01T07:00:00Z", "2027-01-01", "2026-12-01"),
            ("2028-03-31T12:00:00Z", "2028-03-01", "2028-02-01"),
        ] {
            assert_eq!(
                occasions(now, "UTC")[1],
                format!("monthly:{day} \"{from}T00:00:00Z\" \"{day}T00:00:00Z\""),
                "{now}"
            );
        }
    }

    #[test]
    fn weeks_and_months_are_those_of_the_reader_s_own_days() {
        // The clocks of Berlin went back on 25 October 2026: that week had 169 hours.
        for (now, zone, week) in [
            (
                "2026-10-26T05:59:59Z",
                "Europe/Berlin",
                "weekly:2026-10-19 \"2026-10-11T22:00:00Z\" \"2026-10-18T22:00:00Z\"",
            ),
            (
                "2026-10-26T06:00:00Z",
                "Europe/Berlin",
                "weekly:2026-10-26 \"2026-10-18T22:00:00Z\" \"2026-10-25T23:00:00Z\"",
            ),
            (
                "2026-11-22T21:15:00Z",
                "Asia/Kathmandu",
                "weekly:2026-11-16 \"2026-11-08T18:15:00Z\" \"2026-11-15T18:15:00Z\"",
            ),
            (
                "2026-11-23T01:15:00Z",
                "Asia/Kathmandu",
                "weekly:2026-11-23 \"2026-11-15T18:15:00Z\" \"2026-11-22T18:15:00Z\"",
            ),
        ] {
            assert_eq!(occasions(now, zone)[0], week, "{now} {zone}");
        }
        assert_eq!(
            occasions("2026-12-01T14:59:00Z", "America/Los_Angeles")[1],
            "monthly:2026-11-01 \"2026-10-01T07:00:00Z\" \"2026-11-01T07:00:00Z\""
        );
    }
}
