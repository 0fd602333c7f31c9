"""The published figures of both source papers, computed again."""
