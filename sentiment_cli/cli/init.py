"""`sentiment init`: a commented experiment file to edit."""

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from sentiment_cli import console
from sentiment_cli.cli import completion
from sentiment_cli.cli.nested import Line, nested_yaml
from sentiment_cli.config.recipes import recipe_names
from sentiment_cli.errors import Change, DataError, UsageError
from sentiment_cli.storage import store

if TYPE_CHECKING:
    from sentiment_cli.config.schema import Data

# The settings that people change first; `sentiment config show` prints them all.
_FIRST = (
    "name",
    "seed",
    "data.source",
    "data.test",
    "data.text_column",
    "data.label_column",
    "data.label_map",
    "data.valid.share",
    "text.tokenizer",
    "text.lowercase",
    "text.max_tokens",
    "vocabulary.size",
    "vocabulary.min_count",
    "model.kind",
    "model.embedding.width",
    "model.embedding.std",
    "model.embedding.dropout",
    "model.embedding.word_dropout",
    "model.encoder.cell",
    "model.encoder.width",
    "model.encoder.layers",
    "model.encoder.bidirectional",
    "model.pooling",
    "model.dropout",
    "train.lr",
    "train.schedule",
    "train.warmup",
    "train.epochs",
    "train.batch_tokens",
    "train.max_grad_norm",
    "train.monitor",
    "train.patience",
)
_COMMENTS_FROM = 32


def init(
    file: Annotated[Path, Argument(help="File to write.")] = Path("experiment.yaml"),
    data: Annotated[str | None, Option("--data", metavar="FILE", help="Training data: a file or a folder.")] = None,
    recipe: Annotated[
        str | None,
        Option("--from", metavar="NAME", help="Built-in experiment to start from.", autocompletion=completion.recipes),
    ] = None,
) -> None:
    """Write a commented experiment file to start from.

    It holds the settings that are changed most often, each with its meaning.
    A file that exists is not overwritten.

    \b
    Examples:
      sentiment init my.yaml --data my.csv
      sentiment init my-gru.yaml --from gru
    """
    if data is None and _names_data(file):
        own = store.unused_path(Path(f"{file.name.partition('.')[0]}.yaml"))
        raise UsageError(
            f"{file} has the name of data, not of an experiment file",
            Change("--data", str(file), words={str(file): str(own)}),
        )
    if os.path.lexists(file):
        raise UsageError(f"{file} exists already", Change(words={str(file): str(store.free_path(file))}))
    text = _experiment(file, data, recipe or _suited(data))
    store.write_file(file, text.encode())
    console.say(f"Edit {file}, then train it: sentiment train {file}")
    console.result(str(file))


def _names_data(file: Path) -> bool:
    """Say whether it is a table by its name, or a folder or file of data."""
    from sentiment_cli.cli.typed_data import is_data
    from sentiment_cli.data.files.file_kinds import JSON_SUFFIXES, table_suffix

    is_named = table_suffix(file.name) is not None and file.suffix not in JSON_SUFFIXES
    with contextlib.suppress(DataError):
        return is_named or is_data(str(file))
    return is_named


def _suited(data: str | None) -> str:
    """Return the experiment to start from: `default` is tuned for IMDb, and too few steps on a small file."""
    return next(name for name in ("own", "sample") if name in recipe_names()) if data is not None else "default"


def _experiment(file: Path, data: str | None, recipe: str) -> str:
    from sentiment_cli.config.loader import flat_values, load_experiment
    from sentiment_cli.config.reference import meanings

    experiment = load_experiment(recipe, [] if data is None else [f"data.source={data}"])
    values = {**flat_values(experiment), "name": _name(file)}
    if data is not None:
        values["data.source"] = os.path.relpath(os.path.expanduser(data), file.parent)  # noqa: PTH111 - the home of nobody is a name
    meaning = meanings()
    opening = (
        f"# Settings that are not here have those of `{recipe}`; sentiment config show {file.name} prints them all."
    )
    own = _label_settings(experiment.data) if data is not None else {}
    place = _FIRST.index("data.label_map")
    of_gpu = [key for key in values if key.startswith("train.gpu.") and values[key] is not None]
    keys = [*_FIRST[:place], *own, *_FIRST[place:], *of_gpu]
    settings = (Line(key, own.get(key, values[key]), meaning[key]) for key in keys)
    return "\n".join([opening, "", f"extends: {recipe}", *nested_yaml(settings, _COMMENTS_FROM)]) + "\n"


def _label_settings(data: "Data") -> dict[str, str]:
    """Return the settings that read several labels a row; none where the file cannot be read yet."""
    from sentiment_cli.data.corpus.label_form import find_label_form

    with contextlib.suppress(DataError):
        form = find_label_form(data)
        return {} if form is None else form.settings
    return {}


def _name(file: Path) -> str:
    """Return a run name made of a file's name."""
    kept = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "._-") else "-" for sign in file.stem)
    return kept.lstrip("._-")[:64] or "experiment"
