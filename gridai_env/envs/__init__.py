"""Gymnasium environments over the simulator: one episode, a batch, wrappers."""
