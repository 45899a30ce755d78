-- From schema 1 to schema 2.

-- Three tones replace the boolean `alarm`.
ALTER TABLE notice ADD COLUMN tone TEXT NOT NULL DEFAULT 'neutral' CHECK (tone IN ('alarm', 'relief', 'neutral'));
UPDATE notice SET tone = 'alarm' WHERE alarm <> 0;
ALTER TABLE notice DROP COLUMN alarm;

-- The receipt of the newest notice about any of the same outages.
ALTER TABLE notice ADD COLUMN follows TEXT;

-- For ongoing outages and their deliveries, which every poll reads during an outage.
CREATE INDEX outage_by_phase ON outage (feed, phase);
CREATE INDEX change_by_outage ON change (service_key, message_id);

-- Acknowledged outages. People get no further messages about them until they end.
CREATE TABLE ack (
    feed        TEXT NOT NULL,
    service_key TEXT NOT NULL,
    message_id  TEXT NOT NULL,
    occurrence  INTEGER NOT NULL,
    at          TEXT NOT NULL,
    PRIMARY KEY (feed, service_key, message_id, occurrence)
) STRICT, WITHOUT ROWID;
