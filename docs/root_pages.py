"""A hook of MkDocs (mkdocs.yml names it): the pages of the repository's root become pages of the site.

A link in Markdown is one that works in the repository. Here it is made to work in the site: it leads to the page or to
the file of docs/, and from a result's Markdown to its page in HTML, where it has one. A link to a repository file that
the site does not have becomes plain text.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
PAGES = {
    "README.md": "index.md", "SECURITY.md": "security.md", "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}  # fmt: skip
SOURCES = {page: source for source, page in PAGES.items()}
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Any, *, config: Any) -> Any:
    """Adds the root's pages to the site's files."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """The page's text with the links of the site. Measured tables (results/) are left out of the search."""
    if page.file.src_uri.startswith("results/"):
        page.meta["search"] = {"exclude": True}
    return linked(markdown, page.file.src_uri)


def linked(markdown: str, page: str) -> str:
    """The Markdown of a page of the site, given by its path in docs/, with each link to a file rewritten."""
    return LINK.sub(lambda found: _rewritten(page, *found.groups()), markdown)


def _rewritten(page: str, image: str, text: str, target: str) -> str:
    name, hash_sign, anchor = target.partition("#")
    if not name or re.match(r"[a-z]+:", name):
        return f"{image}[{text}]({target})"
    place = _in_site(posixpath.normpath(posixpath.join(posixpath.dirname(_source(page)), name)))
    if place is None:
        return text
    return f"{image}[{text}]({posixpath.relpath(place, posixpath.dirname(page) or '.')}{hash_sign}{anchor})"


def _source(page: str) -> str:
    """The page's path in the repository."""
    return SOURCES.get(page, f"docs/{page}")


def _in_site(path: str) -> str | None:
    """Where the site has this file of the repository; None where it has not."""
    if path in PAGES:
        return PAGES[path]
    if not path.startswith("docs/"):
        return None
    page = Path(path).with_suffix(".html")
    return (page.as_posix() if (ROOT / page).exists() else path).removeprefix("docs/")
