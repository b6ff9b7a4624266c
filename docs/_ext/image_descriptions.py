"""Warns of pictures without a description, also of those that tutorials draw."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)


def check(app: Sphinx, document: nodes.document, page: str) -> None:
    """Warn of each picture of a page that has no description."""
    for image in document.findall(nodes.image):
        if not image.get("alt"):
            LOGGER.warning("an image needs a description: %s", image["uri"], location=page)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect the extension."""
    app.connect("doctree-resolved", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
