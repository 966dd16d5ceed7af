"""How Sphinx builds the documentation site (`make docs`)."""

from __future__ import annotations

import os
import pydoc
import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # Sphinx brings it there

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REPOSITORY = PROJECT["urls"]["Repository"]
LOG = logging.getLogger(__name__)

project = PROJECT["name"]
author = PROJECT["authors"][0]["name"]
project_copyright = author
version = release = PROJECT["version"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # MathJax from a copy beside the pages: a reader needs no network
    "sphinx_copybutton",
]
myst_enable_extensions = ["dollarmath", "fieldlist"]
myst_heading_anchors = 4
highlight_language = "text"  # indented blocks are commands and equations

html_theme = "furo"
html_use_index = html_domain_indices = False  # wider than a phone; the search finds names
html_title = f"{project} {release}"
html_theme_options = {
    "source_repository": REPOSITORY,
    "source_branch": "main",
    "source_directory": "docs/",
}
copybutton_exclude = ".linenos, .gp"

# Docstrings write `name` for what may be looked up and ``code`` for everything else.  What does not
# begin with the package is a name beside it, or of another package: not all have a page.
default_role = "py:obj"
nitpick_ignore_regex = [("py:.*", r"(?!mbrl_agents\.).*")]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Files outside of docs/ that are pages of the site.
PAGES = {
    "README.md": "index",
    "CHANGELOG.md": "changelog",
    "CONTRIBUTING.md": "contributing",
    **{
        str(file.relative_to(ROOT)): file.parent.name
        for file in ROOT.glob("mbrl_agents/algorithms/*/README.md")
    },
}
LINK = re.compile(r"\]\((?!https?:|mailto:|#|/)(?P<path>[^)\s#]+)(?P<anchor>#[^)\s]*)?\)")


def on_the_site(text: str, file: Path) -> str:
    """The Markdown of ``file`` with its links as the site needs them.

    They are written for the repository, relative to the file.  Those to pages of the site become
    links to these, those to anything else in the repository links to where it is published.
    """

    def replaced(match: re.Match[str]) -> str:
        target = (file.parent / match["path"]).resolve()
        image = match.string[: match.start()].rpartition("[")[0].endswith("!")
        if image or not target.is_relative_to(ROOT):
            return match[0]
        name = target.relative_to(ROOT).as_posix()
        anchor = match["anchor"] or ""
        if not target.exists():
            LOG.warning("%s links to %s, which does not exist", file.relative_to(ROOT), name)
        elif target.suffix == ".md" and target.is_relative_to(DOCS):
            return f"](/{target.relative_to(DOCS).as_posix()}{anchor})"
        elif name in PAGES:
            return f"](/{PAGES[name]}.md{anchor})"
        kind = "tree" if target.is_dir() else "blob"
        return f"]({REPOSITORY}/{kind}/main/{name}{anchor})"

    return LINK.sub(replaced, text)


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """A page of docs/ was read."""
    source[0] = on_the_site(source[0], Path(app.env.doc2path(docname)))


def included(app: Sphinx, path: Path, parent: str, source: list[str]) -> None:
    """A file was read that a page includes."""
    source[0] = on_the_site(source[0], Path(os.path.normpath(app.srcdir / path)))


def without_page(app: Sphinx, env: Any, node: Any, content: nodes.Node) -> nodes.Node | None:
    """A name of the package that no page is about is shown as it is, if there is such a thing."""
    name = node.get("reftarget", "")
    exists = name.startswith("mbrl_agents.") and pydoc.locate(name) is not None
    return content if exists else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", read)
    app.connect("include-read", included)
    app.connect("missing-reference", without_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
