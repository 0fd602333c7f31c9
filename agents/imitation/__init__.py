"""Learning from planners: demonstrations, cloning, and how far two actions are apart."""
