-- From schema 1 to schema 2.

-- `alarm` said less: alarm, relief or neutral.
ALTER TABLE notice ADD COLUMN tone TEXT NOT NULL DEFAULT 'neutral' CHECK (tone IN ('alarm', 'relief', 'neutral'));
UPDATE notice SET tone = 'alarm' WHERE alarm <> 0;
ALTER TABLE notice DROP COLUMN alarm;

-- The receipt of the newest message about any of the same outages.
ALTER TABLE notice ADD COLUMN follows TEXT;

-- What goes on, and what a channel was told about it: asked at every look while something goes on.
CREATE INDEX outage_by_phase ON outage (feed, phase);
CREATE INDEX change_by_outage ON change (service_key, message_id);

-- Outages that somebody knows of: until they end people hear no more about them.
CREATE TABLE ack (
    feed        TEXT NOT NULL,
    service_key TEXT NOT NULL,
    message_id  TEXT NOT NULL,
    occurrence  INTEGER NOT NULL,
    at          TEXT NOT NULL,
    PRIMARY KEY (feed, service_key, message_id, occurrence)
) STRICT, WITHOUT ROWID;
