"""Frozen sets of episodes with proven bounds and published results."""
