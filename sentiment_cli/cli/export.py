"""`sentiment export`."""

import json
import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from sentiment_cli import console
from sentiment_cli.cli.parameters import Run, RunOption, one_run
from sentiment_cli.errors import Change, DataError, UsageError

if TYPE_CHECKING:
    from sentiment_cli.onnx.quantize import Precision
    from sentiment_cli.runs.ensemble_model import SavedModel


class Choice(StrEnum):
    fp32 = "fp32"
    int8 = "int8"
    fp16 = "fp16"
    all = "all"


def export(
    run: Run = None,
    precision: Annotated[
        list[Choice] | None,
        Option(help="How weights are stored; repeatable. Without it all three, or fp32 for a single file."),
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
    hub: Annotated[
        Path | None,
        Option(metavar="DIR", help="Write a folder for a model hub: card, weights, settings, packed model."),
    ] = None,
    mlflow: Annotated[
        Path | None, Option(metavar="DIR", help="Write a folder that MLflow loads as a pyfunc, without torch.")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="Print one JSON object.")] = False,
    run_option: RunOption = None,
) -> None:
    """Export a model as ONNX or as one portable file.

    \b
    Examples:
      sentiment export imdb-lstm
      sentiment export imdb-lstm --precision int8 --out imdb-lstm.onnx
      sentiment export imdb-lstm --precision int8 --pack imdb-lstm.model
      sentiment predict --run imdb-lstm.model "I just really loved the movie"
      sentiment export imdb-lstm --page imdb-lstm.html
      sentiment export imdb-lstm --hub imdb-lstm-hub
      sentiment export imdb-lstm --mlflow imdb-lstm-mlflow
    """
    from sentiment_cli.runs.directory import find_run

    given = {"--page": page, "--out": out, "--pack": pack, "--precision": precision}
    further = [name for name, value in given.items() if value is not None]
    if hub is not None:
        further += ["--mlflow"] if mlflow is not None else []
        _write_hub(one_run(run, run_option), hub, further, as_json)
        return
    if mlflow is not None:
        _write_mlflow(one_run(run, run_option), mlflow, further, as_json)
        return
    if page is not None:
        _write_page(run, page, precision, {"--out": out, "--pack": pack}, as_json)
        return
    is_file = out is not None and out.suffix == ".onnx"
    asked = _asked(precision, is_one=pack is not None or is_file)
    if len(asked) > 1 and (pack is not None or is_file):
        raise UsageError(
            f"{pack or out} holds one precision, and {', '.join(asked)} are asked for",
            Change("--precision", asked[0], without=["--precision"]),
        )
    path = find_run(one_run(run, run_option))
    from sentiment_cli.runs.ensemble_model import open_model

    model = open_model(path)
    if model.is_ensemble:
        if pack is None or precision or out is not None:
            raise UsageError(
                f"{path} is an ensemble, which is no one graph: it can be packed as it is, and its members exported",
                f"{_command(path)} --pack {_packed(path)}",
            )
        _pack(model, pack, path, as_json)
        return
    from sentiment_cli.evaluation import export_quality
    from sentiment_cli.onnx.builder import NoGraphError
    from sentiment_cli.runs.model_files import check_free, is_packed
    from sentiment_cli.runs.saved_model import pack_artefact

    files: dict[Precision, Path | None] = dict.fromkeys(asked)
    if out is not None or pack is None:
        name = path.resolve().stem if path.is_file() else path.resolve().name
        files = {one: out if is_file else (out or Path()) / f"{name}-{one}.onnx" for one in asked}
    found = {}
    try:
        found = export_quality.export_run(model.first, files, pack, _elsewhere(out, pack, list(files.values())))
    except NoGraphError as error:
        if pack is None or precision or out is not None:
            raise DataError(f"{path} has no graph: {error}", f"{_command(path)} --pack {_packed(path)}") from error
        check_free(pack, is_packed, _elsewhere(out, pack, []))
        console.say(f"the weights are packed, which torch is loaded for: {error}")
        pack_artefact(model.first, pack)
    refused = [(name, one.refused) for name, one in found.items() if one.refused is not None]
    packed = None if pack is None or refused else str(pack)
    if as_json:
        of_precisions = {name: one.to_json() for name, one in found.items()}
        console.result(json.dumps({"run": str(path), "exports": of_precisions, "pack": packed}))
    else:
        export_quality.print_exports(found)
        if packed is not None:
            console.result(packed)
    if refused:
        others = [one for one in ("fp32", "fp16") if one not in dict(refused)]
        raise DataError(
            "; ".join(f"{name} is refused: {reason}" for name, reason in refused),
            f"{_command(path)} --precision {others[0]}" if others else f"{_command(path)} --pack {_packed(path)}",
        )


