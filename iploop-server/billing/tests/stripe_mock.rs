//! Our calls to `stripe-mock` (a Go module of Stripe's), which holds each request against Stripe's own description of its API
//! and refuses what that does not know.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::process::Stdio;

use iploop_billing::Stripe;
use iploop_platform::billing::{
    BillingConfig, Charge, Interval, NewCustomer, Page, Payment, PaymentKind, PaymentProvider, Proration,
    ProviderError, ReturnUrls,
};
use iploop_platform::clock::Timestamp;
use iploop_platform::ids::{AccountId, PaymentId, PlanId};
use iploop_platform::outbound::{OutboundClient, OutboundConfig};
use iploop_platform::plan::{Gates, Plan};
use iploop_platform::secret::Secret;
use iploop_protocol::policy::TestAllow;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

/// Ends with the test.
struct Mock {
    address: String,
    _process: Child,
}

impl Mock {
    async fn start() -> Self {
        let program = std::env::var_os("STRIPE_MOCK").unwrap_or("stripe-mock".into());
        let mut process = Command::new(program)
            .args(["-http-addr", "127.0.0.1:0", "-https-addr", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("stripe-mock on PATH or named by STRIPE_MOCK");
        let mut said = Vec::new();
        let stdout = process.stdout.as_mut().unwrap();
        let address = loop {
            assert_ne!(stdout.read_buf(&mut said).await.unwrap(), 0, "it ended");
            let text = String::from_utf8_lossy(&said);
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("Listening for HTTP at address: "));
            // The next line has begun: this one is whole.
            if let Some(address) = line.filter(|_| text.contains("Listening for HTTPS")) {
                break address.trim().to_owned();
            }
        };
        Self {
            address,
            _process: process,
        }
    }

    fn stripe(&self, key: &str) -> Stripe {
        let config = BillingConfig {
            stripe_secret_key: Some(Secret::new(key)),
            stripe_webhook_secret: Some(Secret::new("whsec_test")),
            api_base: format!("http://{}", self.address),
            ..BillingConfig::default()
        };
        assert!(config.mistakes().is_empty());
        let outbound = OutboundClient::new(&OutboundConfig::default(), TestAllow::default()).unwrap();
        Stripe::open(&config, outbound).unwrap().unwrap()
    }
}

fn growth() -> Plan {
    Plan {
        id: PlanId::new(),
        name: "Growth".to_owned(),
        description: String::new(),
        price_per_gb_micros: 5_960_000,
        price_monthly_cents: 14_900,
        price_annual_cents: Some(143_000),
        included_bytes: Some(25_000_000_000),
        requests_per_day: 1,
        max_concurrent_connections: 1,
        gates: Gates {
            city: true,
            asn: false,
            sticky_sessions: true,
        },
        features: Vec::new(),
        is_active: true,
    }
}

fn payment() -> Payment {
    let id = PaymentId::new();
    Payment {
        id,
        account: AccountId::new(),
        kind: PaymentKind::TopUp,
        bytes: 2_000_000_000,
        cents: 1_960,
        key: format!("top-up:{id}"),
    }
}

fn page() -> Page {
    Page {
        id: PaymentId::new(),
        expires_at: Timestamp::from_millis(1_764_000_000_000),
    }
}

#[tokio::test]
async fn every_call_is_one_that_stripe_knows() {
    let mock = Mock::start().await;
    let stripe = mock.stripe("sk_test_123");
    let urls = ReturnUrls {
        success: "https://iploop.test/billing?paid=1".to_owned(),
        cancel: "https://iploop.test/billing".to_owned(),
    };
    let new = NewCustomer {
        account: AccountId::new(),
        email: "ada@example.com",
        name: "Ada Lovelace",
    };
    let customer = stripe.create_customer(new).await.unwrap();
    assert!(customer.starts_with("cus_"), "{customer}");
    for (interval, cents) in [(Interval::Month, 14_900), (Interval::Year, 143_000)] {
        let price = stripe.price(&growth(), interval, cents).await.unwrap();
        let open = stripe.subscribe(&customer, &price, &page(), &urls).await.unwrap();
        assert!(
            open.url.starts_with("https://") && open.session.starts_with("cs_"),
            "{open:?}"
        );
        stripe.close_page(&open.session).await.unwrap();
        for proration in [Proration::Now, Proration::NextPeriod] {
            stripe.change("sub_123", &price, proration).await.unwrap();
        }
    }
    for price in ["price_123", "../customers"] {
        assert!(!stripe.sells(price, Interval::Month, 1).await.unwrap(), "{price}");
    }
    let open = stripe.pay(&customer, &payment(), &page(), &urls).await.unwrap();
    assert!(open.url.starts_with("https://"), "{open:?}");
    assert!(
        stripe
            .portal(&customer, &urls.cancel)
            .await
            .unwrap()
            .starts_with("https://")
    );
    stripe.end_with_period("sub_123", true).await.unwrap();
    stripe.end_with_period("sub_123", false).await.unwrap();
    stripe.collect("sub_123", false).await.unwrap();
    stripe.collect("sub_123", true).await.unwrap();
    stripe.end_now("sub_123").await.unwrap();
    stripe.refund("pi_123").await.unwrap();
    let invoice = stripe.invoice_of("pi_123").await.unwrap();
    assert!(invoice.is_some_and(|invoice| !invoice.is_empty()));
    assert_eq!(stripe.invoice_of("ch_123").await.unwrap(), None);
    stripe.delete_customer(&customer).await.unwrap();
    let invoices = stripe.invoices(&customer, Some("in_123"), 10).await.unwrap();
    assert!(invoices[0].id.starts_with("in_"), "{invoices:?}");
    // Its payment intents are never paid.
    let charge = stripe.charge(&customer, &payment()).await.unwrap();
    assert!(matches!(charge, Charge::Declined(_)), "{charge:?}");
}

#[tokio::test]
async fn a_refusal_is_told_apart_from_silence() {
    let mock = Mock::start().await;
    let refused = mock
        .stripe("no_key_of_stripe")
        .portal("cus_1", "https://iploop.test")
        .await;
    assert!(
        matches!(&refused, Err(ProviderError::Refused(reason)) if reason.contains("401")),
        "{refused:?}"
    );
    let strange = mock.stripe("sk_test_123").end_now("../customers").await;
    assert!(
        matches!(strange, Err(ProviderError::Refused(_))),
        "no id leaves its place in a path"
    );
    let stripe = mock.stripe("sk_test_123");
    drop(mock);
    let silent = loop {
        // The system may take a moment to close the port of the process that was killed.
        match stripe.portal("cus_1", "https://iploop.test").await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert!(matches!(silent, ProviderError::Unavailable(_)), "{silent:?}");
}
