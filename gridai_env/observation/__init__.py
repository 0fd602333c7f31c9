"""What an agent sees: one way from the world to numbers, and one way back."""
