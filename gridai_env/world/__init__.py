"""The physics, its terms, actions and limits: arithmetic only, no scenario, no files."""
