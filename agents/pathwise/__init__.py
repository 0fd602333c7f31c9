"""Learning by the gradient of the return through the simulator."""
