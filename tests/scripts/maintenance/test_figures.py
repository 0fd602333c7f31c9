"""The figures of the tree: each counts what it says, on a small tree made here."""

from pathlib import Path

import pytest

from scripts.maintenance.figures import PACKAGES, TreeFigure, main, measure

DENSE = "def dense():\n" + "    x = 1\n" * 12
PARTED = (
    'def parted():\n    """Say it.\n\n    At length.\n    """\n'
    + "    x = 1\n" * 12
    + "\n    # why\n    return x\n"
)
LONG = "def long():\n" + "    x = 1\n" * 31
CLASS = "class Large:\n" + "    x = 1\n" * 200


def figures_of(folder: Path, files: dict[str, str]) -> dict[str, TreeFigure]:
    """Write files and measure them, by check."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return {figure.check: figure for figure in measure(folder, PACKAGES)}


@pytest.mark.parametrize(
    ("text", "check", "found"),
    [
        ("# a comment\n\nx = 1\n", "code lines without tests", "1"),
        (PARTED, "code lines without tests", "14"),
        (DENSE + PARTED, "functions of 12 body lines or more without a blank line", "50 % of 2"),
        (DENSE + PARTED, "functions of 12 body lines or more without a comment", "50 % of 2"),
        (PARTED + LONG, "functions over 30 body lines", "1"),
        (CLASS, "classes over 200 lines, docstring left out", "1"),
        (
            CLASS.replace("Large", "GridAIVectorEnv"),
            "classes over 200 lines, docstring left out",
            "1 (1 may wait)",
        ),
        ("\n" * 401, "files over 400 lines", "1"),
        ("class A: ...\n\n\nclass A: ...\n", "class names defined twice", "1"),
        ('hasattr(policy, "begin")\nhasattr(file, "close")\n', "hasattr probes on policies", "1"),
        ('getattr(actor, "predict", None)\n', "hasattr probes on policies", "1"),
        ("x = flat[:, layout.parts[name]]\n", "modules that cut observations into parts", "1"),
        ("np.add(a, b, out[:, layout.parts[name]])\n", "modules that cut observations into parts", "0"),
        ("x = self.compiled.scenario.sites\n", "files that read compiled.scenario. outside scenario/", "1"),
    ],
)
def test_a_figure_counts_what_it_says(tmp_path: Path, text: str, check: str, found: str) -> None:
    assert figures_of(tmp_path, {"agents/one.py": text})[check].found == found


def test_folders_with_too_many_modules_are_counted_without_their_init(tmp_path: Path) -> None:
    fitting = {f"agents/full/m{i}.py": "" for i in range(13)} | {"agents/full/__init__.py": ""}
    assert figures_of(tmp_path, fitting)["folders over 13 modules"].reached
    over = figures_of(tmp_path, {"agents/full/m13.py": ""})["folders over 13 modules"]
    assert not over.reached and over.where == ("agents/full 14",)


def test_the_tree_as_a_whole_is_measured_too(tmp_path: Path) -> None:
    figures_of(
        tmp_path,
        {
            "scripts/_hidden.py": "",
            "scripts/long.py": "\n" * 151,
            "scripts/report/__main__.py": "",
            "tests/test_a.py": "from agents import one\nfrom agents._one import two\n",
            "tests/test_b.py": "from agents import one as _one\nfrom numpy import _core\n",
        },
    )
    found = {figure.check: figure for figure in measure(tmp_path)}
    assert found["private modules in scripts"].where == ("scripts/_hidden.py",)
    assert found["longest file directly in scripts"].where == ("scripts/long.py 151",)
    assert found["test files that import private names"].where == ("tests/test_a.py: agents._one.two",)
    assert not found["lint-imports"].reached


def test_the_command_prints_the_table_and_the_places(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scripts/maintenance"]) == 0
    assert "reached" in capsys.readouterr().out.splitlines()[0]
    assert main(["scripts/maintenance", "--details"]) == 0
    assert "code lines without tests:\n  scripts/maintenance" in capsys.readouterr().out
