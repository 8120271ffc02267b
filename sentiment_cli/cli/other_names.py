"""An option that a command does not have: the option, setting or argument that it means under another name."""

import contextlib
import difflib
import json
import re
import shlex
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args

from sentiment_cli.cli.again import Typed, Word, options_of, written
from sentiment_cli.cli.reading import OF_LABELS, OF_TEXTS
from sentiment_cli.cli.typed_data import is_data, seconds_of
from sentiment_cli.errors import SentimentError
from sentiment_cli.storage import store

_ALIKE = 0.75  # as difflib counts: --colour for --color, and not --lang for --label-map
# What other tools call things, and what is meant: the first that the command has and that takes the value. A setting
# has a dot in its name, an argument is in angle brackets, and > is a file that the output is written to.
_MEANINGS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("--model", "-r", "-m"): ("--run", "--model"),
    ("--file", "--data", "--dataset", "--input", "--input-file", "-i", "-f"): ("--file", "--data", "data.source"),
    ("--test", "--test-file"): ("--test", "data.test", "--data", "--file"),
    ("--train", "--train-file"): ("--data", "--file", "data.source"),
    ("--dev", "--val", "--valid", "--validation", "--valid-file", "--validation-file"): (
        *("data.valid.share", "data.valid.source"),
        *("--data", "--file"),
    ),
    ("--split", "--val-size", "--valid-size", "--validation-size", "--dev-size"): ("data.valid.share",),
    ("--val-split", "--valid-split", "--validation-split", "--valid-share"): ("data.valid.share",),
    ("--test-size", "--test-split", "--test-share"): ("data.test_share",),
    ("--text",): ("<text>", "--text-column", "data.text_column"),
    ("--text-column", "--text-col", "--text-field", "--column"): ("--text-column", "data.text_column"),
    ("--label", "--label-column", "--label-col", "--label-field"): ("--label-column", "data.label_column"),
    ("--target", "--target-column"): ("data.target", "--label-column", "data.label_column"),
    ("--label-map", "--map"): ("--label-map", "data.label_map"),
    ("--labels",): ("--label-map", "data.label_map", "--label-column", "data.label_column"),
    ("--sep", "--separator", "--delimiter", "--delim"): ("data.delimiter",),
    ("--output", "--out", "--output-file", "-o"): ("--out", ">", "--name"),
    ("--output-dir", "--run-name"): ("--out", "--name"),
    ("--config", "--experiment", "--recipe", "-c"): ("<config>", "--from"),
}
_MEANT = {name: meanings for names, meanings in _MEANINGS.items() for name in names}
_OVERWRITING = ("--overwrite", "--force", "--replace", "--exist-ok")
_SETTABLE = {"predict": OF_TEXTS, "eval": OF_LABELS}  # the settings of data that their --set takes
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?%?", re.IGNORECASE)


def explain_option(name: str, typed: Typed) -> tuple[str, str]:
    """Return what to say of an option that the command does not have, and what to type instead."""
    i = next(i for i, word in enumerate(typed.words) if word.option and word.option.startswith(name))
    return _Unknown(name, typed, i).explain()


