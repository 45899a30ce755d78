-- From schema 3 to schema 4.

-- What waits or was given up, and whether a message has a key already: asked beside a long history.
CREATE INDEX delivery_open ON delivery (state, channel) WHERE state <> 'sent';
CREATE INDEX notice_by_key ON notice (channel, key);
