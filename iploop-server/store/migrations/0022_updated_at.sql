-- When something of the account last changed. That its owner signed in is told by last_login_at alone.
ALTER TABLE users ADD COLUMN updated_at BIGINT NOT NULL DEFAULT 0;
UPDATE users SET updated_at = created_at;

-- A row is one request, a tunnel counting as one: for whoever sums the table by its columns.
ALTER TABLE usage_records ADD COLUMN request_count BIGINT NOT NULL DEFAULT 1;
