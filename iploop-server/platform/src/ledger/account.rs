//! The accounts of the ledger, and what is counted in them.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::ids::{AccountId, PartnerId};

/// An account of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Account {
    /// Where everything comes from and goes to: payments, and bytes that are made.
    Outside,
    /// The other side of corrections by hand.
    Adjustments,
    /// What a customer holds: bytes, their deferred value, credits.
    Purse(AccountId),
    /// What a customer used.
    Used(AccountId),
    /// Our part of what was sold.
    Revenue,
    /// What a partner is owed.
    Payable(PartnerId),
}

impl Account {
    /// Its kind's name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Outside => "outside",
            Self::Adjustments => "adjustments",
            Self::Purse(_) => "purse",
            Self::Used(_) => "used",
            Self::Revenue => "revenue",
            Self::Payable(_) => "payable",
        }
    }

    /// Its owner's id; the nil id: the platform.
    pub const fn owner_id(self) -> Uuid {
        match self {
            Self::Purse(account) | Self::Used(account) => account.uuid(),
            Self::Payable(partner) => partner.uuid(),
            Self::Outside | Self::Adjustments | Self::Revenue => Uuid::nil(),
        }
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Micro-dollars.
    UsdMicros,
    /// Credits.
    Credits,
}

impl Unit {
    /// Its name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::UsdMicros => "usd_micros",
            Self::Credits => "credits",
        }
    }
}

/// Amounts by account and unit; they sum to zero for each unit, and none is zero.
pub type Postings = BTreeMap<(Account, Unit), i64>;
