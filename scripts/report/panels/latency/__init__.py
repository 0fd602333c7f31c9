"""Panels of an energy-latency frontier: curves, returns, relocatable demand, routes."""
