//! The page for paying that an account has open. All under the lock of the account's row in `user_plans`.

use async_trait::async_trait;
use iploop_platform::billing::{
    Errand, ErrandKind, OpenPage, PAGE_BEGIN, PAGE_LEFT, PAGE_LIFE, Page, PageBegun, PageWish, Pages,
};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, PaymentId};
use iploop_platform::store::StoreError;
use sqlx::Row as _;

use super::columns::{id, text, time};
use super::ledger::lock_purse;
use super::{Row, SqlStore, Tx, disputes, errands};
use crate::error::act;

#[async_trait]
impl Pages for SqlStore {
    async fn begin_page(
        &self,
        account: AccountId,
        wish: &PageWish,
        now: Timestamp,
    ) -> Result<PageBegun, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            if lock_purse(&mut tx, account).await?.is_none() {
                return Ok(PageBegun::NoAccount);
            }
            if disputes::hold(&mut tx, account).await?.is_some() {
                return Ok(PageBegun::Held);
            }
            if matches!(wish, PageWish::Subscribe(_)) && has_subscription(&mut tx, account).await? {
                return Ok(PageBegun::Subscribed);
            }
            let wish = wish.text();
            let known = read(&mut tx, account).await?;
            if let Some(known) = &known
                && known.try_get::<String, _>("wish")? == wish
            {
                let (begun, expires) = (time(known, "begun_at")?, time(known, "expires_at")?);
                match known.try_get::<Option<String>, _>("url")? {
                    Some(url) if now.plus(PAGE_LEFT) <= expires => return Ok(PageBegun::Open(url)),
                    None if now.since(begun) <= PAGE_BEGIN => {
                        let page = Page {
                            id: id(known, "id")?,
                            expires_at: expires,
                        };
                        return Ok(PageBegun::New(page));
                    }
                    _ => {}
                }
            }
            if let Some(known) = &known
                && let Some(page) = still_open(account, known, now)?
            {
                return Ok(PageBegun::Replace(page));
            }
            let page = Page {
                id: PaymentId::new(),
                expires_at: now.plus(PAGE_LIFE),
            };
            write(&mut tx, account, &page, &wish, now).await?;
            tx.commit().await?;
            Ok(PageBegun::New(page))
        })
        .await
    }

    async fn keep_page(&self, account: AccountId, page: &Page, open: &OpenPage) -> Result<bool, StoreError> {
        act(async {
            let mut tx = self.begin().await?;
            lock_purse(&mut tx, account).await?;
            let kept = sqlx::query(
                "UPDATE billing_pages SET session = $3, url = $4 WHERE user_id = $1 AND id = $2
                 RETURNING user_id",
            )
            .bind(account.uuid())
            .bind(page.id.uuid())
            .bind(text(&open.session))
            .bind(text(&open.url))
            .fetch_optional(&mut *tx)
            .await?
            .is_some();
            if !kept {
                let due = Timestamp::from_millis(0);
                errands::insert(
                    &mut tx,
                    ErrandKind::ClosePage,
                    &open.session,
                    account,
                    Some(page.id),
                    due,
                )
                .await?;
            }
            tx.commit().await?;
            Ok(kept)
        })
        .await
    }
}

/// The page was paid on, or will not be: the next wish opens another one.
pub(super) async fn over(tx: &mut Tx, payment: PaymentId) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM billing_pages WHERE id = $1")
        .bind(payment.uuid())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// A subscription began: no page for another one stays.
pub(super) async fn subscribed(tx: &mut Tx, account: AccountId, now: Timestamp) -> Result<(), sqlx::Error> {
    if let Some(known) = read(tx, account).await?
        && known.try_get::<String, _>("wish")?.starts_with("subscribe:")
    {
        if let Some(page) = still_open(account, &known, now)? {
            errands::insert(tx, page.kind, &page.subject, account, page.payment, now).await?;
        }
        sqlx::query("DELETE FROM billing_pages WHERE user_id = $1")
            .bind(account.uuid())
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

async fn has_subscription(tx: &mut Tx, account: AccountId) -> Result<bool, sqlx::Error> {
    let row = sqlx::query(
        "SELECT 1 AS one FROM billing_subscriptions
         WHERE user_id = $1 AND status IN ('active', 'past_due') AND NOT is_surplus LIMIT 1",
    )
    .bind(account.uuid())
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.is_some())
}

async fn read(tx: &mut Tx, account: AccountId) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query("SELECT id, wish, session, url, begun_at, expires_at FROM billing_pages WHERE user_id = $1")
        .bind(account.uuid())
        .fetch_optional(&mut **tx)
        .await
}

/// The page, if somebody may pay on it.
fn still_open(account: AccountId, known: &Row, now: Timestamp) -> Result<Option<Errand>, sqlx::Error> {
    let is_over = time(known, "expires_at")? <= now;
    let Some(session) = known
        .try_get::<Option<String>, _>("session")?
        .filter(|_| !is_over)
    else {
        return Ok(None);
    };
    let is_top_up = known.try_get::<String, _>("wish")?.starts_with("top_up:");
    Ok(Some(Errand {
        kind: ErrandKind::ClosePage,
        subject: session,
        account,
        payment: is_top_up.then_some(id(known, "id")?),
        tries: 0,
    }))
}

async fn write(
    tx: &mut Tx,
    account: AccountId,
    page: &Page,
    wish: &str,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO billing_pages (user_id, id, wish, begun_at, expires_at) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (user_id) DO UPDATE SET id = excluded.id, wish = excluded.wish, session = NULL, url = NULL,
             begun_at = excluded.begun_at, expires_at = excluded.expires_at",
    )
    .bind(account.uuid())
    .bind(page.id.uuid())
    .bind(text(wish))
    .bind(now.as_millis())
    .bind(page.expires_at.as_millis())
    .execute(&mut **tx)
    .await?;
    Ok(())
}
