-- Sums over requests by 15 minutes and by UTC day, for each key: all together, and by each of proxy type, country of the exit, status with
-- error code, host of the destination. Written with the booking, under the lock of the account's user_plans row; what the
-- archive does to single requests changes nothing here. Empty names: none, not known, or all hosts beyond the bound.
CREATE TABLE usage_rollups (
    user_id UUID NOT NULL,
    dimension TEXT NOT NULL,
    grain_ms BIGINT NOT NULL,
    slot_at BIGINT NOT NULL,
    api_key_id UUID NOT NULL,
    name TEXT NOT NULL,
    requests BIGINT NOT NULL,
    successful BIGINT NOT NULL,
    bytes_uploaded BIGINT NOT NULL,
    bytes_downloaded BIGINT NOT NULL,
    billed_bytes BIGINT NOT NULL,
    duration_ms BIGINT NOT NULL,
    ended BIGINT NOT NULL,
    PRIMARY KEY (user_id, dimension, grain_ms, slot_at, api_key_id, name)
) /* WITHOUT ROWID */;

-- What was booked before this step: the log, …
INSERT INTO usage_rollups (user_id, dimension, grain_ms, slot_at, api_key_id, name, requests, successful, bytes_uploaded,
        bytes_downloaded, billed_bytes, duration_ms, ended)
    SELECT user_id, dimension, grain_ms, slot_at, api_key_id, CASE WHEN place > most THEN '' ELSE name END,
        CAST(SUM(requests) AS BIGINT), CAST(SUM(successful) AS BIGINT), CAST(SUM(bytes_uploaded) AS BIGINT),
        CAST(SUM(bytes_downloaded) AS BIGINT), CAST(SUM(billed_bytes) AS BIGINT), CAST(SUM(duration_ms) AS BIGINT),
        CAST(SUM(ended) AS BIGINT)
    FROM (
        SELECT user_id, dimension, grain_ms, slot_at, api_key_id, name, requests, successful, bytes_uploaded,
            bytes_downloaded, billed_bytes, duration_ms, ended,
            CASE WHEN dimension <> 'host' THEN 9223372036854775807 WHEN grain_ms = 900000 THEN 100 ELSE 500 END AS most,
            ROW_NUMBER() OVER (PARTITION BY user_id, dimension, grain_ms, slot_at ORDER BY requests DESC, api_key_id, name)
                AS place
        FROM (
            SELECT user_id, dimension, grain_ms, started_at - started_at % grain_ms AS slot_at, api_key_id,
                CASE dimension
                    WHEN 'all' THEN ''
                    WHEN 'type' THEN proxy_type
                    WHEN 'country' THEN COALESCE(exit_country, '')
                    WHEN 'host' THEN destination_host
                    ELSE COALESCE(CAST(status_code AS TEXT), '')
                        || CASE WHEN error_code IS NULL THEN '' ELSE ' ' || error_code END
                END AS name,
                COUNT(*) AS requests,
                COUNT(*) FILTER (WHERE error_code IS NULL) AS successful,
                SUM(bytes_uploaded) AS bytes_uploaded,
                SUM(bytes_downloaded) AS bytes_downloaded,
                SUM(CASE WHEN billable THEN bytes_uploaded + bytes_downloaded ELSE 0 END) AS billed_bytes,
                SUM(CASE WHEN ended_at > started_at THEN ended_at - started_at ELSE 0 END) AS duration_ms,
                COUNT(ended_at) AS ended
            FROM usage_records
            CROSS JOIN (SELECT 900000 AS grain_ms UNION ALL SELECT 86400000) AS grains
            CROSS JOIN (SELECT 'all' AS dimension UNION ALL SELECT 'type' UNION ALL SELECT 'country' UNION ALL SELECT 'status'
                UNION ALL SELECT 'host') AS dimensions
            GROUP BY 1, 2, 3, 4, 5, 6
        ) AS sums
    ) AS placed
    WHERE TRUE
    GROUP BY 1, 2, 3, 4, 5, 6;

-- … and the archive, which knows no more than key and hour.
INSERT INTO usage_rollups (user_id, dimension, grain_ms, slot_at, api_key_id, name, requests, successful, bytes_uploaded,
        bytes_downloaded, billed_bytes, duration_ms, ended)
    SELECT user_id, dimension, grain_ms, hour_at - hour_at % grain_ms, api_key_id, '',
        CAST(SUM(requests) AS BIGINT), CAST(SUM(successful) AS BIGINT), CAST(SUM(bytes_uploaded) AS BIGINT),
        CAST(SUM(bytes_downloaded) AS BIGINT), CAST(SUM(billed_bytes) AS BIGINT), CAST(SUM(duration_ms) AS BIGINT),
        CAST(SUM(ended) AS BIGINT)
    FROM usage_archive
    CROSS JOIN (SELECT 900000 AS grain_ms UNION ALL SELECT 86400000) AS grains
    CROSS JOIN (SELECT 'all' AS dimension UNION ALL SELECT 'type' UNION ALL SELECT 'country' UNION ALL SELECT 'status'
        UNION ALL SELECT 'host') AS dimensions
    WHERE TRUE
    GROUP BY 1, 2, 3, 4, 5
    ON CONFLICT (user_id, dimension, grain_ms, slot_at, api_key_id, name) DO UPDATE SET
        requests = usage_rollups.requests + excluded.requests,
        successful = usage_rollups.successful + excluded.successful,
        bytes_uploaded = usage_rollups.bytes_uploaded + excluded.bytes_uploaded,
        bytes_downloaded = usage_rollups.bytes_downloaded + excluded.bytes_downloaded,
        billed_bytes = usage_rollups.billed_bytes + excluded.billed_bytes,
        duration_ms = usage_rollups.duration_ms + excluded.duration_ms,
        ended = usage_rollups.ended + excluded.ended;

-- How a customer usually reaches the proxy.
CREATE TABLE proxy_defaults (
    user_id UUID PRIMARY KEY NOT NULL REFERENCES users (id),
    targeting TEXT NOT NULL,
    protocol TEXT NOT NULL CHECK (protocol IN ('http', 'socks5')),
    changed_at BIGINT NOT NULL
);
