"""`sentiment cite`."""

from sentiment_cli import __version__, console


def cite() -> None:
    """Print how to cite this program, as BibTeX.

    \b
    Examples:
      sentiment cite
    """
    console.result(f"@software{{sentiment,\n  title = {{sentiment}},\n  version = {{{__version__}}}\n}}")
