"""Print measures of the readability of the source tree, beside their goals: ``make figures``.

    python -m scripts.maintenance.figures                     # the whole table
    python -m scripts.maintenance.figures --details           # and what stands behind each figure
    python -m scripts.maintenance.figures agents baselines    # of some folders alone

Source is read, nothing is imported.  A line of code is one that is no blank, comment or docstring; the body of a
function begins after its docstring.
"""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field

from scripts.runs.command import CommandOptions, Shown, command
from scripts.runs.tables import aligned

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("gridai_env", "agents", "baselines", "scripts")

LONG_BODY, LONGEST_BODY = 12, 30  # lines; from the first on a function should show its paragraphs
LARGEST_CLASS, LARGEST_FILE, FULLEST_FOLDER, LONGEST_COMMAND = 200, 400, 13, 150
# Tied to the merge of the NumPy and the torch batch: counted from then on.
WAITING = ("GridAIVectorEnv", "GridAITorchVectorEnv", "gridai_env/envs/torch/vector_env.py")
# Methods that only some policies have; asking for them is a probe.
POLICY_METHODS = {"predict", "prepare", "reseed", "begin", "identity"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class SourceFile:
    """A Python file of the tree."""

    name: str  # path below the root
    text: str

    @cached_property
    def lines(self) -> list[str]:
        """Its lines."""
        return self.text.splitlines()

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes of its syntax tree."""
        return list(ast.walk(ast.parse(self.text)))

    def body(self, function: Function) -> list[str]:
        """Lines of a function after its docstring."""
        documented = ast.get_docstring(function) is not None
        first = _end(function.body[0]) + 1 if documented else function.body[0].lineno
        return self.lines[first - 1 : _end(function)]

    def code_lines(self) -> int:
        """Lines that are no blank, comment or docstring."""
        documented: set[int] = set()
        for node in self.nodes:
            if isinstance(node, Function | ast.ClassDef | ast.Module) and ast.get_docstring(node) is not None:
                documented |= set(range(node.body[0].lineno, _end(node.body[0]) + 1))

        return sum(
            bool(line.strip()) and not line.strip().startswith("#") and number not in documented
            for number, line in enumerate(self.lines, 1)
        )


@dataclass(frozen=True)
class TreeFigure:
    """A row of the table; ``where`` are the places behind it."""

    check: str
    found: str
    goal: str
    reached: bool
    where: tuple[str, ...] = ()


def _end(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def read_tree(root: Path, folders: Iterable[str]) -> list[SourceFile]:
    """Return the Python files below some folders, sorted by path."""
    paths = sorted(path for folder in folders for path in (root / folder).rglob("*.py"))
    return [SourceFile(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")) for path in paths]


def at_most(check: str, where: Iterable[str], most: int, waiting: Sequence[str] = ()) -> TreeFigure:
    """Count places against a goal; those named as waiting are listed and not counted."""
    places = tuple(where)
    later = sum(any(name in place for name in waiting) for place in places)
    found = f"{len(places)} ({later} may wait)" if later else str(len(places))
    return TreeFigure(check, found, f"<= {most}" if most else "0", len(places) - later <= most, places)


# The table ----------------------------------------------------------------------------------------------------


def measure(root: Path = ROOT, folders: Sequence[str] = ()) -> Iterator[TreeFigure]:
    """Yield the rows of the table, of the whole tree or of some folders."""
    sources = read_tree(root, folders or PACKAGES)

    if not folders:
        yield contracts(root)
        yield at_most("modules directly in gridai_env", modules_in(sources, "gridai_env"), 4)
        yield at_most("private modules in scripts", private_modules(sources), 0)
        yield longest_command(sources)

    yield code_lines(sources, whole=not folders)
    yield from paragraphs(sources)
    yield at_most(f"functions over {LONGEST_BODY} body lines", long_functions(sources), 20)
    yield at_most(
        f"classes over {LARGEST_CLASS} lines, docstring left out", large_classes(sources), 0, WAITING
    )
    yield at_most(f"files over {LARGEST_FILE} lines", large_files(sources), 0, WAITING)
    yield at_most(f"folders over {FULLEST_FOLDER} modules", full_folders(sources), 0)
    yield at_most("class names defined twice", repeated_classes(sources), 3)

    if not folders:
        yield at_most("test files that import private names", private_imports(read_tree(root, ["tests"])), 0)
    yield at_most("hasattr probes on policies", policy_probes(sources), 0)
    yield at_most("modules that cut observations into parts", decoders(sources), 1)
    yield at_most("files that read compiled.scenario. outside scenario/", scenario_readers(sources), 8)


def contracts(root: Path) -> TreeFigure:
    """Return how many contracts of import-linter hold."""
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as c; c(['--no-cache'])",
    ]
    try:
        said = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300).stdout
    except subprocess.SubprocessError:
        said = ""

    counts = re.search(r"Contracts: (\d+) kept, (\d+) broken", said)
    found = f"{counts[1]} kept, {counts[2]} broken" if counts else "cannot be run"
    broken = tuple(line for line in said.splitlines() if line.endswith("BROKEN"))
    return TreeFigure("lint-imports", found, "5 kept, 0 broken", found == "5 kept, 0 broken", broken)


def longest_command(sources: Sequence[SourceFile]) -> TreeFigure:
    """Return the longest file directly in scripts."""
    files = {name: source for source in sources if (name := source.name).count("/") == 1}
    lengths = {name: len(one.lines) for name, one in files.items() if name.startswith("scripts/")}
    longest = max(lengths.values(), default=0)
    over = tuple(f"{name} {n}" for name, n in lengths.items() if n > LONGEST_COMMAND)
    return TreeFigure(
        "longest file directly in scripts", str(longest), f"<= {LONGEST_COMMAND}", not over, over
    )


def code_lines(sources: Sequence[SourceFile], whole: bool) -> TreeFigure:
    """Return the lines of code, by folder in the details; the goal is one for the whole tree."""
    by_folder: Counter[str] = Counter()
    for source in sources:
        by_folder[source.name.rpartition("/")[0]] += source.code_lines()
    lines = by_folder.total()
    where = tuple(f"{folder} {n:,}" for folder, n in by_folder.most_common())
    return TreeFigure(
        "code lines without tests", f"{lines:,}", "<= 26,000" if whole else "-", lines <= 26_000, where
    )


def paragraphs(sources: Sequence[SourceFile]) -> Iterator[TreeFigure]:
    """Yield the shares of longer functions that show no blank line and no comment."""
    longer = [(place, body) for place, body in functions(sources) if len(body) >= LONG_BODY]
    dense = tuple(place for place, body in longer if all(line.strip() for line in body))
    silent = tuple(place for place, body in longer if not any("#" in line for line in body))

    for what, places, most in (("blank line", dense, 30), ("comment", silent, 55)):
        percent = 100 * len(places) / max(len(longer), 1)
        check = f"functions of {LONG_BODY} body lines or more without a {what}"
        found = f"{percent:.0f} % of {len(longer)}"
        yield TreeFigure(check, found, f"<= {most} %", percent <= most, places)


# Places -------------------------------------------------------------------------------------------------------


def functions(sources: Iterable[SourceFile]) -> Iterator[tuple[str, list[str]]]:
    """Yield place and body of every function."""
    for source in sources:
        for node in source.nodes:
            if isinstance(node, Function):
                yield f"{source.name}:{node.lineno} {node.name}", source.body(node)


def classes(sources: Iterable[SourceFile]) -> Iterator[tuple[str, ast.ClassDef]]:
    """Yield place and definition of every class."""
    for source in sources:
        for node in source.nodes:
            if isinstance(node, ast.ClassDef):
                yield f"{source.name}:{node.lineno} {node.name}", node


def long_functions(sources: Iterable[SourceFile]) -> list[str]:
    """Return the functions whose body is too long, the longest first."""
    found = [(len(body), place) for place, body in functions(sources) if len(body) > LONGEST_BODY]
    return [f"{place} {n}" for n, place in sorted(found, reverse=True)]


def large_classes(sources: Iterable[SourceFile]) -> Iterator[str]:
    """Yield the classes that are too long without their docstring."""
    for place, node in classes(sources):
        first = node.body[0]
        docstring = _end(first) - first.lineno + 1 if ast.get_docstring(node) is not None else 0
        size = _end(node) - node.lineno + 1 - docstring
        if size > LARGEST_CLASS:
            yield f"{place} {size}"


def repeated_classes(sources: Iterable[SourceFile]) -> list[str]:
    """Return the names that several classes have, with their places."""
    places: dict[str, list[str]] = {}
    for place, node in classes(sources):
        places.setdefault(node.name, []).append(place.partition(" ")[0])
    return [f"{name}: {', '.join(found)}" for name, found in places.items() if len(found) > 1]


def large_files(sources: Iterable[SourceFile]) -> list[str]:
    """Return the files that are too long."""
    return [f"{one.name} {len(one.lines)}" for one in sources if len(one.lines) > LARGEST_FILE]


def full_folders(sources: Iterable[SourceFile]) -> list[str]:
    """Return the folders that hold too many modules."""
    modules = (one.name for one in sources if not one.name.endswith("/__init__.py"))
    counts = Counter(name.rpartition("/")[0] for name in modules)
    return [f"{folder} {n}" for folder, n in counts.most_common() if n > FULLEST_FOLDER]


def modules_in(sources: Iterable[SourceFile], folder: str) -> list[str]:
    """Return the modules directly in a folder; its ``__init__`` counts as one."""
    return [one.name for one in sources if one.name.rpartition("/")[0] == folder]


def private_modules(sources: Iterable[SourceFile]) -> list[str]:
    """Return the modules of scripts whose name begins with an underscore."""
    return [one.name for one in sources if re.match(r"scripts/(.*/)?_(?!_)", one.name)]


def private_imports(tests: Iterable[SourceFile]) -> list[str]:
    """Return the test files that import a private module or name of the project."""
    found = []
    for source in tests:
        imports = (node for node in source.nodes if isinstance(node, ast.ImportFrom | ast.Import))
        dotted = [name for node in imports for name in imported(node)]
        own = [name for name in dotted if name.split(".")[0] in PACKAGES]
        private = [name for name in own if any(re.match(r"_(?!_)", part) for part in name.split("."))]
        if private:
            found.append(f"{source.name}: {', '.join(private)}")
    return found


def imported(node: ast.ImportFrom | ast.Import) -> list[str]:
    """Return the dotted names that a statement imports."""
    module = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
    return [f"{module}{alias.name}" for alias in node.names]


def policy_probes(sources: Iterable[SourceFile]) -> Iterator[str]:
    """Yield where an object is asked whether it has a method of some policies."""
    for source in sources:
        for node in source.nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and _is_probe(node):
                yield f"{source.name}:{node.lineno}"


def _is_probe(call: ast.Call) -> bool:
    # `getattr` with a default asks the same question.
    if not isinstance(call.func, ast.Name) or (call.func.id, len(call.args)) not in (
        ("hasattr", 2),
        ("getattr", 3),
    ):
        return False
    asked = call.args[1]
    if isinstance(asked, ast.Constant):
        return asked.value in POLICY_METHODS
    return "policy" in ast.unparse(call.args[0])


def decoders(sources: Iterable[SourceFile]) -> list[str]:
    """Return the modules that cut observations by the slices of an `ObservationLayout`.

    Views that are written to (called ``out``) belong to observers and do not count.
    """
    cut = re.compile(r"\b(?!out\b)\w+\[[^\[\]]+, (?:where|[\w.]*\.parts\[\w+\])\]")
    return [one.name for one in sources if ".parts" in one.text and cut.search(one.text)]


def scenario_readers(sources: Iterable[SourceFile]) -> list[str]:
    """Return the files that read the scenario behind a compiled one."""
    readers = [one for one in sources if "compiled.scenario." in one.text]
    return [one.name for one in readers if not one.name.startswith("gridai_env/scenario/")]


# Command ------------------------------------------------------------------------------------------------------


def report(figures: Sequence[TreeFigure], details: bool) -> str:
    """Return the table, with the places behind each figure where they are asked for."""
    rows = [[one.check, one.found, one.goal, "yes" if one.reached else "no"] for one in figures]
    text = aligned(["check", "found", "goal", "reached"], rows)
    if not details:
        return text

    lists = [
        "\n".join([f"\n{one.check}:", *(f"  {place}" for place in one.where)]) for one in figures if one.where
    ]
    return "\n".join([text, *lists])


class FiguresOptions(CommandOptions):
    """What is measured, and how much is said."""

    folders: Annotated[list[str], Shown(names=("folders",), nargs="*", metavar="FOLDER")] = Field(
        [], description="measure these alone; default: all"
    )
    details: bool = Field(False, description="list the places behind each figure")


@command(FiguresOptions)
def main(options: FiguresOptions) -> int:
    """Print the table; a goal that is missed is no failure."""
    print(report(list(measure(ROOT, options.folders)), options.details))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
