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
