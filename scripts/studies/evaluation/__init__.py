"""Policies on frozen sets."""
