"""A hook of MkDocs (mkdocs.yml names it): docs/openapi.json as a page, drawn by Swagger UI.

Swagger UI comes out of the package mkdocs-swagger-ui-tag, whose plugin is not used: it reads the document over the
network, which a page that is opened as a file cannot do. Here the document is part of the page.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

HERE = Path(__file__).resolve().parent
PAGE, PLACE = "api-reference.md", '<div id="api-reference"></div>'
SCRIPT, STYLE = "javascripts/swagger-ui-bundle.js", "stylesheets/swagger-ui.css"
DOCUMENT = '<script type="application/json" id="openapi">{}</script>'
DRAWN = '<script src="assets/swagger-ui.js"></script>\n<script src="assets/api-reference.js"></script>'


def on_files(files: Any, *, config: Any) -> Any:
    """Adds Swagger UI to the site's files. It is drawn in a shadow tree, whose styles do not see the page's root."""
    swagger = resources.files("mkdocs_swagger_ui_tag") / "swagger-ui"
    style = (swagger / STYLE).read_text().replace("html.dark-mode", ":host(.dark-mode)")
    files.append(File.generated(config, "assets/swagger-ui.css", content=style))
    files.append(File.generated(config, "assets/swagger-ui.js", abs_src_path=str(swagger / SCRIPT)))
    return files


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    """The finished page with the document and its script, which the search has not seen."""
    if page.file.src_uri != PAGE:
        return output
    document = (HERE / "openapi.json").read_text().replace("</", "<\\/")
    return output.replace(PLACE, f"{PLACE}\n{DOCUMENT.format(document)}\n{DRAWN}")
