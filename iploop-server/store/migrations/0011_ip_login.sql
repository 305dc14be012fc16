-- Keys whose owner lets proven addresses of their list go without a password.
ALTER TABLE api_keys ADD COLUMN ip_login BOOLEAN NOT NULL DEFAULT FALSE;
CREATE INDEX api_keys_ip_login ON api_keys (user_id) WHERE ip_login;

-- Single client addresses that an account has proven: it authenticated from there. The primary key keeps two accounts from
-- holding the same one.
CREATE TABLE ip_login_addresses (
    address TEXT PRIMARY KEY NOT NULL,
    user_id UUID NOT NULL REFERENCES users (id),
    proven_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL
);
CREATE INDEX ip_login_addresses_user_id ON ip_login_addresses (user_id, address);
CREATE INDEX ip_login_addresses_used_at ON ip_login_addresses (used_at);
