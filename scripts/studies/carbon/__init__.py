"""Cost against carbon."""
