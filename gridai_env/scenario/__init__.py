"""The scenario file: read, checked, and compiled into arrays."""
