-- From schema 3 to schema 4.

-- What a bubble on the desktop is about: Apple's message id, or for what has none the matter itself.
ALTER TABLE change ADD COLUMN incident TEXT GENERATED ALWAYS AS (
    CASE
        WHEN message_id IS NOT NULL THEN 'message/' || message_id
        WHEN kind IN ('blind', 'sighted') THEN 'feed'
        WHEN kind IN ('unlisted', 'listed_again') THEN 'service/' || service_key
        ELSE kind
    END
) VIRTUAL;
CREATE INDEX change_by_incident ON change (incident, feed);
CREATE INDEX outage_by_message ON outage (message_id, feed);

-- The order of dates that the feed's newest document with a proof of it had.
ALTER TABLE feed ADD COLUMN date_order TEXT CHECK (date_order IN ('month_first', 'day_first', 'year_first'));

-- Entities in Apple's names are read now: the same service must not pass for another one.
UPDATE OR IGNORE service SET key = replace(key, '&amp;', '&'), name = replace(name, '&amp;', '&')
    WHERE key LIKE '%&amp;%';
UPDATE OR IGNORE outage SET service_key = replace(service_key, '&amp;', '&'), service = replace(service, '&amp;', '&')
    WHERE service_key LIKE '%&amp;%';
UPDATE OR IGNORE ack SET service_key = replace(service_key, '&amp;', '&') WHERE service_key LIKE '%&amp;%';
UPDATE change SET service_key = replace(service_key, '&amp;', '&'), service = replace(service, '&amp;', '&')
    WHERE service_key LIKE '%&amp;%';

-- When backups of a phone were first read as switched off: each time is told once.
ALTER TABLE phone ADD COLUMN off_since TEXT;

-- Alarms that may be on a screen: looked for whenever a channel with a screen has nothing to send.
CREATE INDEX notice_alarm ON notice (channel, id) WHERE tone = 'alarm' AND receipt IS NOT NULL;
CREATE INDEX notice_by_receipt ON notice (channel, receipt) WHERE receipt IS NOT NULL;

-- What waits or was given up, and whether a message has a key already: asked beside a long history.
CREATE INDEX delivery_open ON delivery (state, channel) WHERE state <> 'sent';
CREATE INDEX notice_by_key ON notice (channel, key);

-- Answers about a message that could not be understood: it may have arrived each time.
ALTER TABLE notice ADD COLUMN unclear INTEGER NOT NULL DEFAULT 0;

-- Outages in order of their start: the history is read in pieces, however long it is.
CREATE INDEX outage_by_start
    ON outage (coalesce(began_at, first_seen_at), feed, service_key, message_id, occurrence);
