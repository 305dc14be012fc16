-- Header fields of a try and of its answer, for who looks why a signature does not fit.
ALTER TABLE webhook_attempts ADD COLUMN sent_fields JSONB NOT NULL DEFAULT '[]';
ALTER TABLE webhook_attempts ADD COLUMN answer_fields JSONB NOT NULL DEFAULT '[]';
