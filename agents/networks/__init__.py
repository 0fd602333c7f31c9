"""Networks, what their numbers mean, and checkpoints as policies."""
