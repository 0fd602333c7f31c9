"""Learners side by side: trainings, their judging on frozen and real sets, tables."""
