"""What an agent observes: encoding of the state as numbers, and decoding."""
