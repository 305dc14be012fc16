-- The ledger: double entry under everything that moves bytes, money or credits. See docs/decisions/0005-ledger.md.
-- Amounts go to the account where they are positive; those of an entry sum to zero for each unit.

-- What moved by hand, by payment or by rule. Append-only. `owner_id` is the customer or the partner.
CREATE TABLE ledger_entries (
    id UUID PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('purchase', 'refund', 'bonus', 'adjustment', 'payout', 'credits_earned',
        'credits_redeemed', 'opening')),
    owner TEXT NOT NULL CHECK (owner IN ('customer', 'partner')),
    owner_id UUID NOT NULL,
    -- What it brought to its owner, or took: the sum of what it posted against the outside and the adjustments.
    bytes BIGINT NOT NULL,
    amount_micros BIGINT NOT NULL,
    credits BIGINT NOT NULL,
    description TEXT NOT NULL,
    reason TEXT,
    reference TEXT,
    refers_to UUID REFERENCES ledger_entries (id),
    actor TEXT NOT NULL CHECK (actor IN ('admin', 'system', 'command_line')),
    actor_id UUID,
    idempotency_key TEXT,
    metadata JSONB NOT NULL,
    at BIGINT NOT NULL,
    UNIQUE (owner_id, idempotency_key)
);
CREATE INDEX ledger_entries_page ON ledger_entries (owner_id, at, id);
CREATE INDEX ledger_entries_refers_to ON ledger_entries (refers_to) WHERE refers_to IS NOT NULL;

-- The nil id owns what belongs to the platform.
CREATE TABLE ledger_postings (
    entry_id UUID NOT NULL REFERENCES ledger_entries (id),
    account TEXT NOT NULL CHECK (account IN ('outside', 'adjustments', 'purse', 'used', 'revenue', 'payable')),
    owner_id UUID NOT NULL,
    unit TEXT NOT NULL CHECK (unit IN ('bytes', 'usd_micros', 'credits')),
    amount BIGINT NOT NULL CHECK (amount <> 0),
    PRIMARY KEY (entry_id, account, owner_id, unit)
);
CREATE INDEX ledger_postings_owner_id ON ledger_postings (owner_id, account, unit);

-- The entries of usage: one for a customer, an hour in which requests began, and the partner whose devices served them (the
-- nil id: none). It stands for five postings, which sum to zero whatever its numbers are:
--   bytes:      purse -bytes, used +bytes
--   usd_micros: purse -sold_micros, payable +partner_micros, revenue +(sold_micros - partner_micros)
-- Brought up to date under the lock of the account's user_plans row. `day_at` is the hour's UTC day.
CREATE TABLE ledger_usage (
    user_id UUID NOT NULL,
    day_at BIGINT NOT NULL,
    hour_at BIGINT NOT NULL,
    partner_id UUID NOT NULL,
    bytes BIGINT NOT NULL,
    sold_micros BIGINT NOT NULL,
    partner_micros BIGINT NOT NULL,
    PRIMARY KEY (user_id, day_at, hour_at, partner_id)
);
CREATE INDEX ledger_usage_partner_id ON ledger_usage (partner_id, hour_at);

-- What the bytes of a request were sold for, and what of that is the partner's whose device served them.
ALTER TABLE usage_records ADD COLUMN sold_micros BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_records ADD COLUMN partner_micros BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_records ADD COLUMN partner_id UUID;
ALTER TABLE usage_archive ADD COLUMN sold_micros BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_archive ADD COLUMN partner_micros BIGINT NOT NULL DEFAULT 0;

-- The purse's deferred value: what was paid for the bytes that it holds.
ALTER TABLE user_plans ADD COLUMN value_micros BIGINT NOT NULL DEFAULT 0;

-- What is there already. Each transaction becomes an entry of the same id.
INSERT INTO ledger_entries (id, kind, owner, owner_id, bytes, amount_micros, credits, description, actor,
        idempotency_key, metadata, at)
    SELECT id, type, 'customer', user_id, bytes, amount_micros, 0, description, 'system', idempotency_key, '{}', created_at
    FROM billing_transactions;
