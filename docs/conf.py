"""Sphinx settings: `make docs` builds docs/_build/html, warnings are errors, code cells run."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE / "_ext")]
# Code cells run in a kernel of their own: it must find agents, baselines and scripts of this checkout too.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["TQDM_DISABLE"] = "1"  # bars of progress would stay in the output of cells
# The `python` of command lines in cells is the one that builds the pages.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])

from nbclient import NotebookClient  # noqa: E402

from gridai_env.version import __version__  # noqa: E402  the path is set above

project = "gridai-env"
author = "gridai-env contributors"
copyright = author
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx_design",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "generated_pages",
    "docstrings",
]
exclude_patterns = ["_build", "_generated/*.inc.md", "README.md", "jupyter_execute"]
templates_path = ["_templates"]
suppress_warnings = ["mystnb.unknown_mime_type"]

# Markdown
myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 3

# Code cells: always run, never written back; a cell that raises stops the build.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 600
# A command's output arrives in pieces; the merge of myst-nb would end each piece with a line break.
NotebookClient.coalesce_streams = True

# API reference: the annotations say types and shapes, the docstrings the rest.
autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_default_options = {"members": True, "show-inheritance": False, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
# A name in single backquotes becomes a link where the reference knows it, and code elsewhere.
default_role = "py:obj"
python_maximum_signature_line_length = 90

html_theme = "pydata_sphinx_theme"
html_title = f"gridai-env {version}"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_sidebars = {"**": ["pages.html"]}
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "gridai-env"},
    "show_prev_next": True,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 5,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}

# `make docs-links` asks the network; these answer automata with errors.
linkcheck_anchors = False
linkcheck_timeout = 20
