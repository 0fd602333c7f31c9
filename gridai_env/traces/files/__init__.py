"""Readers of trace files: zones, demand, jobs."""
