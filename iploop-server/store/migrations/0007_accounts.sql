-- Four roles. The rule belongs to its column, so it goes with it; a new column takes its place on both databases.
ALTER TABLE users ADD COLUMN new_role TEXT NOT NULL DEFAULT 'customer'
    CHECK (new_role IN ('customer', 'admin', 'partner', 'owner'));
UPDATE users SET new_role = role;
ALTER TABLE users DROP COLUMN role;
ALTER TABLE users RENAME COLUMN new_role TO role;

-- Settings of the account's owner. A login without a request for idle_minutes ends; none: only after its day.
ALTER TABLE users ADD COLUMN time_zone TEXT NOT NULL DEFAULT 'UTC';
ALTER TABLE users ADD COLUMN idle_minutes BIGINT CHECK (idle_minutes IN (15, 30, 60));
ALTER TABLE users ADD COLUMN sign_in_from JSONB NOT NULL DEFAULT '[]';

-- Logins that live, by the id in their token. Without a row the token is refused. Changed under the lock of the users row.
CREATE TABLE login_sessions (
    id UUID PRIMARY KEY NOT NULL,
    user_id UUID NOT NULL REFERENCES users (id),
    address TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX login_sessions_user_id ON login_sessions (user_id, id);
CREATE INDEX login_sessions_expires_at ON login_sessions (expires_at);

-- Where an account signed in from, as networks: a mail tells of new ones.
CREATE TABLE login_networks (
    user_id UUID NOT NULL REFERENCES users (id),
    network TEXT NOT NULL,
    first_seen_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, network)
);

-- The secret is encrypted under a key that is not in the database. last_step is the newest 30 s step of which a code was used.
CREATE TABLE second_factors (
    user_id UUID PRIMARY KEY NOT NULL REFERENCES users (id),
    sealed_secret TEXT NOT NULL,
    last_step BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    confirmed_at BIGINT
);

CREATE TABLE recovery_codes (
    user_id UUID NOT NULL REFERENCES users (id),
    code_hash TEXT NOT NULL,
    used_at BIGINT,
    PRIMARY KEY (user_id, code_hash)
);
