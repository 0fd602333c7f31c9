"""From a seed to one concrete episode, an `Instance`."""
