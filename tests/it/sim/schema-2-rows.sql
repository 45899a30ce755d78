-- What a daemon of schema 2 left: `began` of iCloud Backup, acknowledged, in flight to `webhook.ops`.
PRAGMA application_id = 0x73747364;
PRAGMA user_version = 2;
INSERT INTO meta VALUES ('seed', '7');
INSERT INTO feed VALUES ('consumer/en_US', '2026-03-01T09:00:00Z', '2026-03-02T09:00:00Z', NULL, NULL, NULL,
    'sighted', '2026-03-01T09:00:00Z', NULL, NULL, 0, NULL);
INSERT INTO service VALUES ('consumer/en_US', 'icloud backup', 'iCloud Backup', '2026-03-01T09:00:00Z', 'yes',
    NULL, NULL);
INSERT INTO outage VALUES ('consumer/en_US', 'icloud backup', '1001', 1, 'iCloud Backup', 'Outage', 'ongoing',
    NULL, NULL, '2026-03-02T08:30:00Z', NULL, '2026-03-02T09:00:00Z', NULL, 'Down.', '');
INSERT INTO change VALUES (1, 'consumer/en_US/icloud%20backup/1001/1/began', '2026-03-02T09:00:45Z',
    '2026-03-02T09:00:00Z', 'began', 'consumer/en_US', 'iCloud Backup', 'icloud backup', '1001', 1, 1, 'Outage',
    NULL, '2026-03-02T08:30:00Z', NULL, NULL, 'Down.', '[]');
INSERT INTO notice (id, channel, key, title, body, payload, replaces, created_at, receipt, tone, follows)
    VALUES (1, 'webhook.ops', 'consumer/en_US/icloud%20backup/1001/1/began', 'old title', '',
    '{"kind":"began","as":"it was"}', NULL, '2026-03-02T09:00:45Z', NULL, 'alarm', NULL);
INSERT INTO delivery VALUES (1, 'webhook.ops', 'pending', '2026-03-02T09:00:45Z', '2026-03-02T09:00:50Z', 1,
    NULL, 1, NULL);
INSERT INTO ack VALUES ('consumer/en_US', 'icloud backup', '1001', 1, '2026-03-02T09:30:00Z');
INSERT INTO coverage VALUES (1, 'consumer/en_US', '2026-03-01T09:00:00Z', '2026-03-02T09:00:00Z', 'sighted',
    NULL, NULL);
