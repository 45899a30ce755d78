-- From schema 3 to schema 4.

-- Alarms that may be on a screen: looked for whenever a channel with a screen has nothing to send.
CREATE INDEX notice_alarm ON notice (channel, id) WHERE tone = 'alarm' AND receipt IS NOT NULL;
CREATE INDEX notice_by_receipt ON notice (channel, receipt) WHERE receipt IS NOT NULL;
CREATE INDEX IF NOT EXISTS change_by_incident ON change (message_id, feed);
