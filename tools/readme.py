"""README.md as a package index shows it, where relative links and pictures lead nowhere.

hatchling runs this hook for each build: `[tool.hatch.metadata.hooks.custom]` in pyproject.toml.
"""

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(?P<picture>!?)\[(?P<text>[^]]*)\]\((?P<path>[\w./-]+)(?P<anchor>#[\w-]+)?\)")


class ReadmeHook(MetadataHookInterface):
    """Readme whose links to files of the repository lead to those of the same version."""

    def update(self, metadata: dict) -> None:
        """Add the readme to the project's metadata."""
        root = Path(self.root)
        source, tag = metadata["urls"]["Source"], f"v{metadata['version']}"

        def absolute(link: re.Match) -> str:
            if not (root / link["path"]).exists():  # code, such as `layers[0](x)`
                return link[0]
            view = "raw" if link["picture"] else "blob"
            target = f"{source}/{view}/{tag}/{link['path']}{link['anchor'] or ''}"
            return f"{link['picture']}[{link['text']}]({target})"

        text = LINK.sub(absolute, (root / "README.md").read_text(encoding="utf-8"))
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
