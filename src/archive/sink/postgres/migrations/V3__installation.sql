-- The installation that made the copy, as 32 hexadecimal digits: several servers may copy to one database, and each removes
-- only its own. Null: made by a version before this.
ALTER TABLE archive.completed_games ADD COLUMN IF NOT EXISTS installation VARCHAR(32);

CREATE INDEX IF NOT EXISTS idx_completed_games_installation ON archive.completed_games(installation, game_id);
