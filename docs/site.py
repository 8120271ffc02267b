"""A hook of MkDocs: the repository's own pages become pages of the site, and links among all of them are kept."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "overview.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie above docs/."""
    for name, place in PAGES.items():
        files.append(File.generated(config, place, content=(ROOT / name).read_text("utf-8")))
    return files


def on_page_markdown(text: str, page: Any, config: Any, files: Any) -> str:
    """Turn links between the repository's pages and docs/ into links of the site."""
    if page.file.src_uri in PAGES.values():
        text = text.replace("](docs/", "](")
    for name, place in PAGES.items():
        text = re.sub(rf"\]\((?:\.\./)?{re.escape(name)}", f"]({place}", text)
    return text
