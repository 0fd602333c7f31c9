"""Command lines in tests."""

from __future__ import annotations


def replaced(words: list[str], *more: str) -> list[str]:
    """Return a command line with ``more`` at its end and without the options of the same names before."""
    kept, skip = [], False
    for word in words:
        skip = word in more if word.startswith("--") else skip
        if not skip:
            kept.append(word)
    return [*kept, *more]
