//! What a check of the ledger found.

use std::fmt;

use uuid::Uuid;

use crate::clock::Timestamp;

/// Most differences of one rule that are named; more are not looked for.
pub const MAX_DIFFERENCES: u32 = 1_000;

/// What was checked, in one consistent view of the data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Entries by hand, by payment or by rule.
    pub entries: i64,
    /// Their postings.
    pub postings: i64,
    /// Entries of usage: sums by customer, hour and partner.
    pub usage_entries: i64,
    /// Customers' purses.
    pub accounts: i64,
    /// Requests that are kept one by one.
    pub requests: i64,
    /// What lies in the accounts of each kind; those of a unit sum to zero.
    pub sums: Vec<Sum>,
    /// What is wrong; empty: the books are in order.
    pub differences: Vec<Difference>,
}

/// What lies in all accounts of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sum {
    /// `bytes`, `usd_micros` or `credits`.
    pub unit: String,
    /// The kind of account, as [`super::Account::as_str`] has it.
    pub account: String,
    /// How much.
    pub amount: i64,
}

/// Two numbers that should be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The rule, in words.
    pub rule: &'static str,
    /// The entry, customer or partner that it is about.
    pub id: Uuid,
    /// The hour, where the rule is about hours.
    pub hour: Option<Timestamp>,
    /// As the rule says.
    pub expected: i64,
    /// As it is.
    pub found: i64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.id)?;
        if let Some(hour) = self.hour {
            write!(f, ", hour {hour}")?;
        }
        write!(f, ": expected {}, found {}", self.expected, self.found)
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "checked: {} entries, {} postings, {} entries of usage, {} accounts, {} requests",
            self.entries, self.postings, self.usage_entries, self.accounts, self.requests
        )?;
        for Sum {
            unit,
            account,
            amount,
        } in &self.sums
        {
            writeln!(f, "{unit:<10} {account:<11} {amount:>20}")?;
        }
        for difference in &self.differences {
            writeln!(f, "difference: {difference}")?;
        }
        match self.differences.len() {
            0 => write!(f, "the ledger is in order"),
            count => write!(
                f,
                "{count} differences (at most {MAX_DIFFERENCES} of each rule are named)"
            ),
        }
    }
}
