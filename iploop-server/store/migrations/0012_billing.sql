-- Billing: customers, prices and subscriptions of the payment provider, payments, and the events that told of them.

CREATE TABLE billing_customers (
    user_id UUID PRIMARY KEY NOT NULL REFERENCES users (id),
    customer TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

-- Prices that we made at the provider; never changed, since subscriptions may stand on them.
CREATE TABLE billing_prices (
    price TEXT PRIMARY KEY NOT NULL,
    plan_id UUID NOT NULL REFERENCES plans (id),
    period TEXT NOT NULL CHECK (period IN ('month', 'year')),
    cents BIGINT NOT NULL
);

-- Written under the lock of the account's user_plans row. `state_at`: the provider's time of the event that it follows from.
CREATE TABLE billing_subscriptions (
    subscription TEXT PRIMARY KEY NOT NULL,
    user_id UUID NOT NULL REFERENCES users (id),
    plan_id UUID NOT NULL REFERENCES plans (id),
    period TEXT NOT NULL CHECK (period IN ('month', 'year')),
    status TEXT NOT NULL CHECK (status IN ('incomplete', 'active', 'past_due', 'cancelled')),
    from_at BIGINT NOT NULL,
    to_at BIGINT NOT NULL,
    ends_at_period_end BOOLEAN NOT NULL,
    past_due_since BIGINT,
    -- Past due for longer than the grace: the plan is gone until it is paid.
    is_lapsed BOOLEAN NOT NULL,
    state_at BIGINT NOT NULL
);
CREATE INDEX billing_subscriptions_user_id ON billing_subscriptions (user_id);
CREATE INDEX billing_subscriptions_past_due ON billing_subscriptions (past_due_since) WHERE past_due_since IS NOT NULL;

-- Written under the lock of the account's user_plans row. What is paid is booked in equal parts: one, or a year's months.
CREATE TABLE billing_payments (
    id UUID PRIMARY KEY NOT NULL,
    user_id UUID NOT NULL REFERENCES users (id),
    kind TEXT NOT NULL CHECK (kind IN ('top_up', 'auto_top_up', 'invoice')),
    status TEXT NOT NULL CHECK (status IN ('pending', 'paid', 'failed')),
    -- In all parts together.
    bytes BIGINT NOT NULL,
    cents BIGINT NOT NULL,
    -- Names it at the provider; an automatic top-up by account, month and number.
    payment_key TEXT NOT NULL UNIQUE,
    month BIGINT NOT NULL,
    intent TEXT,
    invoice TEXT UNIQUE,
    subscription TEXT,
    -- The invoice pays for a whole period, which begins then.
    period_at BIGINT,
    from_at BIGINT NOT NULL,
    to_at BIGINT NOT NULL,
    parts BIGINT NOT NULL,
    parts_booked BIGINT NOT NULL,
    next_part_at BIGINT,
    booked_bytes BIGINT NOT NULL,
    booked_micros BIGINT NOT NULL,
    refunded_cents BIGINT NOT NULL,
    refunded_bytes BIGINT NOT NULL,
    refunded_micros BIGINT NOT NULL,
    -- Of the first part.
    entry_id UUID REFERENCES ledger_entries (id),
    reason TEXT,
    created_at BIGINT NOT NULL,
    settled_at BIGINT
);
CREATE INDEX billing_payments_user_id ON billing_payments (user_id, month);
CREATE INDEX billing_payments_intent ON billing_payments (intent) WHERE intent IS NOT NULL;
CREATE UNIQUE INDEX billing_payments_period ON billing_payments (subscription, period_at) WHERE period_at IS NOT NULL;
CREATE UNIQUE INDEX billing_payments_under_way ON billing_payments (user_id) WHERE kind = 'auto_top_up' AND status = 'pending';
CREATE INDEX billing_payments_next_part_at ON billing_payments (next_part_at) WHERE next_part_at IS NOT NULL;

CREATE TABLE billing_settings (
    user_id UUID PRIMARY KEY NOT NULL REFERENCES users (id),
    cap_cents BIGINT,
    auto_is_on BOOLEAN NOT NULL DEFAULT FALSE,
    auto_threshold_bytes BIGINT NOT NULL DEFAULT 0,
    auto_bytes BIGINT NOT NULL DEFAULT 0,
    auto_month_cents BIGINT NOT NULL DEFAULT 0,
    auto_failures BIGINT NOT NULL DEFAULT 0,
    auto_retry_at BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX billing_settings_auto ON billing_settings (user_id) WHERE auto_is_on;

-- Every event that was taken, once, with what became of it.
CREATE TABLE billing_events (
    id TEXT PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL,
    at BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    received_at BIGINT NOT NULL
);
