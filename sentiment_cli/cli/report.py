"""`sentiment report`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from sentiment_cli import console
from sentiment_cli.cli import completion
from sentiment_cli.cli.parameters import RunOption
from sentiment_cli.errors import Change
from sentiment_cli.runs.directory import find_run, named_run
from sentiment_cli.storage import store
from sentiment_cli.storage.sealed_pages import is_sealed, sealed


def report(
    runs: Annotated[
        list[str] | None,
        Argument(
            metavar="RUN...",
            help="Run directories or names; several are compared. Without one, the newest finished run.",
            autocompletion=completion.runs,
        ),
    ] = None,
    markdown: Annotated[bool, Option("--markdown", help="Write a model card as Markdown instead of a page.")] = False,
    out: Annotated[
        Path | None, Option(metavar="FILE", help="Output file; the default is report.html or README.md in the run.")
    ] = None,
    run_option: RunOption = None,
) -> None:
    """Write an HTML report or a model card.

    A report reads the files of a run and trains or scores nothing. It names
    what is missing and the command that creates it. Several runs are compared
    side by side.

    \b
    Examples:
      sentiment report
      sentiment report imdb-lstm --markdown --out CARD.md
      sentiment report imdb-lstm imdb-lstm-2 --out comparison.html
    """
    named = [*(runs or []), *([run_option] if run_option is not None else [])]
    paths = list(dict.fromkeys(named_run(run) for run in named)) or [find_run(None)]
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
