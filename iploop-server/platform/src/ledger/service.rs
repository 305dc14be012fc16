//! Acts on the ledger as the rest of the platform asks for them.

use std::sync::Arc;

use serde_json::Value;

use super::act::{Act, NewEntry, Owner, Refusal};
use super::store::{Booked, Booking};
use crate::abuse::{Actor, AuditAction, AuditEntry};
use crate::clock::Clock;
use crate::field::{self, FieldProblem};
use crate::ids::{AccountId, AuditId, EntryId, PartnerId};
use crate::keys::NobodyToTell;
use crate::store::{Store, StoreError};

/// Longest idempotency key, description or reference, in characters.
const MAX_LINE: usize = 200;

/// Told at once when a purse was filled.
pub trait PurseChanges: Send + Sync + 'static {
    /// Called after it was booked: the account's next request shall not be refused on old knowledge.
    fn credited(&self, account: AccountId);
}

impl PurseChanges for NobodyToTell {
    fn credited(&self, _: AccountId) {}
}

/// What the service is made of.
pub struct LedgerParts {
    /// The books.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who wants to know of filled purses.
    pub changes: Arc<dyn PurseChanges>,
}

/// The rules around acts on the ledger. Clones share one state.
#[derive(Clone)]
pub struct LedgerService(Arc<LedgerParts>);

/// Who does something by hand, and why.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// Who.
    pub actor: Actor,
    /// Why; it goes on record.
    pub reason: &'a str,
}

/// Why nothing was booked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// A field can't be accepted.
    #[error("{}: {}", .0.field, .0.message)]
    Invalid(FieldProblem),
    /// The act is not possible.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The data can't be reached.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl LedgerService {
    /// From its parts.
    pub fn new(parts: LedgerParts) -> Self {
        Self(Arc::new(parts))
    }

    /// A customer bought bytes. `key` makes it count once: the provider's event or payment id.
    ///
    /// # Errors
    /// [`LedgerError`]; [`Refusal::KeyTaken`] if the key stands for another act.
    pub async fn purchase(&self, purchase: Purchase<'_>, key: &str) -> Result<Booked, LedgerError> {
        at_least_one("bytes", purchase.bytes)?;
        let act = Act::Purchase {
            account: purchase.account,
            bytes: purchase.bytes,
            money_micros: purchase.money_micros,
            reference: reference_line(purchase.reference)?,
        };
        self.book(act, key, purchase.description, purchase.metadata, None, None)
            .await
    }

    /// Bytes as a gift.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub async fn bonus(
        &self,
        account: AccountId,
        bytes: i64,
        key: &str,
        description: &str,
    ) -> Result<Booked, LedgerError> {
        at_least_one("bytes", bytes)?;
        self.book(
            Act::Bonus { account, bytes },
            key,
            description,
            no_metadata(),
            None,
            None,
        )
        .await
    }

    /// Pays `money_micros` back and takes `bytes` away, of `purchase` if it names one. `is_forced`: also below zero.
    ///
    /// # Errors
    /// [`LedgerError`]; [`Refusal::NotRefundable`], [`Refusal::TooMuch`].
    pub async fn refund(&self, refund: Refund<'_>, who: Who<'_>, key: &str) -> Result<Booked, LedgerError> {
        let act = Act::Refund {
            account: refund.account,
            bytes: refund.bytes,
            money_micros: refund.money_micros,
            purchase: refund.purchase,
            reference: reference_line(refund.reference)?,
            is_forced: refund.is_forced,
        };
        let audited = Some(AuditAction::Refunded);
        self.book(act, key, refund.description, no_metadata(), Some(who), audited)
            .await
    }

    /// Corrects a purse by hand, either way, with an audit record. Below zero bytes only if `is_forced`.
    ///
    /// # Errors
    /// [`LedgerError`]; [`Refusal::TooMuch`] if there is less than it takes.
    pub async fn adjust(
        &self,
        account: AccountId,
        bytes: i64,
        money_micros: i64,
        is_forced: bool,
        who: Who<'_>,
        key: &str,
    ) -> Result<Booked, LedgerError> {
        if bytes == 0 && money_micros == 0 {
            return Err(LedgerError::Invalid(FieldProblem::new(
                "bytes",
                "Nothing to adjust",
            )));
        }
        let act = Act::Adjustment {
            account,
            bytes,
            money_micros,
            is_forced,
        };
        let audited = Some(AuditAction::BalanceAdjusted);
        self.book(act, key, "Adjustment", no_metadata(), Some(who), audited)
            .await
    }

    /// A partner was paid, at most what it is owed; with an audit record.
    ///
    /// # Errors
    /// [`LedgerError`]; [`Refusal::TooMuch`].
    pub async fn pay_partner(
        &self,
        partner: PartnerId,
        money_micros: i64,
        reference: Option<&str>,
        who: Who<'_>,
        key: &str,
    ) -> Result<Booked, LedgerError> {
        at_least_one("amount", money_micros)?;
        let act = Act::Payout {
            partner,
            money_micros,
            reference: reference_line(reference)?,
        };
        let audited = Some(AuditAction::PartnerPaid);
        self.book(act, key, "Payout", no_metadata(), Some(who), audited)
            .await
    }

    /// Turns `credits` into `bytes`, which nobody paid for.
    ///
    /// # Errors
    /// [`LedgerError`]; [`Refusal::TooMuch`].
    pub async fn redeem_credits(
        &self,
        account: AccountId,
        credits: i64,
        bytes: i64,
        key: &str,
    ) -> Result<Booked, LedgerError> {
        at_least_one("credits", credits)?;
        at_least_one("bytes", bytes)?;
        let act = Act::CreditsRedeemed {
            account,
            credits,
            bytes,
        };
        self.book(act, key, "Credits redeemed", no_metadata(), None, None)
            .await
    }

    async fn book(
        &self,
        act: Act,
        key: &str,
        description: &str,
        metadata: Value,
        who: Option<Who<'_>>,
        audited: Option<AuditAction>,
    ) -> Result<Booked, LedgerError> {
        let line =
            |name, label, text| field::line(name, label, text, 1, MAX_LINE).map_err(LedgerError::Invalid);
        let key = line("idempotencyKey", "Idempotency key", key)?;
        let description = line("description", "Description", description)?;
        let reason = who
            .map(|who| field::reason(who.reason))
            .transpose()
            .map_err(LedgerError::Invalid)?;
        let actor = who.map_or(Actor::System, |who| who.actor);
        let now = self.0.clock.now();
        let owner = act.owner();
        let audit = audited.map(|action| AuditEntry {
            id: AuditId::new(),
            at: now,
            actor,
            action,
            account: match owner {
                Owner::Customer(account) => Some(account),
                Owner::Partner(_) => None,
            },
            subject: match owner {
                Owner::Customer(account) => account.to_string(),
                Owner::Partner(partner) => partner.to_string(),
            },
            before: Value::Null,
            after: Value::Null,
            reason: reason.clone().unwrap_or_default(),
        });
        let entry = NewEntry {
            act,
            description,
            reason,
            actor,
            key: Some(key),
            metadata,
            audit,
            now,
        };
        let booked = match self.0.store.book(&entry).await? {
            Booking::Done(booked) => booked,
            Booking::Refused(refusal) => return Err(refusal.into()),
        };
        if let Owner::Customer(account) = owner {
            self.0.changes.credited(account);
        }
        Ok(booked)
    }
}

