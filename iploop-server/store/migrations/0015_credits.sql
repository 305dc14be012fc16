-- Which account claimed a device. One at a time; giving up deletes the row.
CREATE TABLE device_owners (
    node_id UUID PRIMARY KEY NOT NULL REFERENCES nodes (id),
    user_id UUID NOT NULL REFERENCES users (id),
    claimed_at BIGINT NOT NULL
);
CREATE INDEX device_owners_user_id ON device_owners (user_id, node_id);

-- The code that a device shows. A newer one takes the place of the one before; a used one is deleted.
CREATE TABLE pairing_codes (
    node_id UUID PRIMARY KEY NOT NULL REFERENCES nodes (id),
    code_hash TEXT NOT NULL UNIQUE,
    expires_at BIGINT NOT NULL
);

-- How claimed devices were at the end of an hour: what multipliers follow from. Kept for some days.
CREATE TABLE device_hours (
    node_id UUID NOT NULL REFERENCES nodes (id),
    hour_at BIGINT NOT NULL,
    ip_address TEXT NOT NULL,
    country TEXT,
    connected_since BIGINT NOT NULL,
    PRIMARY KEY (hour_at, node_id)
);

-- An account's earnings: nano-credits not posted yet (less than a credit, or held back), and whether they are held.
-- Changed under the lock of the account's user_plans row.
CREATE TABLE credit_accounts (
    user_id UUID PRIMARY KEY NOT NULL REFERENCES users (id),
    pending_nanos BIGINT NOT NULL,
    is_held BOOLEAN NOT NULL,
    held_reason TEXT,
    -- An admin looked and let them go: the rules do not hold them again.
    is_cleared BOOLEAN NOT NULL
);

-- What a device earned in an hour: a row stands for having been counted.
CREATE TABLE credit_hours (
    user_id UUID NOT NULL REFERENCES users (id),
    hour_at BIGINT NOT NULL,
    node_id UUID NOT NULL REFERENCES nodes (id),
    bytes BIGINT NOT NULL,
    nanos BIGINT NOT NULL,
    PRIMARY KEY (user_id, hour_at, node_id)
);
CREATE INDEX credit_hours_node_id ON credit_hours (node_id, hour_at);

-- One row: the next hour to be counted.
CREATE TABLE credit_state (
    id BIGINT PRIMARY KEY NOT NULL CHECK (id = 1),
    hour_at BIGINT NOT NULL
);

CREATE INDEX usage_records_node_id ON usage_records (node_id, started_at) WHERE node_id IS NOT NULL;
