"""Which column holds the texts, which the labels: by its name, or by what it holds where no name tells."""

import difflib
import json
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sentiment_cli.data.files.file_kinds import show_command
from sentiment_cli.data.tables.rows import Columns, TextColumns
from sentiment_cli.errors import DataError

Role = Literal["text", "label", "group"]
NAMES_OF: dict[Role, tuple[str, ...]] = {
    "text": ("text", "review", "review_text", "content", "sentence", "comment", "body", "message", "tweet"),
    "label": ("label", "sentiment", "class", "category", "polarity", "target", "labels"),
    "group": ("group", "movie"),
}
# Parts of names that labels have, for a hint alone.
_LABELS = ("label", "sentiment", "class", "verdict", "rating", "score", "star", "gold", "emotion", "topic", "tag")
KNOWN_NAMES = frozenset(name for names in NAMES_OF.values() for name in names)
_MOST_DISTINCT = 1001
_MOST_LABELS, _ROWS_PER_LABEL = 50, 4
_LONGEST_LABEL, _WORDS_OF_LABEL = 40, 4
_WORDS_OF_TEXT, _CHARACTERS_OF_TEXT = 3, 15
_CLEARLY = 2.0  # as many characters, or labels, as the next one's make a column the one that is meant
_FEWER_LABELS = 3
_SIGNS_OF_TEXTS = " .,;'\"!?()-_&/<>=\t|"


class Found(NamedTuple):
    """The columns to read, and which of them were found by what they hold, with what else could be meant."""

    columns: Columns
    by_content: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def setting(key: str, value: Any) -> str:
    """Return --set for a column's name, as a shell takes it."""
    return f"--set {shlex.quote(f'data.{key}={name_as_yaml(value)}')}"


def name_as_yaml(value: Any) -> str:
    """Write a column's name, or several, as YAML that is read as such."""
    return value if isinstance(value, str) and _is_plain(value) else json.dumps(value, ensure_ascii=False)


def _is_plain(name: str) -> bool:
    return all(part.isidentifier() for part in name.split()) and name.lower() not in (
        "null",
        "true",
        "false",
        "yes",
        "no",
    )


def by_name(
    path: Path,
    names: Sequence[str],
    role: Role,
    asked: str | None,
    twins: Sequence[str] = (),
    taken: Sequence[str] = (),
) -> str | None:
    """Return the column of this name, or at this place, or the one with a name that tells its role; None for none.

    Raises DataError for a name that is asked for and not there, and for one that tells and that several have.
    """
    if asked is not None:
        if asked in names:
            return asked
        if asked.isdigit() and 1 <= int(asked) <= len(names):
            return names[int(asked) - 1]
        there = ", ".join(map(repr, names[:20])) + (", …" if len(names) > 20 else "")
        several = [part.strip() for part in re.split(r"[,;|+&]", asked)]
        if role == "text" and len(several) > 1 and all(part in names for part in several):
            said = f"{path} has no column {asked!r}; several columns are a list, [{', '.join(several)}]"
            raise DataError(said, setting("text_column", several))
        folded = {name.strip().casefold(): name for name in names}
        close = difflib.get_close_matches(asked.strip().casefold(), folded, n=1)
        near = folded[close[0]] if close else None
        hint = setting(f"{role}_column", near or _guess([name for name in names if name not in taken] or names, role))
        raise DataError(f"{path} has no column {asked!r}; it has {there}", hint)
    fits = [column for word in NAMES_OF[role] for column in names if column.strip().lower() == word]
    if fits and fits[0] in twins:
        n = 1 + sum(name.startswith(f"{fits[0]}.") and name[len(fits[0]) + 1 :].isdigit() for name in names)
        raise DataError(
            f"{path} has {n} columns named {fits[0]!r}; each needs a name of its own, and the second is called "
            f"{fits[0] + '.1'!r} here",
            setting(f"{role}_column", fits[0]),
        )
    return fits[0] if fits else None


def named_alike(names: Sequence[str], asked: Columns, found: Columns) -> list[str]:
    """Return what to say of columns whose names tell the same role as that of a column that was found by its name."""
    roles: tuple[tuple[Role, TextColumns, TextColumns], ...] = (
        ("text", asked.text, found.text),
        ("label", asked.label, found.label),
    )
    return [
        f"{name!r} can be the {role}, too; {setting(f'{role}_column', name)} reads it"
        for role, is_asked, column in roles
        if is_asked is None and isinstance(column, str) and column.strip().lower() in NAMES_OF[role]
        for name in names
        if name != column and name.strip().lower() in NAMES_OF[role]
    ]


def _guess(names: Sequence[str], role: Role) -> str:
    fits = [column for word in NAMES_OF[role] for column in names if word in column.strip().lower()]
    return fits[0] if fits else names[0] if role != "label" else names[-1]


