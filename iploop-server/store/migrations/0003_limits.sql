-- What a key may do of what its account may, in the form of the API's `limits`.
ALTER TABLE api_keys ADD COLUMN limits JSONB NOT NULL DEFAULT '{}';

-- What a key has used: paid bytes of the newest UTC day (days since 1970) and month (months since the year 0) that it was
-- booked in, and in all. Written only under the lock of the account's user_plans row.
CREATE TABLE key_usage (
    api_key_id UUID PRIMARY KEY NOT NULL,
    day BIGINT NOT NULL,
    month BIGINT NOT NULL,
    day_bytes BIGINT NOT NULL,
    month_bytes BIGINT NOT NULL,
    total_bytes BIGINT NOT NULL
);
INSERT INTO key_usage (api_key_id, day, month, day_bytes, month_bytes, total_bytes)
    SELECT api_key_id, 0, 0, 0, 0, CAST(SUM(bytes_uploaded + bytes_downloaded) AS BIGINT)
    FROM usage_records WHERE billable GROUP BY api_key_id;

-- The receipt of a request.
ALTER TABLE usage_records ADD COLUMN exit_asn BIGINT;
ALTER TABLE usage_records ADD COLUMN exit_ip TEXT;
ALTER TABLE usage_records ADD COLUMN select_ms BIGINT;
ALTER TABLE usage_records ADD COLUMN dial_ms BIGINT;
ALTER TABLE usage_records ADD COLUMN first_byte_ms BIGINT;
ALTER TABLE usage_records ADD COLUMN destination_host TEXT NOT NULL DEFAULT '';
UPDATE usage_records
    SET destination_host = REPLACE(REPLACE(RTRIM(RTRIM(destination, '0123456789'), ':'), '[', ''), ']', '');

-- Pages of an account's requests by time, and the searches that would otherwise read all of them.
CREATE INDEX usage_records_page ON usage_records (user_id, started_at, id);
DROP INDEX usage_records_user_id;
CREATE INDEX usage_records_key ON usage_records (api_key_id, started_at, id);
CREATE INDEX usage_records_host ON usage_records (user_id, destination_host, started_at, id);
CREATE INDEX usage_records_session ON usage_records (user_id, session_id, started_at, id) WHERE session_id IS NOT NULL;
CREATE INDEX usage_records_error ON usage_records (user_id, error_code, started_at, id) WHERE error_code IS NOT NULL;
-- For the archive.
CREATE INDEX usage_records_started_at ON usage_records (started_at);

-- Requests older than the retention, by key and hour. A request is here or in usage_records, never in both.
CREATE TABLE usage_archive (
    user_id UUID NOT NULL,
    api_key_id UUID NOT NULL,
    hour_at BIGINT NOT NULL,
    requests BIGINT NOT NULL,
    successful BIGINT NOT NULL,
    bytes_uploaded BIGINT NOT NULL,
    bytes_downloaded BIGINT NOT NULL,
    billed_bytes BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    ended BIGINT NOT NULL,
    PRIMARY KEY (user_id, hour_at, api_key_id)
);

-- One row. A request that began before this may have been archived: booked for the first time, it costs nothing.
CREATE TABLE usage_retention (
    id BIGINT PRIMARY KEY NOT NULL CHECK (id = 1),
    archived_before BIGINT NOT NULL
);
INSERT INTO usage_retention (id, archived_before) VALUES (1, 0);
