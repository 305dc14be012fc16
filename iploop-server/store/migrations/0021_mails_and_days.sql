-- A mail about an account to somebody else's address: to support, to whom the configuration names, or to an owner who has left.
-- Taken away once the mail was sent or given up.
ALTER TABLE mail_outbox ADD COLUMN to_address TEXT;
ALTER TABLE mail_outbox ADD COLUMN to_name TEXT;

-- The hours of ledger_usage summed by customer and UTC day, for statements. Brought up to date with them.
CREATE TABLE ledger_days (
    user_id UUID NOT NULL,
    day_at BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    sold_micros BIGINT NOT NULL,
    PRIMARY KEY (user_id, day_at)
);
INSERT INTO ledger_days (user_id, day_at, bytes, sold_micros)
    SELECT user_id, day_at, CAST(SUM(bytes) AS BIGINT), CAST(SUM(sold_micros) AS BIGINT)
    FROM ledger_usage GROUP BY user_id, day_at;
