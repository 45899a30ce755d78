-- From schema 3 to schema 4.

-- The order of dates that the feed's newest document with a proof of it had.
ALTER TABLE feed ADD COLUMN date_order TEXT CHECK (date_order IN ('month_first', 'day_first', 'year_first'));
