"""The files that an experiment is made of: its own, those that it extends, and the pretraining that it starts from."""

import dataclasses
import os
import shlex
from pathlib import Path
from typing import Any

from sentiment_cli.config import yaml_text
from sentiment_cli.config.earlier import spell_out_earlier
from sentiment_cli.config.nearest import nearest
from sentiment_cli.config.paths import EXPERIMENT_FILE, is_file, recipes_dir, runs_dir
from sentiment_cli.config.recipes import find_config, recipe_names
from sentiment_cli.config.schema import Data
from sentiment_cli.config.yaml_text import KeyPath, Problem, Remedy, YamlDocument
from sentiment_cli.errors import UsageError

EXTENDS = "extends"
_LONGEST_CHAIN = 20
# What an experiment that starts from a pretraining has from it, unless it says otherwise.
_TAKEN_OVER: dict[str, Any] = {
    "data": None,
    "text": dict.fromkeys(("tokenizer", "characters", "lowercase", "markup", "punctuation", "start")),
    "vocabulary": dict.fromkeys(("size", "min_count", "from", "unknown")),
    "model": {"embedding": {"width": None}, "encoder": dict.fromkeys(("cell", "width", "layers", "skip"))},
}


def load_chain(path: Path, above: tuple[Path, ...] = ()) -> list[YamlDocument]:
    """Load a file and all it extends, the base first."""
    try:
        with path.open("rb") as handle:
            data = handle.read(yaml_text.MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", shlex.join(["ls", "-l", str(path)])) from error
    document = yaml_text.parse_file(_shown(path), data)
    spell_out_earlier(document.value)
    _anchor_configs(document, path.parent)
    if EXTENDS not in document.value:
        return [document]
    _, place = document.place_of((EXTENDS,))
    base = document.value[EXTENDS]
    if not isinstance(base, str):
        yaml_text.fail([Problem(document, place, f"extends is {base!r}: it should be a file or a shipped experiment")])
    target = path.parent / base
    if not is_file(target):
        if base not in recipe_names():
            message = f"extends is {base!r}, which is neither a file beside {path.name} nor a shipped experiment"
            near = nearest(Path(base).stem, recipe_names())
            remedy = Remedy(f"did you mean {near}?") if near is not None else None
            yaml_text.fail([Problem(document, place, message, len(base), lambda: remedy)])
        target = find_config(base)
    chain = (*above, path)
    if len(chain) > _LONGEST_CHAIN:
        yaml_text.fail([Problem(document, place, f"extends leads over more than {_LONGEST_CHAIN} files", len(base))])
    if any(target.samefile(earlier) for earlier in chain):
        names = " extends ".join(str(step) for step in (*chain, target))
        yaml_text.fail([Problem(document, place, f"extends goes in a circle: {names}", len(base))])
    return [*load_chain(target, chain), document]


def find_origin(name: str) -> Path | None:
    """Return the experiment file of the run, the file or the shipped experiment that init_from names, if it is any."""
    own = [Path(name)] if Path(name).suffix in (".yaml", ".yml") else []  # another may be a packed model
    places = (Path(name) / EXPERIMENT_FILE, runs_dir() / name / EXPERIMENT_FILE, *own)
    recipe = [recipes_dir() / f"{name}.yaml"] if name in recipe_names() else []
    return next((path for path in (*places, *recipe) if is_file(path)), None)


def taken_over(origin: Any, task: Any = None, source: Any = None) -> list[YamlDocument]:
    """Return what of the pretraining that init_from names lies under the settings of an experiment of a task.

    Vectors of words and regions are copied by word, so an experiment with another data.source has its own vocabulary.
    """
    path = find_origin(origin) if isinstance(origin, str) else None
    documents = [] if path is None else load_chain(path)
    its_task = next((document.value["task"] for document in reversed(documents) if "task" in document.value), None)
    if its_task in (None, "classify"):
        return []
    taken = _TAKEN_OVER
    by_word = {"vectors": {"embedding": {"width": None}}, "regions": {"regions": dict.fromkeys(("width", "window"))}}
    for one in filter((task, its_task).__contains__, by_word):
        taken = {**_TAKEN_OVER, "model": by_word[one]}
        if task in (None, "classify") and source is not None and not _is_same(source, documents):
            taken = {key: value for key, value in taken.items() if key not in ("data", "vocabulary")}
    return [
        dataclasses.replace(
            document,
            value=_only(document.value, taken),
            values={path: place for path, place in document.values.items() if _is_taken(path, taken)},
        )
        for document in documents
    ]


def _is_same(source: Any, documents: list[YamlDocument]) -> bool:
    """Say whether a data.source is that of a pretraining, whose files name theirs as a corpus or in full."""
    said = [
        document.value["data"].get("source") for document in documents if isinstance(document.value.get("data"), dict)
    ]
    theirs = next((one for one in reversed(said) if one is not None), Data.model_fields["source"].default)
    return source == theirs or (isinstance(source, str) and os.path.abspath(os.path.expanduser(source)) == theirs)  # noqa: PTH100, PTH111


def _is_taken(path: KeyPath, wanted: dict[str, Any] | None) -> bool:
    return wanted is None or not path or (path[0] in wanted and _is_taken(path[1:], wanted[str(path[0])]))


def _only(values: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the wanted keys of nested values; None wants all that is below."""
    return {
        key: value if wanted[key] is None or not isinstance(value, dict) else _only(value, wanted[key])
        for key, value in values.items()
        if key in wanted
    }


def _anchor_configs(document: YamlDocument, folder: Path) -> None:
    """Make names of experiment files absolute that lie beside a file; others are of runs or meant from here."""

    def anchored(name: Any) -> Any:
        if isinstance(name, list):
            return [anchored(one) for one in name]
        if isinstance(name, str) and Path(name).suffix in (".yaml", ".yml") and is_file(folder / name):
            return os.path.abspath(folder / name)  # noqa: PTH100 - Path.resolve would follow links
        return name

    teacher = document.value.get("teacher")
    for settings, key in ((document.value, "init_from"), (document.value, "init_backward"), (teacher, "run")):
        if isinstance(settings, dict) and key in settings:
            settings[key] = anchored(settings[key])


def _shown(path: Path) -> str:
    """Name a file from here where it lies below, so that an editor finds it and a screen holds it."""
    path = Path(os.path.normpath(path))
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
