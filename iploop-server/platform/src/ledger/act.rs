//! What moves bytes, money and credits besides usage, and between which accounts of the ledger.

use serde_json::Value;

use super::account::{Account, Postings, Unit};
use crate::abuse::{Actor, AuditEntry};
use crate::clock::Timestamp;
use crate::ids::{AccountId, EntryId, PartnerId};

/// One act on the ledger. Usage is none of these: [`crate::store::Ledger::settle`] books it.
///
/// Amounts are what the act brings to its owner; where a field says otherwise, what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Bytes for money.
    Purchase {
        /// Who buys.
        account: AccountId,
        /// Bytes bought.
        bytes: i64,
        /// Paid for them.
        money_micros: i64,
        /// The payment, as the payment provider names it.
        reference: Option<String>,
    },
    /// Money back, and the bytes that go with it.
    Refund {
        /// Who gets the money.
        account: AccountId,
        /// Bytes taken away.
        bytes: i64,
        /// Paid back. What the purse no longer holds of it, since its bytes are used, is our loss; partners keep their share.
        money_micros: i64,
        /// The purchase that it refunds.
        purchase: Option<EntryId>,
        /// The payment, as the payment provider names it.
        reference: Option<String>,
        /// Also where the balance goes below zero by it: the bank has taken the money back.
        is_forced: bool,
    },
    /// A refund that turned out not to be one: the money came back, and the bytes come back with it.
    Reinstatement {
        /// Whose money it was.
        account: AccountId,
        /// Bytes given back.
        bytes: i64,
        /// Money that came back.
        money_micros: i64,
        /// Of it, what had been our loss, since the bytes were used.
        of_ours_micros: i64,
        /// The purchase that was refunded.
        purchase: Option<EntryId>,
        /// The payment, as the payment provider names it.
        reference: Option<String>,
    },
    /// Bytes given. Less than nothing: taken back.
    Bonus {
        /// Who gets them.
        account: AccountId,
        /// How many.
        bytes: i64,
    },
    /// A correction by hand, either way.
    Adjustment {
        /// Whose purse.
        account: AccountId,
        /// Bytes.
        bytes: i64,
        /// Deferred value: what the purse's bytes will be sold for.
        money_micros: i64,
        /// Also where the balance goes below zero by it.
        is_forced: bool,
    },
    /// A partner is paid.
    Payout {
        /// Which partner.
        partner: PartnerId,
        /// Paid out.
        money_micros: i64,
        /// The payment, as the bank names it.
        reference: Option<String>,
    },
    /// Credits for sharing.
    CreditsEarned {
        /// Who shared.
        account: AccountId,
        /// How many.
        credits: i64,
    },
    /// Credits become bytes.
    CreditsRedeemed {
        /// Whose.
        account: AccountId,
        /// Credits given up.
        credits: i64,
        /// Bytes for them.
        bytes: i64,
    },
}

/// An act with who, why and when: what becomes an entry.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// What moves.
    pub act: Act,
    /// For the owner's statement.
    pub description: String,
    /// Why, for ourselves.
    pub reason: Option<String>,
    /// Who did it.
    pub actor: Actor,
    /// The same key again books nothing; scoped to the owner.
    pub key: Option<String>,
    /// More about it, as it shall be shown to the owner.
    pub metadata: Value,
    /// Written in the same transaction; its `before` and `after` are filled with what the owner holds.
    pub audit: Option<AuditEntry>,
    /// When.
    pub now: Timestamp,
}

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// Bytes for money.
    Purchase,
    /// Bytes used: one for a customer and UTC day.
    Usage,
    /// Money back.
    Refund,
    /// Bytes given.
    Bonus,
    /// A correction by hand.
    Adjustment,
    /// A partner was paid.
    Payout,
    /// Credits for sharing.
    CreditsEarned,
    /// Credits became bytes.
    CreditsRedeemed,
    /// What was there before the ledger.
    Opening,
}

impl EntryKind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Purchase,
        Self::Usage,
        Self::Refund,
        Self::Bonus,
        Self::Adjustment,
        Self::Payout,
        Self::CreditsEarned,
        Self::CreditsRedeemed,
        Self::Opening,
    ];

    /// Its name in the database and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Purchase => "purchase",
            Self::Usage => "usage",
            Self::Refund => "refund",
            Self::Bonus => "bonus",
            Self::Adjustment => "adjustment",
            Self::Payout => "payout",
            Self::CreditsEarned => "credits_earned",
            Self::CreditsRedeemed => "credits_redeemed",
            Self::Opening => "opening",
        }
    }
}

