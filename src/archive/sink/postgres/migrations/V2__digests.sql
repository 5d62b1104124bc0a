-- What the content of a game comes down to, so that copies can be compared without sending them: the SHA-256 of its
-- public form, that of game_data as this database writes it, and the number of its events.
ALTER TABLE archive.completed_games
    ADD COLUMN IF NOT EXISTS content_digest BYTEA,
    ADD COLUMN IF NOT EXISTS data_digest BYTEA,
    ADD COLUMN IF NOT EXISTS event_count INTEGER;
