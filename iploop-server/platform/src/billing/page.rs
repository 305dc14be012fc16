//! The provider's pages for paying: an account has one open at a time.

use std::time::Duration;

use async_trait::async_trait;

use super::errand::Errand;
use crate::clock::Timestamp;
use crate::ids::{AccountId, PaymentId};
use crate::store::StoreError;

/// How long a page can be paid on, from when it is begun.
pub const PAGE_LIFE: Duration = Duration::from_secs(3600);
/// A page is shown again as long as it has this left: time to find the card.
pub const PAGE_LEFT: Duration = Duration::from_secs(600);
/// A page that was begun and of which nothing was heard is begun again by whoever wants the same, until then. The provider
/// takes no page that ends within half an hour.
pub const PAGE_BEGIN: Duration = Duration::from_secs(600);

/// What an account wants to pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageWish {
    /// A subscription at this price of the provider.
    Subscribe(String),
    /// Bytes for cents.
    TopUp {
        /// How many.
        bytes: i64,
        /// What they cost.
        cents: i64,
    },
}

impl PageWish {
    /// As it lies in the database: the same text is the same wish.
    pub fn text(&self) -> String {
        match self {
            Self::Subscribe(price) => format!("subscribe:{price}"),
            Self::TopUp { bytes, cents } => format!("top_up:{bytes}:{cents}"),
        }
    }
}

/// A page to be made at the provider: the same id again is the same page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its id, and that of the top-up that is paid on it.
    pub id: PaymentId,
    /// Nobody can pay on it after this.
    pub expires_at: Timestamp,
}

/// A page as the provider made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenPage {
    /// The provider's id of it.
    pub session: String,
    /// Where it is.
    pub url: String,
}

/// What became of a page that was to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Nobody paid on it, and nobody can.
    Unpaid,
    /// Somebody had paid.
    Paid,
}

/// What became of a page's begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageBegun {
    /// It is open already, at this address.
    Open(String),
    /// It shall be made.
    New(Page),
    /// A page for something else is open: once that is closed ([`super::Errands::errand_done`]), begin anew. Its `payment` is none if
    /// it is for a subscription.
    Replace(Errand),
    /// The account has a subscription.
    Subscribed,
    /// The account buys nothing for now.
    Held,
    /// There is no such account.
    NoAccount,
}

/// Pages, kept.
#[async_trait]
pub trait Pages: Send + Sync + 'static {
    /// Begins a page, or finds the one that is open for the same wish: of many parallel calls with one wish all get one page.
    async fn begin_page(
        &self,
        account: AccountId,
        wish: &PageWish,
        now: Timestamp,
    ) -> Result<PageBegun, StoreError>;
    /// Keeps where a page is. False: another wish took its place before it was made, and closing it is an errand now.
    async fn keep_page(&self, account: AccountId, page: &Page, open: &OpenPage) -> Result<bool, StoreError>;
}
