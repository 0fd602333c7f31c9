"""Bars that show how far a command is: tqdm's where it is installed, none elsewhere."""

from __future__ import annotations

from typing import Any


class NoBar:
    """Takes what a bar of tqdm takes, and shows nothing but notes."""

    def __enter__(self) -> NoBar:
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing."""

    def update(self, steps: int = 1) -> None:
        """Do nothing."""

    def set_description(self, text: str) -> None:
        """Do nothing."""

    def set_postfix_str(self, text: str, refresh: bool = True) -> None:
        """Do nothing."""

    def write(self, text: str) -> None:
        """Print a note."""
        print(text)


def bar(**options: Any) -> Any:
    """Return a bar with the options of `tqdm.tqdm`."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        return NoBar()
    return tqdm(**options)
