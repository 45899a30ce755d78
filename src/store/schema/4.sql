-- From schema 3 to schema 4.

-- The incident of a bubble on the desktop: Apple's message id, or the subject of a change without one.
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

-- The order of day and month in the newest document that proves one.
ALTER TABLE feed ADD COLUMN date_order TEXT CHECK (date_order IN ('month_first', 'day_first', 'year_first'));

-- Entities in Apple's names are now decoded. A service must keep its identity.
UPDATE OR IGNORE service SET key = replace(key, '&amp;', '&'), name = replace(name, '&amp;', '&')
    WHERE key LIKE '%&amp;%';
UPDATE OR IGNORE outage SET service_key = replace(service_key, '&amp;', '&'), service = replace(service, '&amp;', '&')
    WHERE service_key LIKE '%&amp;%';
UPDATE OR IGNORE ack SET service_key = replace(service_key, '&amp;', '&') WHERE service_key LIKE '%&amp;%';
UPDATE change SET service_key = replace(service_key, '&amp;', '&'), service = replace(service, '&amp;', '&')
    WHERE service_key LIKE '%&amp;%';

-- The time when backups of a phone were first read as switched off. Each time is announced once.
ALTER TABLE phone ADD COLUMN off_since TEXT;

-- For alarms that may be on a screen, which an idle desktop channel checks.
CREATE INDEX notice_alarm ON notice (channel, id) WHERE tone = 'alarm' AND receipt IS NOT NULL;
CREATE INDEX notice_by_receipt ON notice (channel, receipt) WHERE receipt IS NOT NULL;

-- For pending and given-up deliveries, and for the uniqueness of keys, beside a long history.
CREATE INDEX delivery_open ON delivery (state, channel) WHERE state <> 'sent';
CREATE INDEX notice_by_key ON notice (channel, key);

-- The number of unintelligible answers to a notice, which may have arrived each time.
ALTER TABLE notice ADD COLUMN unclear INTEGER NOT NULL DEFAULT 0;

-- For the history, which is read in pages in order of the start.
CREATE INDEX outage_by_start
    ON outage (coalesce(began_at, first_seen_at), feed, service_key, message_id, occurrence);
