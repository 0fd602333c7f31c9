"""``py:module:Factory``: objects of the user's own code, from the working folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scripts.runs.command import InputError
from scripts.runs.user_code import made_by

CODE = """
class Own:
    def __init__(self, offered=None):
        self.offered = offered

class Needs:
    def __init__(self, offered):
        self.offered = offered

    @classmethod
    def inside(cls):
        return cls("inside")

def broken():
    return 1 / 0
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the working folder."""
    (tmp_path / "my_own_code.py").write_text(CODE)
    (tmp_path / "half_written.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != ""])
    monkeypatch.delitem(sys.modules, "my_own_code", raising=False)
    return "my_own_code"


def test_a_factory_gets_what_is_offered_only_where_it_needs_it(module: str) -> None:
    assert made_by(f"py:{module}:Own", "--callbacks", 7).offered is None
    assert made_by(f"py:{module}:Needs", "--callbacks", 7).offered == 7
    assert made_by(f"py:{module}:Needs.inside", "--callbacks", 7).offered == "inside"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("my_own_code:Own", "must be py:module:Factory"),
        ("py:my_own_code", "must be py:module:Factory"),
        ("py:my_own_code:", "must be py:module:Factory"),
        ("py:nowhere:Own", r"ModuleNotFoundError: No module named 'nowhere' \(working folder "),
        ("py:my_own_code:Onw", "AttributeError: .*has no attribute 'Onw'"),
        ("py:my_own_code:broken", r"ZeroDivisionError: division by zero \(.*my_own_code\.py:15;"),
        ("py:half_written:f", "SyntaxError"),
    ],
)
def test_what_cannot_be_had_is_one_line(module: str, name: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        made_by(name, "--callbacks", None)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("--callbacks ")
