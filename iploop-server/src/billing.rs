//! Payments: the provider opened, the service joined to the rest and kept running.

use std::sync::Arc;

use anyhow::Result;
use iploop_billing::Stripe;
use iploop_platform::accounts::{PersonalData, PublicUrl};
use iploop_platform::billing::{BillingParts, BillingService, PaymentData, PaymentProvider};
use iploop_platform::clock::Clock;
use iploop_platform::keys::KeyChanges;
use iploop_platform::outbound::OutboundClient;
use iploop_platform::store::Store;
use iploop_protocol::policy::TestAllow;

use crate::config::Config;
use crate::ledger::Told;

/// What the service needs of the server.
pub(crate) struct Around {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) changes: Arc<dyn KeyChanges>,
    pub(crate) public_url: PublicUrl,
}

/// The service of payments; without a key of the provider nobody can pay, and everything else works.
pub(crate) fn service(config: &Config, around: Around) -> Result<BillingService> {
    let outbound = OutboundClient::new(&config.outbound, TestAllow::default()).map_err(anyhow::Error::msg)?;
    let stripe = Stripe::open(&config.billing, outbound)?;
    let parts = BillingParts {
        store: around.store,
        clock: around.clock,
        provider: stripe.map(|stripe| Arc::new(stripe) as Arc<dyn PaymentProvider>),
        purses: Arc::new(Told(Arc::clone(&around.changes))),
        changes: around.changes,
        public_url: around.public_url,
    };
    Ok(BillingService::new(parts, config.billing.clone()))
}

/// The part of payments in the export of everything that we hold.
pub(crate) fn personal_data(store: &Arc<dyn Store>, clock: &Arc<dyn Clock>) -> Arc<dyn PersonalData> {
    Arc::new(PaymentData {
        store: Arc::clone(store),
        clock: Arc::clone(clock),
    })
}
