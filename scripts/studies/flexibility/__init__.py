"""Flexible load: connections that may be curtailed, and what they are worth."""
