-- From schema 3 to schema 4.

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
