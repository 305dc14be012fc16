//! The steps from an empty database to today's tables. Forward only: a released step never changes, the next one follows.

/// One step.
pub(crate) struct Migration {
    /// Its place in the order, from 1 without gaps.
    pub(crate) version: i64,
    /// What it is about.
    pub(crate) name: &'static str,
    /// PostgreSQL's text; SQLite gets it by way of its dialect.
    pub(crate) sql: &'static str,
}

/// All steps, in order.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "initial",
        sql: include_str!("../migrations/0001_initial.sql"),
    },
    Migration {
        version: 2,
        name: "plans",
        sql: include_str!("../migrations/0002_plans.sql"),
    },
    Migration {
        version: 3,
        name: "limits",
        sql: include_str!("../migrations/0003_limits.sql"),
    },
    Migration {
        version: 4,
        name: "node_sessions",
        sql: include_str!("../migrations/0004_node_sessions.sql"),
    },
    Migration {
        version: 5,
        name: "abuse",
        sql: include_str!("../migrations/0005_abuse.sql"),
    },
    Migration {
        version: 6,
        name: "ledger",
        sql: include_str!("../migrations/0006_ledger.sql"),
    },
    Migration {
        version: 7,
        name: "accounts",
        sql: include_str!("../migrations/0007_accounts.sql"),
    },
    Migration {
        version: 8,
        name: "rollups",
        sql: include_str!("../migrations/0008_rollups.sql"),
    },
    Migration {
        version: 9,
        name: "webhooks",
        sql: include_str!("../migrations/0009_webhooks.sql"),
    },
    Migration {
        version: 10,
        name: "support",
        sql: include_str!("../migrations/0010_support.sql"),
    },
    Migration {
        version: 11,
        name: "ip_login",
        sql: include_str!("../migrations/0011_ip_login.sql"),
    },
    Migration {
        version: 12,
        name: "billing",
        sql: include_str!("../migrations/0012_billing.sql"),
    },
    Migration {
        version: 13,
        name: "partners",
        sql: include_str!("../migrations/0013_partners.sql"),
    },
    Migration {
        version: 14,
        name: "admin",
        sql: include_str!("../migrations/0014_admin.sql"),
    },
    Migration {
        version: 15,
        name: "credits",
        sql: include_str!("../migrations/0015_credits.sql"),
    },
    Migration {
        version: 16,
        name: "outbox",
        sql: include_str!("../migrations/0016_outbox.sql"),
    },
    Migration {
        version: 17,
        name: "disputes",
        sql: include_str!("../migrations/0017_disputes.sql"),
    },
    Migration {
        version: 18,
        name: "device_news",
        sql: include_str!("../migrations/0018_device_news.sql"),
    },
    Migration {
        version: 19,
        name: "node_facts",
        sql: include_str!("../migrations/0019_node_facts.sql"),
    },
    Migration {
        version: 20,
        name: "usage_version",
        sql: include_str!("../migrations/0020_usage_version.sql"),
    },
    Migration {
        version: 21,
        name: "mails_and_days",
        sql: include_str!("../migrations/0021_mails_and_days.sql"),
    },
    Migration {
        version: 22,
        name: "updated_at",
        sql: include_str!("../migrations/0022_updated_at.sql"),
    },
    Migration {
        version: 23,
        name: "collection",
        sql: include_str!("../migrations/0023_collection.sql"),
    },
    Migration {
        version: 24,
        name: "header_fields",
        sql: include_str!("../migrations/0024_header_fields.sql"),
    },
];

/// The version that this program brings a database to.
pub(crate) fn newest_version() -> i64 {
    MIGRATIONS.last().map_or(0, |step| step.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_count_up_without_gaps() {
        for (step, version) in MIGRATIONS.iter().zip(1..) {
            assert_eq!(step.version, version, "{}", step.name);
        }
    }
}
