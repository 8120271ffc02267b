"""`sentiment export`."""

import json
import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from sentiment_cli import console
from sentiment_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    from sentiment_cli.inference.ensembles import Ensemble
    from sentiment_cli.inference.graphs.precision import Precision


class Choice(StrEnum):
    fp32 = "fp32"
    int8 = "int8"
    fp16 = "fp16"
    all = "all"


def export(
    run: Annotated[
        str | None, Argument(help="Run directory or name, or a packed model; without one, the newest finished run.")
    ] = None,
    precision: Annotated[
        list[Choice] | None, Option(help="How weights are stored; repeatable. Without it all, or with --pack fp32.")
    ] = None,
    out: Annotated[
        Path | None, Option(metavar="DIR|FILE", help="Where NAME-PRECISION.onnx go, or one file that ends in .onnx.")
    ] = None,
    pack: Annotated[
        Path | None, Option(metavar="FILE", help="Pack a graph and all that goes with it in one file, to use as RUN.")
    ] = None,
    page: Annotated[
        Path | None, Option(metavar="FILE", help="Write one HTML file that answers in a browser, without a network.")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Take a model out of the tool: as ONNX files, tried on validation, or as one file that predicts by itself.

    \b
    Examples:
      sentiment export imdb-lstm
      sentiment export imdb-lstm --precision int8 --out imdb-lstm.onnx
      sentiment export imdb-lstm --precision int8 --pack imdb-lstm.model
      sentiment predict --run imdb-lstm.model "I just really loved the movie"
      sentiment export imdb-lstm --page imdb-lstm.html
    """
    from sentiment_cli.inference.runs import find_run

    if page is not None:
        _write_page(run, page, precision, {"--out": out, "--pack": pack}, as_json)
        return
    asked = _asked(precision, pack)
    is_file = out is not None and out.suffix == ".onnx"
    if len(asked) > 1 and (pack is not None or is_file):
        named = ["sentiment export", *([] if run is None else [shlex.quote(run)])]
        place = ["--out" if pack is None else "--pack", shlex.quote(str(pack or out))]
        raise UsageError(
            f"{pack or out} holds one precision, and {', '.join(asked)} are asked for",
            " ".join([*named, "--precision", asked[0], *place]),
        )
    path = find_run(run)
    from sentiment_cli.inference.ensembles import Ensemble, open_model

    model = open_model(path)
    if isinstance(model, Ensemble):
        if pack is None or precision or out is not None:
            raise UsageError(
                f"{path} is an ensemble, which is no one graph: it can be packed as it is, and its members exported",
                f"{_command(path)} --pack FILE",
            )
        _pack(model, pack, path, as_json)
        return
    from sentiment_cli.evaluation import exports
    from sentiment_cli.inference.artefact import pack_artefact
    from sentiment_cli.inference.graphs.builder import NoGraphError

    files: dict[Precision, Path | None] = dict.fromkeys(asked)
    if out is not None or pack is None:
        name = path.resolve().stem if path.is_file() else path.resolve().name
        files = {one: out if is_file else (out or Path()) / f"{name}-{one}.onnx" for one in asked}
    found = {}
    try:
        found = exports.export(model, files, pack)
    except NoGraphError as error:
        if pack is None or precision or out is not None:
            raise DataError(f"{path} has no graph: {error}", f"{_command(path)} --pack FILE") from error
        console.say(f"the weights are packed, which torch is loaded for: {error}")
        pack_artefact(model, pack)
    refused = [(name, one.refused) for name, one in found.items() if one.refused is not None]
    packed = None if pack is None or refused else str(pack)
    if as_json:
        of_precisions = {name: one.to_json() for name, one in found.items()}
        console.result(json.dumps({"run": str(path), "exports": of_precisions, "pack": packed}))
    else:
        exports.print_exports(found)
        if packed is not None:
            console.result(packed)
    if refused:
        others = [one for one in ("fp32", "fp16") if one not in dict(refused)]
        raise DataError(
            "; ".join(f"{name} is refused: {reason}" for name, reason in refused),
            f"{_command(path)} --precision {others[0]}" if others else f"{_command(path)} --pack FILE",
        )


def _write_page(
    run: str | None, page: Path, precision: list[Choice] | None, others: dict[str, Path | None], as_json: bool
) -> None:
    """Write a model as a page, where nothing is there."""
    from sentiment_cli import store
    from sentiment_cli.inference.runs import find_run

    named = ["sentiment", "export", *([] if run is None else [run]), "--page", str(page)]
    for option, place in others.items():
        if place is not None:
            raise UsageError(f"--page and {option} are both given; they are written one by one", shlex.join(named))
    if precision is not None and (len(precision) > 1 or precision[0] == Choice.all):
        raise UsageError(f"{page} holds one precision", shlex.join([*named, "--precision", "fp16"]))
    if store.is_there(page):
        free = page.with_name(f"{page.stem}-{run or 'new'}{page.suffix}".replace("/", "-"))
        raise UsageError(f"{page} is there already, and nothing is overwritten", shlex.join([*named[:-1], str(free)]))
    path = find_run(run)
    from sentiment_cli.inference.browser.export import model_page
    from sentiment_cli.inference.ensembles import open_model

    storage: Precision = precision[0].value if precision is not None else "fp32"  # type: ignore[assignment]
    html = model_page(open_model(path), storage).encode()
    store.write_file(page, html)
    console.result(json.dumps({"run": str(path), "page": str(page), "bytes": len(html)}) if as_json else str(page))


def _pack(ensemble: "Ensemble", pack: Path, path: Path, as_json: bool) -> None:
    """Write an ensemble as one file, where nothing is there."""
    from sentiment_cli.inference.ensembles import pack_ensemble
    from sentiment_cli.inference.members import check_free

    check_free(pack)
    pack_ensemble(ensemble, pack)
    console.result(json.dumps({"run": str(path), "exports": {}, "pack": str(pack)}) if as_json else str(pack))


def _asked(choices: list[Choice] | None, pack: Path | None) -> "list[Precision]":
    """Return the precisions to export, each once, in the order they are given in."""
    every: list[Precision] = ["fp32", "int8", "fp16"]
    if choices is None:
        return every[:1] if pack is not None else every
    given = [choice.value for choice in choices]
    return every if "all" in given else sorted({one for one in every if one in given}, key=given.index)


def _command(path: Path) -> str:
    return f"sentiment export {shlex.quote(str(path))}"