/// Whom an act is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A customer.
    Customer(AccountId),
    /// A partner.
    Partner(PartnerId),
}

/// What the owner of an act holds before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// A customer's balance.
    pub bytes: i64,
    /// What was paid for it and not moved yet.
    pub value_micros: i64,
    /// A customer's credits.
    pub credits: i64,
    /// What a partner is owed.
    pub payable_micros: i64,
}

/// Why an act is refused. Nothing of it is booked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such customer or partner.
    #[error("there is no such account")]
    NoSuchOwner,
    /// The customer's account is deleted: nothing is corrected by hand any more.
    #[error("the account is deleted")]
    Deleted,
    /// The key stands for another act.
    #[error("the idempotency key stands for another act")]
    KeyTaken,
    /// The refunded purchase is not the customer's, or the refunds would be more than was paid.
    #[error("no such purchase, or more than was paid for it")]
    NotRefundable,
    /// It takes more than there is.
    #[error("at most {available} {}", .unit.as_str())]
    TooMuch {
        /// Of what.
        unit: Unit,
        /// What could be taken.
        available: i64,
    },
    /// The amounts make no sense, or are beyond all bounds.
    #[error("the amounts can't be booked")]
    Impossible,
}

impl Act {
    /// Whom it is about.
    pub const fn owner(&self) -> Owner {
        match self {
            Self::Purchase { account, .. }
            | Self::Refund { account, .. }
            | Self::Reinstatement { account, .. }
            | Self::Bonus { account, .. }
            | Self::Adjustment { account, .. }
            | Self::CreditsEarned { account, .. }
            | Self::CreditsRedeemed { account, .. } => Owner::Customer(*account),
            Self::Payout { partner, .. } => Owner::Partner(*partner),
        }
    }

    /// Its kind.
    pub const fn kind(&self) -> EntryKind {
        match self {
            Self::Purchase { .. } => EntryKind::Purchase,
            Self::Refund { .. } | Self::Reinstatement { .. } => EntryKind::Refund,
            Self::Bonus { .. } => EntryKind::Bonus,
            Self::Adjustment { .. } => EntryKind::Adjustment,
            Self::Payout { .. } => EntryKind::Payout,
            Self::CreditsEarned { .. } => EntryKind::CreditsEarned,
            Self::CreditsRedeemed { .. } => EntryKind::CreditsRedeemed,
        }
    }

    /// What it brings its owner, in bytes, micro-dollars and credits; less than nothing: what it takes.
    pub const fn amounts(&self) -> (i64, i64, i64) {
        match *self {
            Self::Purchase {
                bytes, money_micros, ..
            }
            | Self::Reinstatement {
                bytes, money_micros, ..
            }
            | Self::Adjustment {
                bytes, money_micros, ..
            } => (bytes, money_micros, 0),
            Self::Refund {
                bytes, money_micros, ..
            } => (bytes.saturating_neg(), money_micros.saturating_neg(), 0),
            Self::Bonus { bytes, .. } => (bytes, 0, 0),
            Self::Payout { money_micros, .. } => (0, money_micros.saturating_neg(), 0),
            Self::CreditsEarned { credits, .. } => (0, 0, credits),
            Self::CreditsRedeemed { credits, bytes, .. } => (bytes, 0, credits.saturating_neg()),
        }
    }

    /// The payment that it names.
    pub fn reference(&self) -> Option<&str> {
        match self {
            Self::Purchase { reference, .. }
            | Self::Refund { reference, .. }
            | Self::Reinstatement { reference, .. }
            | Self::Payout { reference, .. } => reference.as_deref(),
            _ => None,
        }
    }

    /// The purchase that it refunds.
    pub const fn purchase(&self) -> Option<EntryId> {
        match self {
            Self::Refund { purchase, .. } | Self::Reinstatement { purchase, .. } => *purchase,
            _ => None,
        }
    }