def _write_page(
    run: str | None, page: Path, precision: list[Choice] | None, others: dict[str, Path | None], as_json: bool
) -> None:
    """Write a model as a page, where nothing is there."""
    from sentiment_cli.runs.directory import find_run
    from sentiment_cli.storage import store

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
    from sentiment_cli.runs.ensemble_model import open_model

    storage: Precision = precision[0].value if precision is not None else "fp32"  # type: ignore[assignment]
    html = model_page(open_model(path), storage).encode()
    store.write_file(page, html)
    console.result(json.dumps({"run": str(path), "page": str(page), "bytes": len(html)}) if as_json else str(page))


def _write_hub(run: str | None, hub: Path, others: list[str], as_json: bool) -> None:
    """Write a run as a folder for a model hub, where nothing is there."""
    from sentiment_cli.runs.directory import find_run

    if others:
        raise UsageError(f"--hub and {others[0]} are both given; they are written one by one", Change(without=others))
    path = find_run(run)
    from sentiment_cli.workflows.hub import write_hub_folder

    files = write_hub_folder(path, hub)
    console.result(json.dumps({"run": str(path), "hub": str(hub), "files": files}) if as_json else str(hub))
    console.say("no licence is set: it goes into the first lines of README.md, as license: NAME")


def _write_mlflow(run: str | None, folder: Path, others: list[str], as_json: bool) -> None:
    """Write a model as a folder of MLflow, where nothing is there."""
    from sentiment_cli.runs.directory import find_run

    if others:
        said = f"--mlflow and {others[0]} are both given; they are written one by one"
        raise UsageError(said, Change(without=others))
    path = find_run(run)
    from sentiment_cli.inference.pyfunc import write_mlflow_folder
    from sentiment_cli.runs.ensemble_model import open_model

    write_mlflow_folder(open_model(path), path.resolve().stem if path.is_file() else path.resolve().name, folder)
    console.result(json.dumps({"run": str(path), "mlflow": str(folder)}) if as_json else str(folder))


def _pack(ensemble: "SavedModel", pack: Path, path: Path, as_json: bool) -> None:
    """Write an ensemble as one file, where nothing is there."""
    from sentiment_cli.runs.ensemble_model import pack_model
    from sentiment_cli.runs.model_files import check_free, is_packed

    check_free(pack, is_packed, _elsewhere(None, pack, []))
    pack_model(ensemble, pack)
    console.result(json.dumps({"run": str(path), "exports": {}, "pack": str(pack)}) if as_json else str(pack))


def _elsewhere(out: Path | None, pack: Path | None, files: "list[Path | None]") -> Change:
    """Return the change to places where nothing is."""
    from sentiment_cli.storage import store

    if pack is not None and (pack.is_dir() or store.is_there(pack)):
        return Change("--pack", str(pack / "my.model" if pack.is_dir() else store.free_path(pack)))
    if len(files) == 1 and out is not None and out.suffix == ".onnx":
        return Change("--out", str(store.free_path(out)))
    return Change("--out", str(store.free_path((out or Path()) / "exported")))


def _asked(choices: list[Choice] | None, *, is_one: bool) -> "list[Precision]":
    """Return the precisions to export, each once, in the order they are given in; one file is fp32 by default."""
    every: list[Precision] = ["fp32", "int8", "fp16"]
    if choices is None:
        return every[:1] if is_one else every
    given = [choice.value for choice in choices]
    return every if "all" in given else sorted({one for one in every if one in given}, key=given.index)


def _packed(path: Path) -> str:
    return shlex.quote(f"{path.resolve().stem}.model")


def _command(path: Path) -> str:
    return f"sentiment export {shlex.quote(str(path))}"
