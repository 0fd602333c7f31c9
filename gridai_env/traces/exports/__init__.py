"""Readers of exports of data portals, brought to the plain form."""
