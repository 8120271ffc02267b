"""YAML with positions and without surprises: plain values only, each with the place it was written.

On PyYAML's safe composer, closed against its traps: `1e-3` is a number, `no` and `12:30:45` are text, a key that
stands twice is an error, and anchors, aliases and tags are refused.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from sentiment_cli.errors import UsageError

_MAX_BYTES = 256 * 1024
_MAX_DEPTH = 20
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]{0,30})")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,4})?")
_CONSTANTS = {"": None, "~": None, "null": None, "true": True, "false": False}
_KIND = {"tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """Line and column, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Problem:
    """One mistake: where, what, and what would be right."""

    place: Place
    message: str
    width: int = 1
    hint: str | None = None


@dataclass
class Document:
    """The values of a file, where each key and value stands, and what is wrong with it."""

    name: str
    text: str
    values: dict[str, Any] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)
    places: dict[Path, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def parse(name: str, data: bytes) -> Document:
    """Parse a file's bytes. Raises UsageError where they cannot be read at all; lesser mistakes are in `problems`."""
    document = Document(name, _decode(name, data))
    try:
        root = yaml.compose(document.text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        fail(document, Problem(place, f"not YAML: {error.problem or error.context}"))
    except yaml.reader.ReaderError as error:
        before = document.text[: error.position]
        place = Place(before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1)
        fail(document, Problem(place, f"the character U+{ord(document.text[error.position]):04X} cannot stand in YAML"))
    if root is None:
        return document
    if not isinstance(root, yaml.MappingNode):
        fail(document, Problem(Place(1, 1), "an experiment is a mapping of settings, such as `name: my-run`"))
    document.values = _value(root, (), document)
    return document


def parse_scalar(text: str) -> Any:
    """Read one value as it would be read in a file; a flow list such as [train, valid] counts."""
    document = parse("--set", f"value: {text}\n".encode())
    if document.problems:
        raise UsageError(f"--set: {document.problems[0].message}")
    return document.values.get("value")


def fail(document: Document, *problems: Problem) -> NoReturn:
    """Raise UsageError that shows every problem with its line and a caret."""
    found = [*document.problems, *problems]
    lines = document.text.splitlines()
    parts = []
    for problem in sorted(found, key=lambda problem: (problem.place.line, problem.place.column)):
        parts.append(f"{document.name}:{problem.place.line}:{problem.place.column}: {problem.message}")
        if problem.place.line <= len(lines):
            margin, caret = f"{problem.place.line:>5} | ", " " * (problem.place.column - 1) + "^" * problem.width
            parts.append(margin + lines[problem.place.line - 1][:200])
            parts.append(f"      | {caret}{' ' + problem.hint if problem.hint else ''}")
        elif problem.hint:
            parts.append(f"      | {problem.hint}")
    count = "1 problem" if len(found) == 1 else f"{len(found)} problems"
    parts.append(f"{count} in {document.name}. Nothing was downloaded or written.")
    raise UsageError("\n".join(parts))


class _Loader(yaml.SafeLoader):
    """Composes nodes only; anchors, aliases, tags and depth are refused before they can do harm."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        tag = getattr(event, "tag", None)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.composer.ComposerError(None, None, "anchors and aliases are not read", event.start_mark)
        if tag is not None and tag not in _KIND and tag != "!":
            raise yaml.composer.ComposerError(None, None, f"the tag {tag} is not read", event.start_mark)
        self._depth = getattr(self, "_depth", 0) + 1
        if self._depth > _MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, f"deeper than {_MAX_DEPTH} levels", event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _decode(name: str, data: bytes) -> str:
    if len(data) > _MAX_BYTES:
        raise UsageError(f"{name} has {len(data):,} bytes; an experiment has at most {_MAX_BYTES:,}")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UsageError(f"{name}:1:1: the file is UTF-16; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = error.start - (before.rfind(b"\n") + 1) + 1
        line = before.count(b"\n") + 1
        raise UsageError(f"{name}:{line}:{column}: byte 0x{data[error.start]:02x} is not UTF-8") from error


def _value(node: yaml.Node, path: Path, document: Document) -> Any:
    document.places[path] = _place(node)
    if isinstance(node, yaml.MappingNode):
        return dict(_items(node, path, document))
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, i), document) for i, item in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode)
    return _scalar(node.value) if node.style is None else node.value


def _items(node: yaml.MappingNode, path: Path, document: Document) -> Iterator[tuple[str, Any]]:
    first: dict[str, int] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            document.problems.append(Problem(_place(key_node), "a key must be a word"))
            continue
        key = key_node.value
        if key in first:
            message = f"{'.'.join(map(str, (*path, key)))} is set twice, first in line {first[key]}"
            document.problems.append(Problem(_place(key_node), message, len(key)))
            continue
        first[key] = key_node.start_mark.line + 1
        document.keys[(*path, key)] = _place(key_node)
        yield key, _value(value_node, (*path, key), document)


def _scalar(text: str) -> Any:
    if text.lower() in _CONSTANTS:
        return _CONSTANTS[text.lower()]
    if _INT.fullmatch(text):
        return int(text.replace("_", ""))
    if _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    return text


def _place(node: yaml.Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)
