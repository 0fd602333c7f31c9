"""A schedule in words: what happens in a step, and why."""
