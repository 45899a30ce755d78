-- From schema 2 to schema 3.

-- Phones that were read, with the time of their last backup.
CREATE TABLE phone (
    id             TEXT PRIMARY KEY,
    model          TEXT,
    seen_at        TEXT NOT NULL,
    last_backup_at TEXT,
    backup_enabled INTEGER,
    judged_at      TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The last backup as known when the change was written.
ALTER TABLE change ADD COLUMN phone_backup_at TEXT;
ALTER TABLE change ADD COLUMN phone_read_at TEXT;
ALTER TABLE change ADD COLUMN phones INTEGER;
