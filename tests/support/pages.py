"""README and documentation as texts: blocks of code, tables, sections, everything that a pattern finds."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {path.name: path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))}
# Everything that people read before they write code.
TEXTS = {"README.md": README, **PAGES} | {
    name: (ROOT / name).read_text(encoding="utf-8") for name in ("CONTRIBUTING.md", "SECURITY.md")
}
NOT_RUN = ":class: not-run"


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a language in the order of the text."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.M | re.S)


def code_of(text: str) -> list[str]:
    """Return all Python of a text in its order, code cells without their options; blocks marked not-run left out."""
    found = re.findall(r"^```(?:\{code-(?:cell|block)\} )?python\n(.*?)^```$", text, flags=re.M | re.S)
    return [re.sub(r"\A(?::[\w-]+:.*\n)+", "", block) for block in found if NOT_RUN not in block]


def section(text: str, title: str) -> str:
    """Return the text under a heading of the second level, up to the next one."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, flags=re.M | re.S)
    assert found, title
    return found[1]


def cells(text: str) -> list[list[str]]:
    """Return the rows of the Markdown tables in a text, without rulers."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows if not set("".join(row)) <= set("- :")]


def named(pattern: str, texts: dict[str, str] | None = None) -> list[str]:
    """Return everything that a pattern finds, each once; nothing found is a fault of the pattern."""
    found = sorted({name for text in (texts or TEXTS).values() for name in re.findall(pattern, text)})
    assert found, pattern
    return found
