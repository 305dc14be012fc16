-- Counts up in every transaction that changes an account's requests or their sums: what was read under a number stands for as
-- long as the number does. Written under the lock of the row.
ALTER TABLE user_plans ADD COLUMN usage_version BIGINT NOT NULL DEFAULT 0;
