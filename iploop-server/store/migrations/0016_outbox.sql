-- Requests for a new password that nobody looked up yet: the address as it was asked for, whether it has an account or not.
CREATE TABLE password_requests (
    id UUID PRIMARY KEY NOT NULL,
    email_folded TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- What many get at the same time waits behind what one person waits for.
ALTER TABLE mail_outbox ADD COLUMN is_bulk BOOLEAN NOT NULL DEFAULT FALSE;
DROP INDEX mail_outbox_pending;
CREATE INDEX mail_outbox_pending ON mail_outbox (is_bulk, due_at) WHERE state = 'pending';

-- Reports are due by the customer's own days.
CREATE INDEX users_time_zone ON users (time_zone);

-- Planned work on the platform that was announced. is_told: everybody who wants to know is in the outbox.
CREATE TABLE announcements (
    id UUID PRIMARY KEY NOT NULL,
    starts_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    message TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    is_told BOOLEAN NOT NULL
);
CREATE INDEX announcements_waiting ON announcements (id) WHERE NOT is_told;

-- The hour in which a key's owner was last told that the key reached its rate.
CREATE TABLE rate_limit_alerts (
    api_key_id UUID PRIMARY KEY NOT NULL,
    hour_at BIGINT NOT NULL
);
ALTER TABLE notification_preferences ADD COLUMN rate_limit_alerts BOOLEAN NOT NULL DEFAULT TRUE;

-- How long one try may take, and how many follow a failed one; none: as the server does.
ALTER TABLE webhooks ADD COLUMN timeout_seconds BIGINT;
ALTER TABLE webhooks ADD COLUMN max_retries BIGINT;
