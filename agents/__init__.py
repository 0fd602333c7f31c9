"""Learning agents on gridai_env: they see observations, never the future and never the optimiser."""
