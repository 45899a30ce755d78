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

-- Alarms that may be on a screen: looked for whenever a channel with a screen has nothing to send.
CREATE INDEX notice_alarm ON notice (channel, id) WHERE tone = 'alarm' AND receipt IS NOT NULL;
CREATE INDEX notice_by_receipt ON notice (channel, receipt) WHERE receipt IS NOT NULL;
