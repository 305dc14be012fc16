-- Payments that a bank takes back, one open page an account, and what is to be done at the payment provider.

-- Written under the lock of the account's user_plans row. What a dispute took of a payment, beside what refunds took.
ALTER TABLE billing_payments ADD COLUMN disputed_cents BIGINT NOT NULL DEFAULT 0;
ALTER TABLE billing_payments ADD COLUMN disputed_bytes BIGINT NOT NULL DEFAULT 0;
ALTER TABLE billing_payments ADD COLUMN disputed_micros BIGINT NOT NULL DEFAULT 0;
-- Of disputed_micros: what had left the purse and was our loss.
ALTER TABLE billing_payments ADD COLUMN lost_micros BIGINT NOT NULL DEFAULT 0;
-- Of disputed_bytes: what had been used and is owed, and what of that was let go.
ALTER TABLE billing_payments ADD COLUMN owed_bytes BIGINT NOT NULL DEFAULT 0;
ALTER TABLE billing_payments ADD COLUMN forgiven_bytes BIGINT NOT NULL DEFAULT 0;
-- How often a dispute changed what stands: names the entries.
ALTER TABLE billing_payments ADD COLUMN dispute_turns BIGINT NOT NULL DEFAULT 0;
CREATE INDEX billing_payments_owed ON billing_payments (user_id) WHERE owed_bytes > 0;
CREATE INDEX billing_payments_subscription ON billing_payments (subscription) WHERE subscription IS NOT NULL;

-- The account does not get this one: it is ended and paid back.
ALTER TABLE billing_subscriptions ADD COLUMN is_surplus BOOLEAN NOT NULL DEFAULT FALSE;

CREATE TABLE billing_disputes (
    id UUID PRIMARY KEY NOT NULL,
    dispute TEXT NOT NULL UNIQUE,
    payment_id UUID NOT NULL REFERENCES billing_payments (id),
    user_id UUID NOT NULL REFERENCES users (id),
    cents BIGINT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('inquiry', 'open', 'won', 'lost')),
    reason TEXT NOT NULL,
    opened_at BIGINT NOT NULL,
    -- The provider's time of the event that the state follows from.
    state_at BIGINT NOT NULL
);
CREATE INDEX billing_disputes_user_id ON billing_disputes (user_id, id);
CREATE INDEX billing_disputes_payment_id ON billing_disputes (payment_id);

-- The page for paying that an account has open; `session` and `url` once the provider made it.
CREATE TABLE billing_pages (
    user_id UUID PRIMARY KEY NOT NULL REFERENCES users (id),
    id UUID NOT NULL,
    wish TEXT NOT NULL,
    session TEXT,
    url TEXT,
    begun_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

-- What is to be done at the provider, written with its cause. `payment_id`: the top-up that a page is for.
CREATE TABLE billing_errands (
    kind TEXT NOT NULL CHECK (kind IN ('end_subscription', 'refund', 'delete_customer', 'close_page')),
    subject TEXT NOT NULL,
    user_id UUID NOT NULL REFERENCES users (id),
    payment_id UUID,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'done', 'left')),
    tries BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    reason TEXT,
    PRIMARY KEY (kind, subject)
);
CREATE INDEX billing_errands_due_at ON billing_errands (due_at) WHERE state = 'waiting';

-- Accounts that were deleted before there were errands.
INSERT INTO billing_errands (kind, subject, user_id, state, tries, due_at)
SELECT 'end_subscription', s.subscription, s.user_id, 'waiting', 0, 0
FROM billing_subscriptions s JOIN users u ON u.id = s.user_id
WHERE u.status = 'deleted' AND s.status <> 'cancelled';
INSERT INTO billing_errands (kind, subject, user_id, state, tries, due_at)
SELECT 'delete_customer', c.customer, c.user_id, 'waiting', 0, 0
FROM billing_customers c JOIN users u ON u.id = c.user_id WHERE u.status = 'deleted';
