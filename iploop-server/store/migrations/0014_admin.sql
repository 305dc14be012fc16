-- What admins search names by: lower case, kept by the program, since LOWER knows ASCII only on SQLite.
ALTER TABLE users ADD COLUMN name_folded TEXT NOT NULL DEFAULT '';
UPDATE users SET name_folded = LOWER(first_name || ' ' || last_name || ' ' || COALESCE(company, ''));

-- The prices of a plan at Stripe.
ALTER TABLE plans ADD COLUMN stripe_price_monthly TEXT;
ALTER TABLE plans ADD COLUMN stripe_price_annual TEXT;

-- For hubs of other processes, which look for new bans.
ALTER TABLE nodes ADD COLUMN banned_at BIGINT;
CREATE INDEX nodes_banned_at ON nodes (banned_at) WHERE status = 'banned';
CREATE INDEX nodes_country ON nodes (country, id);

CREATE INDEX audit_records_actor_id ON audit_records (actor_id, id);
CREATE INDEX audit_records_subject ON audit_records (subject, id);

-- For revenue by day.
CREATE INDEX ledger_entries_at ON ledger_entries (at);
CREATE INDEX ledger_usage_day_at ON ledger_usage (day_at);

-- One row: its lock orders all changes. What is absent in the object has its default.
CREATE TABLE platform_settings (
    id BIGINT PRIMARY KEY NOT NULL CHECK (id = 1),
    version BIGINT NOT NULL,
    settings JSONB NOT NULL
);
INSERT INTO platform_settings (id, version, settings) VALUES (1, 1, '{}');
