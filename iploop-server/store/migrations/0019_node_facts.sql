-- What else is known of where a device is, for admins. Coordinates are kept in tenths of a degree and no finer: some 10 km.
ALTER TABLE nodes ADD COLUMN country_name TEXT;
ALTER TABLE nodes ADD COLUMN latitude_tenths BIGINT;
ALTER TABLE nodes ADD COLUMN longitude_tenths BIGINT;
ALTER TABLE nodes ADD COLUMN carrier TEXT;

-- Sums over all accounts read one kind and grain by time.
CREATE INDEX usage_rollups_all ON usage_rollups (grain_ms, slot_at) WHERE dimension = 'all';
CREATE INDEX usage_rollups_status ON usage_rollups (grain_ms, slot_at) WHERE dimension = 'status';
