"""Run folders, resumable tasks, workers, tables: what all commands share; knows no policy."""
