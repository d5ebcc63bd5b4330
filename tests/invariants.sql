-- What holds for every row of the home schema at the end of every statement. In use it would cost a
-- fourth of each write to check it (migration 0021); in tests it is checked.
ALTER TABLE df._checkpoints
    ADD CONSTRAINT the_status_is_known CHECK (status IN ('o', 'd', 'f'));
ALTER TABLE df._instances
    ADD CONSTRAINT the_status_is_known
        CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
    ADD CONSTRAINT who_owns_it_has_its_token
        CHECK ((owner IS NULL) = (token IS NULL)),
    -- a live instance is held, or ready at a time, or paused; an ended one is none of these
    ADD CONSTRAINT nothing_can_get_lost
        CHECK (CASE WHEN status NOT IN ('pending', 'running') THEN owner IS NULL AND ready_at IS NULL
                    WHEN paused IS NOT NULL THEN ready_at IS NULL
                    ELSE (owner IS NULL) = (ready_at IS NOT NULL) END),
    ADD CONSTRAINT the_id_is_of_the_sequence
        CHECK (id = lpad(to_hex(seq), 8, '0')),
    ADD CONSTRAINT the_lane_is_of_database_and_label
        CHECK (lane = hashtext(database || '/' || coalesce(label, '')) & 63);
