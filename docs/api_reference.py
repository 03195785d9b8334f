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
SWAGGER = {
    "assets/swagger-ui.js": "javascripts/swagger-ui-bundle.js", "assets/swagger-ui.css": "stylesheets/swagger-ui.css",
}  # fmt: skip
DOCUMENT = '<script type="application/json" id="openapi">{}</script>'
DRAWN = '<script src="assets/swagger-ui.js"></script>\n<script src="assets/api-reference.js"></script>'


def on_files(files: Any, *, config: Any) -> Any:
    """Adds Swagger UI to the site's files."""
    for target, source in SWAGGER.items():
        path = resources.files("mkdocs_swagger_ui_tag") / "swagger-ui" / source
        files.append(File.generated(config, target, abs_src_path=str(path)))
    return files


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    """The finished page with the document and its script, which the search has not seen."""
    if page.file.src_uri != PAGE:
        return output
    document = (HERE / "openapi.json").read_text().replace("</", "<\\/")
    return output.replace(PLACE, f"{PLACE}\n{DOCUMENT.format(document)}\n{DRAWN}")