INSERT INTO ledger_postings (entry_id, account, owner_id, unit, amount)
    SELECT id, 'purse', user_id, 'bytes', bytes FROM billing_transactions WHERE bytes <> 0
    UNION ALL
    SELECT id, 'outside', UUID '00000000-0000-0000-0000-000000000000', 'bytes', -bytes
    FROM billing_transactions WHERE bytes <> 0
    UNION ALL
    SELECT id, 'purse', user_id, 'usd_micros', amount_micros FROM billing_transactions WHERE amount_micros <> 0
    UNION ALL
    SELECT id, 'outside', UUID '00000000-0000-0000-0000-000000000000', 'usd_micros', -amount_micros
    FROM billing_transactions WHERE amount_micros <> 0;

-- Usage until now was sold for nothing that anybody noted: no partner has a share in it.
INSERT INTO ledger_usage (user_id, day_at, hour_at, partner_id, bytes, sold_micros, partner_micros)
    SELECT user_id, hour_at - hour_at % 86400000, hour_at, UUID '00000000-0000-0000-0000-000000000000',
        CAST(SUM(bytes) AS BIGINT), 0, 0
    FROM (
        SELECT user_id, started_at - started_at % 3600000 AS hour_at, bytes_uploaded + bytes_downloaded AS bytes
        FROM usage_records WHERE billable
        UNION ALL
        SELECT user_id, hour_at, billed_bytes FROM usage_archive
    ) AS used
    GROUP BY user_id, hour_at HAVING SUM(bytes) <> 0;

-- Money paid for bytes that are used: an opening entry, under the account's own id, moves that part to the revenue.
UPDATE user_plans SET value_micros = COALESCE(
    (SELECT CAST(SUM(amount_micros) AS BIGINT) FROM billing_transactions t WHERE t.user_id = user_plans.user_id), 0);
INSERT INTO ledger_entries (id, kind, owner, owner_id, bytes, amount_micros, credits, description, actor, metadata, at)
    SELECT user_id, 'opening', 'customer', user_id, 0, 0, 0, 'Value of what was used before the ledger', 'system', '{}',
        started_at
    FROM user_plans WHERE value_micros <> 0 AND (used_bytes > 0 OR value_micros < 0);
INSERT INTO ledger_postings (entry_id, account, owner_id, unit, amount)
    SELECT user_id, 'revenue', UUID '00000000-0000-0000-0000-000000000000', 'usd_micros', moved
    FROM (
        SELECT p.user_id AS user_id, CASE
            WHEN p.value_micros < 0 OR p.balance_bytes <= 0 THEN p.value_micros
            ELSE CAST(p.value_micros * (CAST(p.used_bytes AS DOUBLE PRECISION)
                / (CAST(p.used_bytes AS DOUBLE PRECISION) + p.balance_bytes)) AS BIGINT)
        END AS moved
        FROM user_plans p JOIN ledger_entries e ON e.id = p.user_id AND e.kind = 'opening'
    ) AS opening WHERE moved <> 0;
INSERT INTO ledger_postings (entry_id, account, owner_id, unit, amount)
    SELECT e.id, 'purse', e.id, 'usd_micros', -p.amount
    FROM ledger_entries e JOIN ledger_postings p ON p.entry_id = e.id WHERE e.kind = 'opening' AND p.account = 'revenue';
UPDATE user_plans SET value_micros = COALESCE((
    SELECT CAST(SUM(amount) AS BIGINT) FROM ledger_postings
    WHERE owner_id = user_plans.user_id AND account = 'purse' AND unit = 'usd_micros'), 0);

-- The customers' transactions but for usage, as before: now a view.
DROP TABLE billing_transactions;
CREATE VIEW billing_transactions AS
    SELECT id, owner_id AS user_id, kind AS type, amount_micros, bytes, credits, description, reference, idempotency_key,
        metadata, at AS created_at
    FROM ledger_entries WHERE owner = 'customer' AND kind <> 'opening';
