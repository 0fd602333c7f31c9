"""Docstrings as reStructuredText: what Gymnasium wants in Markdown is shown on its own page instead."""

import re
from typing import Any

from sphinx.application import Sphinx


def prepare(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Cut a docstring at its first Markdown heading, and keep bars of absolute values as they are."""
    heading = next((i for i, line in enumerate(lines) if line.startswith("## ")), None)
    if heading is not None:
        lines[heading:] = ["Spaces, rewards, arguments: see :doc:`/environments`.", ""]

    # |x| would be a substitution.
    lines[:] = [re.sub(r"(?<![`|\\w])\|(\w+)\|", r"\\|\1\\|", line) for line in lines]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the hook."""
    app.connect("autodoc-process-docstring", prepare)
    return {"parallel_read_safe": True}
