-- The schema of the archive in PostgreSQL. Liap runs this file itself if its user may create tables. Otherwise run it
-- beforehand: `psql --file scripts/init-archive.sql`, then scripts/init-archive-role. It holds completed games only, never
-- live ones. Every statement can be repeated, also on the tables of an earlier version.

-- Ids sort by time, in byte order, whatever the language of the database.
CREATE SCHEMA IF NOT EXISTS archive;

CREATE TABLE IF NOT EXISTS archive.completed_games (
    game_id VARCHAR(50) COLLATE "C" PRIMARY KEY,
    room_id VARCHAR(50) NOT NULL,
    game_data JSONB NOT NULL,
    completed_at TIMESTAMPTZ NOT NULL,
    archived_at TIMESTAMPTZ DEFAULT NOW(),
    game_duration_seconds INTEGER,
    winner_name VARCHAR(100),
    final_scores JSONB
);

CREATE INDEX IF NOT EXISTS idx_completed_games_room ON archive.completed_games(room_id);
CREATE INDEX IF NOT EXISTS idx_completed_games_completed ON archive.completed_games(completed_at);
CREATE INDEX IF NOT EXISTS idx_completed_games_winner ON archive.completed_games(winner_name);

CREATE TABLE IF NOT EXISTS archive.game_events (
    id BIGSERIAL PRIMARY KEY,
    game_id VARCHAR(50) COLLATE "C" REFERENCES archive.completed_games(game_id),
    event_type VARCHAR(100) NOT NULL,
    event_data JSONB NOT NULL,
    event_timestamp TIMESTAMPTZ NOT NULL,
    archived_at TIMESTAMPTZ DEFAULT NOW()
);

CREATE INDEX IF NOT EXISTS idx_game_events_game ON archive.game_events(game_id);
CREATE INDEX IF NOT EXISTS idx_game_events_type ON archive.game_events(event_type);

-- What the content of a game comes down to, so that copies can be compared without sending them: the SHA-256 of its
-- public form, that of game_data as this database writes it, and the number of its events.
ALTER TABLE archive.completed_games
    ADD COLUMN IF NOT EXISTS content_digest BYTEA,
    ADD COLUMN IF NOT EXISTS data_digest BYTEA,
    ADD COLUMN IF NOT EXISTS event_count INTEGER;

-- The installation that made the copy, as 32 hexadecimal digits: several servers may copy to one database, and each removes
-- only its own. Null: made by a version before this.
ALTER TABLE archive.completed_games ADD COLUMN IF NOT EXISTS installation VARCHAR(32);

CREATE INDEX IF NOT EXISTS idx_completed_games_installation ON archive.completed_games(installation, game_id);
