"""`sentiment report`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from sentiment_cli import console
from sentiment_cli.errors import Change
from sentiment_cli.runs.directory import named_run
from sentiment_cli.storage import store
from sentiment_cli.storage.sealed_pages import is_sealed, sealed


def report(
    runs: Annotated[list[str], Argument(metavar="RUN...", help="Run directories or names; several are compared.")],
    markdown: Annotated[bool, Option("--markdown", help="Write a model card as Markdown instead of a page.")] = False,
    out: Annotated[
        Path | None, Option(metavar="FILE", help="Output file; the default is report.html or README.md in the run.")
    ] = None,
) -> None:
    """Write an HTML report or a model card of a run, or of several runs side by side.

    Nothing is trained or scored for it: what is missing is named, with the command that makes it.

    \b
    Examples:
      sentiment report imdb-lstm
      sentiment report imdb-lstm --markdown --out CARD.md
      sentiment report imdb-lstm imdb-lstm-2 --out comparison.html
    """
    paths = list(dict.fromkeys(named_run(run) for run in runs))
    ending = "md" if markdown else "html"
    name = f"comparison.{ending}" if len(paths) > 1 else "README.md" if markdown else "report.html"
    target = out or paths[0] / name
    store.check_replaceable(target, is_sealed, Change("--out", str(store.free_path(target))))
    from sentiment_cli.reports.svg import check_matplotlib

    if not markdown:
        check_matplotlib()
    from sentiment_cli.reports.comparison_report import build_comparison
    from sentiment_cli.reports.run_files import read_run
    from sentiment_cli.reports.run_report import build_report

    found = [read_run(path) for path in paths]
    document = build_report(found[0]) if len(found) == 1 else build_comparison(found)
    if markdown:
        from sentiment_cli.reports.markdown import render_card

        data = sealed(render_card(document), "markdown")
    else:
        from sentiment_cli.reports.html import render_page

        data = sealed(render_page(document), "html")
    store.write_file(target, data)
    console.result(str(target))
