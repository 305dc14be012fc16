-- What happened that a customer may be told of. Kept for `events.retention`, for replays.
CREATE TABLE events (
    id UUID PRIMARY KEY NOT NULL,
    user_id UUID NOT NULL,
    kind TEXT NOT NULL,
    at BIGINT NOT NULL,
    data JSONB NOT NULL
);
CREATE INDEX events_user_id ON events (user_id, at);
CREATE INDEX events_at ON events (at);

-- How far those who watch something have come. Moved only from the place where it was read.
CREATE TABLE event_feeds (
    name TEXT PRIMARY KEY NOT NULL,
    at BIGINT NOT NULL,
    state JSONB NOT NULL
);

-- What was last seen of an account's purse. ceiling_bytes: the balance when bytes were last added; crossed: bits of the
-- marks that were passed since then; revision: whoever writes must have read it.
CREATE TABLE purse_watch (
    user_id UUID PRIMARY KEY NOT NULL,
    balance_bytes BIGINT NOT NULL,
    used_bytes BIGINT NOT NULL,
    ceiling_bytes BIGINT NOT NULL,
    crossed BIGINT NOT NULL,
    revision BIGINT NOT NULL
);

-- Failed requests by account and end, for the samples of `request.failed`.
CREATE INDEX usage_records_failed ON usage_records (user_id, ended_at) WHERE error_code IS NOT NULL AND ended_at IS NOT NULL;

CREATE TABLE webhooks (
    id UUID PRIMARY KEY NOT NULL,
    user_id UUID NOT NULL REFERENCES users (id),
    url TEXT NOT NULL,
    description TEXT,
    -- Sealed with a key that is not in the database.
    secret BYTEA NOT NULL,
    secret_preview TEXT NOT NULL,
    old_secret BYTEA,
    old_secret_until BIGINT,
    is_active BOOLEAN NOT NULL,
    disabled_by TEXT CHECK (disabled_by IN ('owner', 'failures', 'gone')),
    failure_count BIGINT NOT NULL,
    delivered BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    last_triggered_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX webhooks_user_id ON webhooks (user_id, created_at);

CREATE TABLE webhook_subscriptions (
    webhook_id UUID NOT NULL REFERENCES webhooks (id),
    kind TEXT NOT NULL,
    PRIMARY KEY (webhook_id, kind)
);
CREATE INDEX webhook_subscriptions_kind ON webhook_subscriptions (kind);

-- No foreign keys: events that come while a webhook is deleted must not fail.
CREATE TABLE webhook_deliveries (
    webhook_id UUID NOT NULL,
    event_id UUID NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
    tries BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    -- Whoever delivers holds a lease; after its end another may.
    lease UUID,
    lease_until BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (webhook_id, event_id)
);
CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (webhook_id, due_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_created_at ON webhook_deliveries (created_at);

CREATE TABLE webhook_attempts (
    webhook_id UUID NOT NULL,
    event_id UUID NOT NULL,
    lease UUID NOT NULL,
    at BIGINT NOT NULL,
    status_code BIGINT,
    duration_ms BIGINT NOT NULL,
    answer TEXT NOT NULL,
    error TEXT,
    PRIMARY KEY (webhook_id, event_id, lease)
);
CREATE INDEX webhook_attempts_at ON webhook_attempts (at);

-- One row for an account that changed its preferences; the defaults stand in the code.
CREATE TABLE notification_preferences (
    user_id UUID PRIMARY KEY NOT NULL REFERENCES users (id),
    email_alerts BOOLEAN NOT NULL,
    usage_alerts BOOLEAN NOT NULL,
    billing_alerts BOOLEAN NOT NULL,
    security_alerts BOOLEAN NOT NULL,
    maintenance_alerts BOOLEAN NOT NULL,
    weekly_reports BOOLEAN NOT NULL,
    monthly_reports BOOLEAN NOT NULL,
    usage_threshold_percent BIGINT NOT NULL,
    balance_low_bytes BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- Mails that must not get lost. No tokens in here: mails with links that open something are not kept.
CREATE TABLE mail_outbox (
    id UUID PRIMARY KEY NOT NULL,
    user_id UUID NOT NULL,
    template TEXT NOT NULL,
    data JSONB NOT NULL,
    -- Once for an account: the event's id, or the report and its period.
    occasion TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'sent', 'skipped', 'failed')),
    tries BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    lease UUID,
    lease_until BIGINT NOT NULL,
    error TEXT,
    created_at BIGINT NOT NULL,
    UNIQUE (user_id, occasion)
);
CREATE INDEX mail_outbox_pending ON mail_outbox (due_at) WHERE state = 'pending';
CREATE INDEX mail_outbox_created_at ON mail_outbox (created_at);
