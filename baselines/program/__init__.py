"""The program of an episode or a window: the physics of the environment as rows, bounds and costs."""
