//! The ledger: double entry under everything that moves bytes, money or credits.
//!
//! ```text
//! checkout, admins ─▶ LedgerService ─▶ Act ─▶ postings (act.rs) ─┐
//!                                                               ├─▶ Books / Ledger ─▶ ledger_entries, ledger_postings
//! gateway ─▶ settle ─▶ what bytes sold for (value.rs) ──────────┘                     ledger_usage
//! ```
//!
//! Balances, used bytes and what partners are owed follow from the postings; where a table holds such a number as well,
//! `iploop-server ledger check` proves it equal ([`Books::check_ledger`]). The accounts and the rules of usage are in
//! `docs/decisions/0005-ledger.md`.

mod account;
mod act;
mod check;
mod service;
mod store;
mod value;

pub use account::{Account, Postings, Unit};
pub use act::{Act, EntryKind, Holdings, NewEntry, Owner, Refusal};
pub use check::{Checked, Difference, MAX_DIFFERENCES, Sum};
pub use service::{LedgerError, LedgerParts, LedgerService, Purchase, PurseChanges, Refund, Who};
pub use store::{
    Booked, Booking, Books, MAX_SHARE_ROWS, PartnerTotals, ShareRow, Step, Transaction, TransactionCursor,
    TransactionStatus,
};
pub use value::{partner_micros, returned_micros, sold_micros};