    /// What moves where, given what the owner holds.
    ///
    /// # Errors
    /// [`Refusal::TooMuch`], [`Refusal::Impossible`].
    pub fn postings(&self, holds: &Holdings) -> Result<Postings, Refusal> {
        let (bytes, money, credits) = self.amounts();
        let mut moves = Moves::default();
        match *self {
            Self::Purchase { account, .. } => {
                at_least_nothing(&[bytes, money])?;
                moves.bring(Account::Outside, Account::Purse(account), Unit::Bytes, bytes);
                moves.bring(Account::Outside, Account::Purse(account), Unit::UsdMicros, money);
            }
            Self::Refund {
                account, is_forced, ..
            } => {
                at_least_nothing(&[-bytes, -money])?;
                let taken = bytes.saturating_neg();
                within(Unit::Bytes, taken, holds.bytes, is_forced)?;
                moves.bring(Account::Purse(account), Account::Outside, Unit::Bytes, taken);
                let of_purse = money.saturating_neg().min(holds.value_micros.max(0));
                moves.bring(
                    Account::Purse(account),
                    Account::Outside,
                    Unit::UsdMicros,
                    of_purse,
                );
                let of_ours = money.saturating_neg() - of_purse;
                moves.bring(Account::Revenue, Account::Outside, Unit::UsdMicros, of_ours);
                moves.empty(account, holds, bytes, -of_purse);
            }
            Self::Reinstatement {
                account,
                of_ours_micros,
                ..
            } => {
                let of_purse = money.saturating_sub(of_ours_micros);
                at_least_nothing(&[bytes, money, of_ours_micros, of_purse])?;
                moves.bring(Account::Outside, Account::Purse(account), Unit::Bytes, bytes);
                moves.bring(
                    Account::Outside,
                    Account::Purse(account),
                    Unit::UsdMicros,
                    of_purse,
                );
                moves.bring(
                    Account::Outside,
                    Account::Revenue,
                    Unit::UsdMicros,
                    of_ours_micros,
                );
            }
            Self::Bonus { account, .. } => {
                moves.bring(Account::Outside, Account::Purse(account), Unit::Bytes, bytes);
                moves.empty(account, holds, bytes, 0);
            }
            Self::Adjustment {
                account, is_forced, ..
            } => {
                within(Unit::Bytes, bytes.saturating_neg(), holds.bytes, is_forced)?;
                within(Unit::UsdMicros, money.saturating_neg(), holds.value_micros, false)?;
                moves.bring(Account::Adjustments, Account::Purse(account), Unit::Bytes, bytes);
                moves.bring(
                    Account::Adjustments,
                    Account::Purse(account),
                    Unit::UsdMicros,
                    money,
                );
                moves.empty(account, holds, bytes, money);
            }
            Self::Payout { partner, .. } => {
                at_least_nothing(&[-money])?;
                within(Unit::UsdMicros, -money, holds.payable_micros, false)?;
                moves.bring(
                    Account::Payable(partner),
                    Account::Outside,
                    Unit::UsdMicros,
                    -money,
                );
            }
            Self::CreditsEarned { account, .. } => {
                at_least_nothing(&[credits])?;
                moves.bring(Account::Outside, Account::Purse(account), Unit::Credits, credits);
            }
            Self::CreditsRedeemed { account, .. } => {
                at_least_nothing(&[-credits, bytes])?;
                within(Unit::Credits, -credits, holds.credits, false)?;
                moves.bring(Account::Purse(account), Account::Outside, Unit::Credits, -credits);
                moves.bring(Account::Outside, Account::Purse(account), Unit::Bytes, bytes);
            }
        }
        moves.checked(holds, &self.owner())
    }
}

/// The amounts are given without a sign.
fn at_least_nothing(amounts: &[i64]) -> Result<(), Refusal> {
    if amounts.iter().all(|amount| *amount >= 0) {
        Ok(())
    } else {
        Err(Refusal::Impossible)
    }
}

fn within(unit: Unit, taken: i64, held: i64, is_forced: bool) -> Result<(), Refusal> {
    let available = held.max(0);
    if taken <= available || is_forced {
        Ok(())
    } else {
        Err(Refusal::TooMuch { unit, available })
    }
}

#[derive(Default)]
struct Moves(Postings);

impl Moves {
    fn bring(&mut self, from: Account, to: Account, unit: Unit, amount: i64) {
        for (account, amount) in [(from, amount.saturating_neg()), (to, amount)] {
            let sum = self.0.entry((account, unit)).or_default();
            *sum = sum.saturating_add(amount);
        }
    }

