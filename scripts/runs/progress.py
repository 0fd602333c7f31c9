"""Bars that show how far a command is: tqdm's where it is installed, none elsewhere."""

from __future__ import annotations

from typing import Any


class NoBar:
    """Takes what a bar of tqdm takes, and shows nothing but notes."""

    def __enter__(self) -> NoBar:
        return self

    def _pass(self, *_: Any, **__: Any) -> None:
        """Show nothing."""

    __exit__ = update = set_description = set_postfix_str = _pass

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
