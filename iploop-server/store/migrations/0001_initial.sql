-- Times are milliseconds since 1970 in UTC, sizes are bytes, money is micro-dollars (cents where the name says so).
-- The text is PostgreSQL's; SQLite runs it too, once each UUID '…' literal has become a blob.

CREATE TABLE users (
    id UUID PRIMARY KEY NOT NULL,
    email TEXT NOT NULL,
    email_folded TEXT NOT NULL UNIQUE,
    password_hash TEXT NOT NULL,
    first_name TEXT NOT NULL,
    last_name TEXT NOT NULL,
    company TEXT,
    phone TEXT,
    status TEXT NOT NULL CHECK (status IN ('active', 'suspended', 'deleted')),
    role TEXT NOT NULL CHECK (role IN ('customer', 'admin')),
    email_verified BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    last_login_at BIGINT
);

-- One row for an account and purpose: a new token takes the place of the one before.
CREATE TABLE mail_tokens (
    user_id UUID NOT NULL REFERENCES users (id),
    purpose TEXT NOT NULL CHECK (purpose IN ('verify_email', 'reset_password')),
    token_hash TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT,
    PRIMARY KEY (user_id, purpose)
);

CREATE TABLE revoked_logins (
    token_id TEXT PRIMARY KEY NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX revoked_logins_expires_at ON revoked_logins (expires_at);

CREATE TABLE api_keys (
    id UUID PRIMARY KEY NOT NULL,
    user_id UUID NOT NULL REFERENCES users (id),
    key_hash TEXT NOT NULL UNIQUE,
    key_prefix TEXT NOT NULL,
    name TEXT NOT NULL,
    ip_whitelist JSONB NOT NULL,
    is_active BOOLEAN NOT NULL,
    last_used_at BIGINT,
    expires_at BIGINT,
    created_at BIGINT NOT NULL
);
CREATE INDEX api_keys_user_id ON api_keys (user_id, created_at);

CREATE TABLE plans (
    id UUID PRIMARY KEY NOT NULL,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    price_per_gb_micros BIGINT NOT NULL,
    price_monthly_cents BIGINT NOT NULL,
    price_annual_cents BIGINT,
    included_bytes BIGINT,
    requests_per_day BIGINT NOT NULL,
    max_concurrent_connections BIGINT NOT NULL,
    city_targeting BOOLEAN NOT NULL,
    asn_targeting BOOLEAN NOT NULL,
    sticky_sessions BOOLEAN NOT NULL,
    features JSONB NOT NULL,
    is_active BOOLEAN NOT NULL
);

-- An account's plan and purse. balance_bytes = sum of billing_transactions.bytes - used_bytes, and
-- used_bytes = sum of the billable usage_records. Free to lease: balance_bytes - sum of the account's leases.
CREATE TABLE user_plans (
    user_id UUID PRIMARY KEY NOT NULL REFERENCES users (id),
    plan_id UUID NOT NULL REFERENCES plans (id),
    balance_bytes BIGINT NOT NULL,
    used_bytes BIGINT NOT NULL,
    started_at BIGINT NOT NULL
);

CREATE TABLE billing_transactions (
    id UUID PRIMARY KEY NOT NULL,
    user_id UUID NOT NULL REFERENCES users (id),
    type TEXT NOT NULL CHECK (type IN ('purchase', 'refund', 'bonus')),
    amount_micros BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    description TEXT NOT NULL,
    idempotency_key TEXT,
    created_at BIGINT NOT NULL,
    UNIQUE (user_id, idempotency_key)
);

-- Written only under the lock of the account's user_plans row.
CREATE TABLE leases (
    id UUID NOT NULL,
    user_id UUID NOT NULL REFERENCES users (id),
    gateway_id UUID NOT NULL,
    remaining_bytes BIGINT NOT NULL CHECK (remaining_bytes >= 0),
    renewed_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, gateway_id)
);
CREATE INDEX leases_gateway_id ON leases (gateway_id);

-- No foreign keys: usage outlives keys and devices, and a batch pays for each check.
CREATE TABLE usage_records (
    id UUID PRIMARY KEY NOT NULL,
    user_id UUID NOT NULL,
    api_key_id UUID NOT NULL,
    gateway_id UUID NOT NULL,
    node_id UUID,
    session_id TEXT,
    bytes_uploaded BIGINT NOT NULL,
    bytes_downloaded BIGINT NOT NULL,
    billable BOOLEAN NOT NULL,
    proxy_type TEXT NOT NULL,
    destination TEXT NOT NULL,
    exit_country TEXT,
    exit_city TEXT,
    status_code BIGINT,
    error_code TEXT,
    attempts BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE INDEX usage_records_user_id ON usage_records (user_id, started_at);

CREATE TABLE partners (
    id UUID PRIMARY KEY NOT NULL,
    name TEXT NOT NULL,
    email TEXT,
    api_key_hash TEXT NOT NULL UNIQUE,
    api_key_prefix TEXT NOT NULL,
    is_active BOOLEAN NOT NULL,
    revenue_share_bp BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE nodes (
    id UUID PRIMARY KEY NOT NULL,
    device_id TEXT NOT NULL UNIQUE,
    device_secret_hash TEXT NOT NULL,
    partner_id UUID NOT NULL REFERENCES partners (id),
    ip_address TEXT NOT NULL,
    country TEXT,
    region TEXT,
    city TEXT,
    zip TEXT,
    asn BIGINT,
    isp TEXT,
    connection_type TEXT,
    device_type TEXT,
    sdk_version TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('available', 'inactive', 'banned')),
    ban_reason TEXT,
    banned_until BIGINT,
    quality_score BIGINT,
    bandwidth_used_bytes BIGINT NOT NULL,
    total_requests BIGINT NOT NULL,
    successful_requests BIGINT NOT NULL,
    last_heartbeat BIGINT NOT NULL,
    connected_since BIGINT,
    created_at BIGINT NOT NULL
);

-- Append-only. The device makes the id, so it counts only together with the device's own.
CREATE TABLE consents (
    device_id TEXT NOT NULL,
    id UUID NOT NULL,
    partner_id UUID NOT NULL,
    app_id TEXT NOT NULL,
    app_version TEXT NOT NULL,
    sdk_version TEXT NOT NULL,
    text_version TEXT NOT NULL,
    text_hash TEXT NOT NULL,
    language TEXT NOT NULL,
    act TEXT NOT NULL,
    networks JSONB NOT NULL,
    minimum_age BOOLEAN NOT NULL,
    given_at BIGINT NOT NULL,
    recorded_at BIGINT NOT NULL,
    PRIMARY KEY (device_id, id)
);

-- Append-only. May come before its consent: an owner can withdraw offline what was never sent.
CREATE TABLE consent_withdrawals (
    device_id TEXT NOT NULL,
    consent_id UUID NOT NULL,
    withdrawn_at BIGINT NOT NULL,
    PRIMARY KEY (device_id, consent_id)
);
