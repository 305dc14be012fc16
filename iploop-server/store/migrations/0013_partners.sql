-- A deleted partner keeps its row: the ledger and consent records name it.
ALTER TABLE partners ADD COLUMN deleted_at BIGINT;

-- The key before the present one, for as long as it still works. One row a partner.
CREATE TABLE partner_old_keys (
    key_hash TEXT PRIMARY KEY NOT NULL,
    partner_id UUID NOT NULL UNIQUE REFERENCES partners (id),
    valid_until BIGINT NOT NULL
);

-- Apps that carry the SDK. Changed under the lock of the partner's row.
CREATE TABLE partner_apps (
    id UUID PRIMARY KEY NOT NULL,
    partner_id UUID NOT NULL REFERENCES partners (id),
    name TEXT NOT NULL,
    platform TEXT NOT NULL CHECK (platform IN ('android', 'ios', 'windows', 'mac', 'linux', 'browser')),
    bundle_id TEXT NOT NULL,
    store_url TEXT,
    state TEXT NOT NULL CHECK (state IN ('pending', 'approved', 'rejected', 'suspended')),
    state_reason TEXT,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    UNIQUE (partner_id, bundle_id, platform)
);

-- Which partner a user acts for: one at most.
CREATE TABLE partner_users (
    user_id UUID PRIMARY KEY NOT NULL REFERENCES users (id),
    partner_id UUID NOT NULL REFERENCES partners (id),
    linked_at BIGINT NOT NULL
);
CREATE INDEX partner_users_partner_id ON partner_users (partner_id, user_id);

CREATE INDEX nodes_partner_id ON nodes (partner_id, id);
