"""One line per module, from the first lines of the docstrings: the last section of docs/architecture.md.

python tests/support/module_list.py      # write the section anew
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
_MARK = "<!-- modules -->\n"


def page() -> str:
    """Return the page as it should be."""
    return PAGE.read_text("utf-8").partition(_MARK)[0] + _MARK + "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    package = ROOT / "sentiment_cli"
    for folder in sorted({path.parent for path in package.rglob("*.py")}):
        name = folder.relative_to(ROOT).as_posix()
        yield f"\n### `{name}/`\n\n| module | subject |\n|---|---|"
        for path in sorted(folder.glob("*.py")):
            said = ast.get_docstring(ast.parse(path.read_text("utf-8")))
            if said is not None:
                first = said.partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")
                yield f"| `{path.name}` | {first} |"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
