-- The stored words that schema 5 renames. Also run after a rescue, which may find rows of an older schema.
-- Keys of changes and bytes of notices stay, because receivers compare them with earlier ones.
UPDATE change SET kind = CASE kind
        WHEN 'blind' THEN 'unreadable'
        WHEN 'sighted' THEN 'readable'
        WHEN 'lasts' THEN 'reminder'
        ELSE 'liveness'
    END
    WHERE kind IN ('blind', 'sighted', 'lasts', 'alive');
UPDATE OR REPLACE meta SET name = CASE name
        WHEN 'looks' THEN 'polls'
        WHEN 'alive_at' THEN 'liveness_at'
        ELSE 'liveness_polls'
    END
    WHERE name IN ('looks', 'alive_at', 'alive_looks');
