"""Panels of a comparison of policies: ladder, map, schedules."""
