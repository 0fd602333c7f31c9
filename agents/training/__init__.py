"""Training from first step to last: stages, callbacks, checkpoints, validation, failures."""