/// A purchase that was paid.
#[derive(Clone, Debug)]
pub struct Purchase<'a> {
    /// Who bought.
    pub account: AccountId,
    /// Bytes bought.
    pub bytes: i64,
    /// Paid for them.
    pub money_micros: i64,
    /// The provider's name of the payment.
    pub reference: Option<&'a str>,
    /// For the customer's statement.
    pub description: &'a str,
    /// A JSON object with more about it, shown to the customer.
    pub metadata: Value,
}

/// A refund that is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Refund<'a> {
    /// Who gets the money.
    pub account: AccountId,
    /// Bytes taken away.
    pub bytes: i64,
    /// Paid back.
    pub money_micros: i64,
    /// The purchase that it refunds; its refunds never are more than it.
    pub purchase: Option<EntryId>,
    /// The provider's name of it.
    pub reference: Option<&'a str>,
    /// Also where the balance goes below zero by it: the bank has taken the money back.
    pub is_forced: bool,
    /// For the customer's statement.
    pub description: &'a str,
}

fn no_metadata() -> Value {
    Value::Object(serde_json::Map::new())
}

fn at_least_one(field: &'static str, amount: i64) -> Result<(), LedgerError> {
    if amount > 0 {
        Ok(())
    } else {
        Err(LedgerError::Invalid(FieldProblem::new(
            field,
            "Must be more than nothing",
        )))
    }
}

fn reference_line(reference: Option<&str>) -> Result<Option<String>, LedgerError> {
    reference
        .map(|text| field::line("reference", "Reference", text, 1, MAX_LINE).map_err(LedgerError::Invalid))
        .transpose()
}
