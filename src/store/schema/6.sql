-- From schema 5 to schema 6: one row for each attempt to send a notice.

CREATE TABLE attempt (
    id          INTEGER PRIMARY KEY,
    channel     TEXT NOT NULL,
    change_id   INTEGER NOT NULL,
    notice_id   INTEGER REFERENCES notice (id) ON DELETE CASCADE,
    number      INTEGER NOT NULL,
    started_at  TEXT NOT NULL,
    duration_ms INTEGER,
    outcome     TEXT,
    answer      TEXT,
    FOREIGN KEY (change_id, channel) REFERENCES delivery (change_id, channel) ON DELETE CASCADE
) STRICT;

CREATE INDEX attempt_by_notice ON attempt (notice_id);
CREATE INDEX attempt_by_delivery ON attempt (change_id, channel);
