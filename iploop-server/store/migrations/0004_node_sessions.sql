-- Sticky sessions, so that they live on when a server restarts. The gateway decides about them; rows follow it within a
-- second. No foreign keys: they are written in batches, and a device or key may go first.
CREATE TABLE node_sessions (
    user_id UUID NOT NULL,
    session_key TEXT NOT NULL,
    api_key_id UUID,
    targeting TEXT NOT NULL,
    node_id UUID,
    exit_ip TEXT,
    exit_country TEXT,
    exit_city TEXT,
    exit_asn BIGINT,
    exit_since BIGINT,
    left_ip TEXT,
    told_ip TEXT,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT,
    expires_at BIGINT NOT NULL,
    forget_at BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    bytes_uploaded BIGINT NOT NULL,
    bytes_downloaded BIGINT NOT NULL,
    rotations BIGINT NOT NULL,
    PRIMARY KEY (user_id, session_key)
);
CREATE INDEX node_sessions_forget_at ON node_sessions (forget_at);
