-- A suspended account's subscription is not collected: two more kinds of errands. SQLite changes no CHECK in place.
CREATE TABLE billing_errands_of_all_kinds (
    kind TEXT NOT NULL CHECK (kind IN ('end_subscription', 'refund', 'delete_customer', 'close_page',
        'pause_collection', 'resume_collection')),
    subject TEXT NOT NULL,
    user_id UUID NOT NULL REFERENCES users (id),
    payment_id UUID,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'done', 'left')),
    tries BIGINT NOT NULL,
    due_at BIGINT NOT NULL,
    reason TEXT,
    PRIMARY KEY (kind, subject)
);
INSERT INTO billing_errands_of_all_kinds (kind, subject, user_id, payment_id, state, tries, due_at, reason)
SELECT kind, subject, user_id, payment_id, state, tries, due_at, reason FROM billing_errands;
DROP TABLE billing_errands;
ALTER TABLE billing_errands_of_all_kinds RENAME TO billing_errands;
CREATE INDEX billing_errands_due_at ON billing_errands (due_at) WHERE state = 'waiting';
CREATE INDEX billing_errands_user_id ON billing_errands (user_id);

-- Accounts that were suspended before.
INSERT INTO billing_errands (kind, subject, user_id, state, tries, due_at)
SELECT 'pause_collection', s.subscription, s.user_id, 'waiting', 0, 0
FROM billing_subscriptions s JOIN users u ON u.id = s.user_id
WHERE u.status = 'suspended' AND s.status <> 'cancelled' AND NOT s.is_surplus;

-- Events of the payment provider are kept for a while and not for ever.
CREATE INDEX billing_events_received_at ON billing_events (received_at);