class _Unknown:
    """An unknown option of a command line, with its value, and the words before and after them."""

    def __init__(self, name: str, typed: Typed, i: int) -> None:
        self.name, self.typed = name, typed
        self.known = options_of(typed.command)
        self.word, self.before, self.rest = typed.words[i], typed.words[:i], typed.words[i + 1 :]
        text = str(self.word.option)
        has_next = bool(self.rest) and self.rest[0].option is None
        self.value = text.partition("=")[2] or (self.rest[0].value if has_next else None)
        self.after = self.rest if "=" in text or self.value is None else self.rest[1:]
        self.said = f"there is no option {name}"
        self.help = f"{' '.join(typed.path)} --help"

    def explain(self) -> tuple[str, str]:
        if " " in str(self.word.option) and "--file" in self.known:
            text = Word(None, self.word.option)
            return f"{self.word.option!r} begins with a dash, as options do", self._with(text, after=self.rest)
        plain = self.name.lower().replace("_", "-")
        if plain in _OVERWRITING:
            return f"{self.said}: files that are there are not overwritten", self._with(after=self.rest)
        for meaning in (plain, *_MEANT.get(plain, ())):
            if (found := self._as(meaning)) is not None:
                return found
        if plain in _MEANT:
            return self.said, self.help
        return next(self._alike(plain), (self.said, self.help))

    def _with(self, *words: Word, after: list[Word] | None = None) -> str:
        return written(self.typed.path, [*self.before, *words, *(self.after if after is None else after)])

    def _as(self, meaning: str) -> tuple[str, str] | None:
        """Return the answer if it means this; None where the command has no such thing, or it takes no such value."""
        if meaning in ("--data", "data.source") and self._has_data():
            return None
        if meaning == ">":
            return self._redirected()
        if meaning.startswith("<"):
            return self._as_argument(meaning.strip("<>"))
        if not meaning.startswith("-"):
            return self._as_setting(meaning) if self.value is not None and "." in meaning else None
        if meaning not in self.known:
            return None
        said = f"{self.said}. Did you mean {meaning}?"
        if self.known[meaning].is_flag:
            return said, self._with(Word(meaning, None), after=self.rest)
        choices = choices_of(self.known[meaning])
        if choices and self.value not in choices:
            return said, self._with(Word(meaning, choices[0]), after=self.rest)
        if self.value is None:
            return said, self.help
        if not _takes(self.known[meaning], meaning, self.value):
            return None
        return said, self._with(Word(meaning, self.value))

    def _has_data(self) -> bool:
        """Say whether the data are named already."""
        words = [*self.before, *self.after]
        return any(word.option == "--data" or (word.option is None and _is_data(word.value)) for word in words)

    def _as_argument(self, name: str) -> tuple[str, str] | None:
        names = {one.name for one in self.typed.command.params if one.param_type_name == "argument"}
        if name not in names or self.value is None:
            return None
        words = [*self.before, Word(None, self.value), *self.after]
        data = next((i for i, word in enumerate(words) if word.option is None and _is_data(word.value)), None)
        if name == "config" and data is not None:
            first, last = sorted((data, len(self.before)))
            words[first], words[last] = Word(None, self.value), Word("--data", words[data].value)
        what = "the experiment goes" if name == "config" else "texts go"
        return f"{self.said}; {what} without one", written(self.typed.path, words)

    def _redirected(self) -> tuple[str, str] | None:
        if self.value is None or not self.value.endswith(".json") or "--json" not in self.known:
            return None
        words = [word for word in [*self.before, *self.after] if word.option != "--json"]
        to = shlex.quote(str(store.unused_path(Path(self.value))))
        said = f"{self.said}; --json prints what a file can hold"
        return said, f"{written(self.typed.path, [*words, Word('--json', None)])} > {to}"

    def _as_setting(self, key: str, *, is_exact: bool = False) -> tuple[str, str] | None:
        """Return the answer with --set; a setting of that very name has its default for a value that it does not take.

        None where the command does not take the setting, or the setting not the value.
        """
        from sentiment_cli.config.problems import takes

        allowed = _SETTABLE.get(self.typed.path[-1])
        if "--set" not in self.known or (allowed is not None and key.removeprefix("data.") not in allowed):
            return None
        shown = None if self.value is None else _as_yaml(key, self.value)
        if shown is None or not takes(key, shown):
            if not is_exact:
                return None
            shown = _default_of(key)
        return f"{self.said}; settings are changed with --set", self._with(Word("--set", f"{key}={shown}"))

    def _alike(self, plain: str) -> Iterator[tuple[str, str]]:
        """Yield the answers for a setting of that name, an option that looks alike, and a setting that does."""
        from sentiment_cli.config.nearest import nearest_setting

        path = self.name.lstrip("-").split(".")
        exact = nearest_setting(path, 1.0)
        if exact is not None and (found := self._as_setting(exact, is_exact=True)) is not None:
            yield found
        names = {name.lstrip("-"): name for name in self.known if name.startswith("--")}
        for near in difflib.get_close_matches(plain.lstrip("-"), names, n=1, cutoff=_ALIKE):
            if (found := self._as(names[near])) is not None:
                yield found
        key = nearest_setting(path, _ALIKE)
        if key is not None and (found := self._as_setting(key)) is not None:
            yield found


def _takes(parameter: Any, name: str, value: str) -> bool:
    """Say whether an option's value can be this one."""
    kinds = (kind := _kind_of(parameter), *get_args(kind))
    if int in kinds:
        return value.isdigit()
    if name == "--time":
        return _is_duration(value)
    if name == "--label-map":
        return "=" in value or value.startswith("{")
    if name == "--name":
        return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value) is not None
    return name not in ("--data", "--file", "--test") or _NUMBER.fullmatch(value) is None


def _is_duration(text: str) -> bool:
    with contextlib.suppress(SentimentError):
        return seconds_of(text) is not None
    return False


def _is_data(text: str | None) -> bool:
    with contextlib.suppress(SentimentError):
        return is_data(text)
    return False


def _as_yaml(key: str, value: str) -> str:
    """Write a typed value as the setting's YAML."""
    from sentiment_cli.data.sources.labels import dump_label_map, parse_label_map
    from sentiment_cli.data.tables.column_roles import name_as_yaml

    if key == "data.delimiter":
        return "tab" if value in ("\t", "\\t") else json.dumps(value) if len(value) == 1 else value
    if key == "data.label_map":
        return value if value.startswith("{") or "=" not in value else dump_label_map(parse_label_map(value.split(",")))
    return name_as_yaml(value) if key.endswith("_column") and not value.startswith("[") else value


def _default_of(key: str) -> str:
    from sentiment_cli.config.loader import load_settings

    value = next(setting.value for setting in load_settings(None) if setting.key == key)
    return value if isinstance(value, str) else json.dumps(value)


def _kind_of(parameter: Any) -> Any:
    return getattr(getattr(parameter, "type_descriptor", None), "annotation", None)


def choices_of(parameter: Any) -> list[str]:
    """Return what a parameter's value can be, where that is one of a few words."""
    kinds = [kind := _kind_of(parameter), *get_args(kind)]
    return [str(member.value) for one in kinds if isinstance(one, type) and issubclass(one, Enum) for member in one]