    /// A purse whose last bytes are taken away by hand keeps no value: the rest is ours.
    fn empty(&mut self, account: AccountId, holds: &Holdings, bytes: i64, money: i64) {
        let left = holds.value_micros.saturating_add(money);
        if bytes < 0 && holds.bytes.saturating_add(bytes) <= 0 && left > 0 {
            self.bring(Account::Purse(account), Account::Revenue, Unit::UsdMicros, left);
        }
    }

    fn checked(self, holds: &Holdings, owner: &Owner) -> Result<Postings, Refusal> {
        let mut postings = self.0;
        postings.retain(|_, amount| *amount != 0);
        let purse = |unit| match owner {
            Owner::Customer(account) => postings.get(&(Account::Purse(*account), unit)).copied(),
            Owner::Partner(_) => None,
        };
        let held = [
            (Unit::Bytes, holds.bytes),
            (Unit::UsdMicros, holds.value_micros),
            (Unit::Credits, holds.credits),
        ];
        let fits = held
            .iter()
            .all(|(unit, held)| held.checked_add(purse(*unit).unwrap_or(0)).is_some());
        // What is cut to the ends of the numbers does not balance any more.
        let balances = [Unit::Bytes, Unit::UsdMicros, Unit::Credits].iter().all(|unit| {
            let of_unit = postings.iter().filter(|((_, other), _)| other == unit);
            of_unit.map(|(_, amount)| i128::from(*amount)).sum::<i128>() == 0
        });
        if fits && balances {
            Ok(postings)
        } else {
            Err(Refusal::Impossible)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(bytes: i64, value_micros: i64) -> Holdings {
        Holdings {
            bytes,
            value_micros,
            ..Holdings::default()
        }
    }

    fn refund(account: AccountId, bytes: i64, money_micros: i64) -> Act {
        Act::Refund {
            account,
            bytes,
            money_micros,
            purchase: None,
            reference: None,
            is_forced: false,
        }
    }

    #[test]
    fn a_refund_takes_what_the_purse_holds_and_the_rest_from_us() {
        let account = AccountId::new();
        let postings = refund(account, 40, 900).postings(&holds(100, 600)).unwrap();
        assert_eq!(postings[&(Account::Purse(account), Unit::UsdMicros)], -600);
        assert_eq!(postings[&(Account::Revenue, Unit::UsdMicros)], -300);
        assert_eq!(postings[&(Account::Outside, Unit::UsdMicros)], 900);
        assert_eq!(postings[&(Account::Purse(account), Unit::Bytes)], -40);
    }

    #[test]
    fn a_reinstatement_undoes_its_refund() {
        let account = AccountId::new();
        let taken = refund(account, 40, 900).postings(&holds(100, 600)).unwrap();
        let back = Act::Reinstatement {
            account,
            bytes: 40,
            money_micros: 900,
            of_ours_micros: 300,
            purchase: None,
            reference: None,
        };
        let given = back.postings(&holds(60, 0)).unwrap();
        assert_eq!(taken.len(), given.len());
        assert!(taken.iter().all(|(key, amount)| given[key] == -amount));
    }

    #[test]
    fn a_purse_emptied_by_hand_keeps_no_value() {
        let account = AccountId::new();
        let postings = refund(account, 100, 100).postings(&holds(100, 600)).unwrap();
        assert_eq!(postings[&(Account::Purse(account), Unit::UsdMicros)], -600);
        assert_eq!(postings[&(Account::Revenue, Unit::UsdMicros)], 500);
    }

    #[test]
    fn more_than_there_is_is_taken_only_by_force() {
        let account = AccountId::new();
        let adjustment = |is_forced| Act::Adjustment {
            account,
            bytes: -150,
            money_micros: 0,
            is_forced,
        };
        let refused = adjustment(false).postings(&holds(100, 0));
        assert_eq!(
            refused,
            Err(Refusal::TooMuch {
                unit: Unit::Bytes,
                available: 100
            })
        );
        assert!(adjustment(true).postings(&holds(100, 0)).is_ok());
        assert!(refund(account, -1, 0).postings(&holds(100, 0)).is_err());
    }

    #[test]
    fn amounts_beyond_all_bounds_are_refused() {
        let account = AccountId::new();
        for bytes in [i64::MAX, i64::MIN] {
            let act = Act::Bonus { account, bytes };
            let holds = holds(if bytes > 0 { 1 } else { -1 }, 0);
            assert_eq!(act.postings(&holds), Err(Refusal::Impossible));
        }
    }
}
