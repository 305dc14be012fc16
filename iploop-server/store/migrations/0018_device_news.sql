-- Since when the account that claimed a device wishes that it pauses.
ALTER TABLE device_owners ADD COLUMN paused_at BIGINT;

-- The device's autonomous system at the end of the hour.
ALTER TABLE device_hours ADD COLUMN asn BIGINT;

-- What concerns devices that may be connected, for the hubs of all processes: what to look at, not what happened. The subject is a
-- device, or for 'app' an app, or for 'partner' a partner. Kept for an hour or so.
CREATE TABLE device_news (
    subject_id UUID NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('wish', 'withdrawal', 'erasure', 'app', 'partner')),
    noted_at BIGINT NOT NULL,
    PRIMARY KEY (subject_id, kind)
);
CREATE INDEX device_news_noted_at ON device_news (kind, noted_at);
