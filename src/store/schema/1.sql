-- Schema 1. Times are TEXT, RFC 3339 in UTC with whole seconds, so that they sort as text and are
-- readable in `sqlite3`. docs/database.md explains every table.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE feed (
    feed              TEXT PRIMARY KEY,
    first_accepted_at TEXT,
    stamp             TEXT,
    stale_since       TEXT,
    stale_newest      TEXT,
    stale_fetches     INTEGER,
    sight             TEXT NOT NULL CHECK (sight IN ('unknown', 'sighted', 'blind')),
    sight_since       TEXT,
    fault             TEXT CHECK (fault IN ('ours', 'apple')),
    reason            TEXT,
    told              INTEGER NOT NULL,
    banner            TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE service (
    feed          TEXT NOT NULL,
    key           TEXT NOT NULL,
    name          TEXT NOT NULL,
    first_seen_at TEXT NOT NULL,
    listed        TEXT NOT NULL CHECK (listed IN ('yes', 'missing', 'no', 'never')),
    since         TEXT,
    fetches       INTEGER,
    PRIMARY KEY (feed, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE outage (
    feed            TEXT NOT NULL,
    service_key     TEXT NOT NULL,
    message_id      TEXT NOT NULL,
    occurrence      INTEGER NOT NULL,
    service         TEXT NOT NULL,
    kind            TEXT NOT NULL,
    phase           TEXT NOT NULL CHECK (phase IN ('planned', 'ongoing', 'over', 'withdrawn')),
    missing_since   TEXT,
    missing_fetches INTEGER,
    began_at        TEXT,
    ended_at        TEXT,
    first_seen_at   TEXT NOT NULL,
    users_affected  TEXT,
    message         TEXT NOT NULL,
    counts          TEXT NOT NULL,
    PRIMARY KEY (feed, service_key, message_id, occurrence)
) STRICT, WITHOUT ROWID;

CREATE TABLE change (
    id             INTEGER PRIMARY KEY,
    key            TEXT NOT NULL UNIQUE,
    at             TEXT NOT NULL,
    seen_at        TEXT NOT NULL,
    kind           TEXT NOT NULL,
    feed           TEXT NOT NULL,
    service        TEXT NOT NULL,
    service_key    TEXT NOT NULL,
    message_id     TEXT,
    occurrence     INTEGER,
    serial         INTEGER NOT NULL,
    outage_kind    TEXT,
    was_kind       TEXT,
    began_at       TEXT,
    ended_at       TEXT,
    users_affected TEXT,
    message        TEXT NOT NULL,
    near           TEXT NOT NULL
) STRICT;

CREATE INDEX change_by_service ON change (service_key, at);

-- A rendered notice. Every attempt sends the same bytes.
CREATE TABLE notice (
    id         INTEGER PRIMARY KEY,
    channel    TEXT NOT NULL,
    key        TEXT NOT NULL,
    title      TEXT NOT NULL,
    body       TEXT NOT NULL,
    alarm      INTEGER NOT NULL,
    payload    TEXT NOT NULL,
    replaces   TEXT,
    created_at TEXT NOT NULL,
    receipt    TEXT
) STRICT;

CREATE TABLE delivery (
    change_id  INTEGER NOT NULL REFERENCES change (id),
    channel    TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (state IN ('pending', 'sent', 'given_up')),
    created_at TEXT NOT NULL,
    due_at     TEXT NOT NULL,
    attempts   INTEGER NOT NULL,
    answer     TEXT,
    notice_id  INTEGER REFERENCES notice (id),
    settled_at TEXT,
    PRIMARY KEY (change_id, channel)
) STRICT, WITHOUT ROWID;

CREATE INDEX delivery_due ON delivery (channel, state, change_id);
CREATE INDEX delivery_by_notice ON delivery (notice_id);

-- Spans in which the feed was readable, or unreadable with a reason. In a gap, statusd was not running.
CREATE TABLE coverage (
    id      INTEGER PRIMARY KEY,
    feed    TEXT NOT NULL,
    from_at TEXT NOT NULL,
    to_at   TEXT NOT NULL,
    sight   TEXT NOT NULL CHECK (sight IN ('sighted', 'blind')),
    fault   TEXT,
    reason  TEXT
) STRICT;

CREATE INDEX coverage_by_time ON coverage (feed, to_at);
