-- From schema 4 to schema 5: the words of the glossary (docs/glossary.md).

-- Whether a feed is readable is its health.
ALTER TABLE feed ADD COLUMN health TEXT NOT NULL DEFAULT 'unknown'
    CHECK (health IN ('unknown', 'readable', 'unreadable'));
UPDATE feed SET health = CASE sight WHEN 'sighted' THEN 'readable' WHEN 'blind' THEN 'unreadable' ELSE 'unknown' END;
ALTER TABLE feed DROP COLUMN sight;
ALTER TABLE feed RENAME COLUMN sight_since TO health_since;

ALTER TABLE coverage ADD COLUMN health TEXT NOT NULL DEFAULT 'unreadable'
    CHECK (health IN ('readable', 'unreadable'));
UPDATE coverage SET health = CASE sight WHEN 'sighted' THEN 'readable' ELSE 'unreadable' END;
ALTER TABLE coverage DROP COLUMN sight;

DROP INDEX notice_alarm;
ALTER TABLE notice ADD COLUMN severity TEXT NOT NULL DEFAULT 'info'
    CHECK (severity IN ('alert', 'resolved', 'info'));
UPDATE notice SET severity = CASE tone WHEN 'alarm' THEN 'alert' WHEN 'relief' THEN 'resolved' ELSE 'info' END;
ALTER TABLE notice DROP COLUMN tone;
CREATE INDEX notice_alert ON notice (channel, id) WHERE severity = 'alert' AND receipt IS NOT NULL;

-- The incident contains names of kinds, so the column is created again.
DROP INDEX change_by_incident;
ALTER TABLE change DROP COLUMN incident;
ALTER TABLE change ADD COLUMN incident TEXT GENERATED ALWAYS AS (
    CASE
        WHEN message_id IS NOT NULL THEN 'message/' || message_id
        WHEN kind IN ('unreadable', 'readable') THEN 'feed'
        WHEN kind IN ('unlisted', 'listed_again') THEN 'service/' || service_key
        ELSE kind
    END
) VIRTUAL;
CREATE INDEX change_by_incident ON change (incident, feed);
