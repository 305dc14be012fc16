-- Customers of before this step keep the limits that they had.
ALTER TABLE users ADD COLUMN standing TEXT NOT NULL DEFAULT 'established' CHECK (standing IN ('new', 'established'));
ALTER TABLE users ADD COLUMN status_reason TEXT;

-- The platform's list besides the operator's file: what is denied to everyone while its category is on.
CREATE TABLE policy_entries (
    id UUID PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('suffix', 'address', 'port')),
    value TEXT NOT NULL,
    category TEXT NOT NULL,
    reason TEXT NOT NULL,
    added_at BIGINT NOT NULL,
    UNIQUE (kind, value)
);

CREATE TABLE policy_categories (
    name TEXT PRIMARY KEY NOT NULL,
    is_on BOOLEAN NOT NULL
);

-- One row: its lock orders all changes of the list.
CREATE TABLE policy_state (
    id BIGINT PRIMARY KEY NOT NULL CHECK (id = 1),
    version BIGINT NOT NULL,
    limits JSONB
);
INSERT INTO policy_state (id, version, limits) VALUES (1, 0, NULL);

-- What an admin opened for one customer.
CREATE TABLE account_grants (
    id UUID PRIMARY KEY NOT NULL,
    user_id UUID NOT NULL REFERENCES users (id),
    opening JSONB NOT NULL,
    until_at BIGINT NOT NULL,
    reason TEXT NOT NULL,
    given_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX account_grants_user_id ON account_grants (user_id, until_at);

-- Append-only: no statement of ours changes or removes a row.
CREATE TABLE audit_records (
    id UUID PRIMARY KEY NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL CHECK (actor IN ('admin', 'system', 'command_line')),
    actor_id UUID,
    action TEXT NOT NULL,
    user_id UUID,
    subject TEXT NOT NULL,
    before_value JSONB NOT NULL,
    after_value JSONB NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX audit_records_at ON audit_records (at);
CREATE INDEX audit_records_user_id ON audit_records (user_id, id);
CREATE INDEX audit_records_action ON audit_records (action, id);

-- Refusals by UTC day (days since 1970), cause, customer and device; the nil id where the server itself refused.
CREATE TABLE refusal_counts (
    day BIGINT NOT NULL,
    cause TEXT NOT NULL,
    user_id UUID NOT NULL,
    node_id UUID NOT NULL,
    refusals BIGINT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (day, cause, user_id, node_id)
);
CREATE INDEX refusal_counts_last_at ON refusal_counts (last_at);
CREATE INDEX refusal_counts_user_id ON refusal_counts (user_id, last_at);

-- For complaints: who left by an address.
CREATE INDEX usage_records_exit_ip ON usage_records (exit_ip, started_at) WHERE exit_ip IS NOT NULL;
