-- From schema 3 to schema 4.

-- When backups of a phone were first read as switched off: each time is told once.
ALTER TABLE phone ADD COLUMN off_since TEXT;
