"""The energy-latency frontier."""