class _Contents:
    """What one column holds, counted."""

    def __init__(self) -> None:
        self.n = self.n_characters = self.n_words = self.n_numbers = self.n_odd = self.n_missing = self.n_lists = 0
        self.distinct: set[str] = set()

    def take(self, value: Any) -> None:
        if value is None or value == "" or value != value:
            self.n_missing += 1
            return
        if isinstance(value, list) and all(isinstance(one, str) and len(one) <= _LONGEST_LABEL for one in value):
            self.n_lists += 1
            self.distinct.update(value if len(self.distinct) < _MOST_DISTINCT else ())
            return
        if isinstance(value, (list, dict, bytes)):
            self.n_odd += 1
            return
        text = str(value)
        self.n += 1
        self.n_characters += len(text)
        self.n_words += len(text[:2000].split())
        self.n_numbers += isinstance(value, (int, float)) or text.lstrip("-").replace(".", "", 1).isdigit()
        if len(self.distinct) < _MOST_DISTINCT:
            self.distinct.add(text[:200])

    @property
    def is_text(self) -> bool:
        if not self.is_any_text:
            return False
        is_long = self.n_words >= _WORDS_OF_TEXT * self.n or self.n_characters >= _CHARACTERS_OF_TEXT * self.n
        return is_long and len(self.distinct) * 2 >= min(self.n, _MOST_DISTINCT) and not self._is_codes

    def can_be(self, role: Role) -> bool:
        """Say whether a column can have a role where a user says so: no objects, and for texts no lists."""
        return self.n > 0 and not self.n_odd and not (role == "text" and self.n_lists)

    @property
    def is_any_text(self) -> bool:
        return self.n > 0 and not self.n_odd and not self.n_lists and self.n_numbers * 2 <= self.n

    @property
    def _is_codes(self) -> bool:
        """Links, hashes and dates: long, and yet one word of each."""
        return self.n_words < 1.5 * self.n and not any(ord(c) > 0x2E80 for one in list(self.distinct)[:20] for c in one)

    @property
    def is_label(self) -> bool:
        n = len(self.distinct)
        if self.n_lists:  # several labels a row
            return not self.n and not self.n_odd and 2 <= n <= max(2, self.n_lists // _ROWS_PER_LABEL)
        return (
            2 <= n <= max(2, min(_MOST_LABELS, self.n // _ROWS_PER_LABEL))
            and n < self.n
            and not self.n_odd
            and self.n_missing <= self.n
            and self.n_characters <= _LONGEST_LABEL * self.n
            and self.n_words <= _WORDS_OF_LABEL * self.n
        )


def by_content(
    path: Path, names: Sequence[str], columns: Columns, rows: Iterable[dict[str, Any]], *, needs_label: bool
) -> Found:
    """Fill in the text and the label that no name tells, by what all rows hold.

    The longest texts are the text; of columns with few values that with far fewer than the others is the label. Raises
    DataError that names what could be meant where two are alike.
    """
    contents = {name: _Contents() for name in names}
    for row in rows:
        for name, one in contents.items():
            one.take(row.get(name))
    text, label = columns.text, columns.label
    found: list[str] = []
    notes: list[str] = []
    if text is None:
        text, note = _find_text(path, contents, [name for name in (label, columns.group) if name is not None])
        found.append("text")
        notes += [note] if note else []
    taken = Columns(text, None, columns.group).named()
    if label is None and needs_label:
        label = _find_label(path, contents, taken)
        found.append("label")
    return Found(Columns(text, label, columns.group), tuple(found), tuple(notes))


def _find_text(path: Path, contents: dict[str, _Contents], taken: Sequence[str]) -> tuple[TextColumns, str | None]:
    texts = [name for name in contents if name not in taken and contents[name].is_text]
    if len(contents) == 1 and not texts:
        texts = [name for name, one in contents.items() if name not in taken and one.is_any_text]
    texts.sort(key=lambda name: -contents[name].n_characters)
    if not texts:
        raise no_role(path, contents, "text", taken)
    if len(texts) > 1:
        both = sorted(texts[:2], key=list(contents).index)
        hint = setting("text_column", both)
        if contents[texts[0]].n_characters < _CLEARLY * contents[texts[1]].n_characters:
            raise DataError(
                f"{path} has several columns of texts, {', '.join(map(repr, texts))}; one, or all of them "
                "joined, can be meant",
                hint,
            )
        return texts[0], f"{texts[1]!r} holds texts, too; {hint} reads both"
    return texts[0], None


def _find_label(path: Path, contents: dict[str, _Contents], taken: Sequence[str]) -> str:
    labels = [name for name in contents if name not in taken and contents[name].is_label]
    labels.sort(key=lambda name: len(contents[name].distinct))
    if not labels:
        raise no_role(path, contents, "label", taken)
    sizes = [len(contents[name].distinct) for name in labels]
    if len(labels) > 1 and sizes[1] < _FEWER_LABELS * sizes[0]:
        raise DataError(
            f"{path} has several columns that can be the label: "
            + ", ".join(f"{name!r} ({size} values)" for name, size in zip(labels[:5], sizes, strict=False)),
            setting("label_column", min(labels, key=lambda name: not any(word in name.lower() for word in _LABELS))),
        )
    return labels[0]


def no_role(path: Path, contents: dict[str, _Contents], role: Role, taken: Sequence[str] = ()) -> DataError:
    """Return the error for a table without a clear column of texts, or of labels; the hint is one that can be meant."""
    names = list(contents)
    free = [name for name in names if name not in taken and contents[name].can_be(role)]
    if len(names) == 1 and (delimiter := _delimiter_in([names[0], *contents[names[0]].distinct])):
        free = []
        hint = f"--set {shlex.quote(f'data.delimiter={json.dumps(delimiter)}')}"
    else:
        hint = setting(f"{role}_column", _guess(free, role)) if free else show_command(path)
    there = ", ".join(map(repr, names[:20])) + (", …" if len(names) > 20 else "")
    said = f"{path} has no column that is clearly the {role}; it has {there}"
    return DataError(said, hint)


def _delimiter_in(lines: Sequence[str]) -> str | None:
    """Return the sign that each line has as often as the others, and no text would."""
    return next(
        (
            sign
            for sign in dict.fromkeys(lines[0])
            if not sign.isalnum() and sign not in _SIGNS_OF_TEXTS and len({line.count(sign) for line in lines}) == 1
        ),
        None,
    )
