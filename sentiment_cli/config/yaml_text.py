"""YAML with positions and without surprises: plain values only, each with the place it was written.

On PyYAML's safe composer, closed against its traps: `1e-3` is a number, `no` and `12:30:45` are text, a key that
stands twice is an error, and anchors, aliases and tags are refused.
"""

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

import yaml

from sentiment_cli.errors import Change, UsageError

MAX_BYTES = 256 * 1024
_MAX_DEPTH = 20
_SHOWN_WIDTH = 160  # of a line with a mistake in it
_MOST_SHOWN = 10  # problems; a file can have one in each line
_LINE_BREAK = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]{0,30})")
_FLOAT = re.compile(r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]{1,4})?")
_CONSTANTS = {"": None, "~": None, "null": None, "true": True, "false": False}
# What PyYAML's words for a mistake mean to the author of an experiment.
_IN_ENGLISH = {
    "found character '\\t' that cannot start any token": "the line is indented with a tab; YAML needs spaces",
    "mapping values are not allowed here": "a colon too many, or an indentation that does not match the lines above",
    "expected <block end>, but found '<block mapping start>'": "the indentation does not match the lines above",
    "expected <block end>, but found '<scalar>'": "the indentation or the quotes do not match the lines above",
    "could not find expected ':'": "a colon is missing after the key",
}
_PLAIN_TAGS = {"tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq", "!"}

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Place:
    """Line and column, counted from 1."""

    line: int
    column: int


class Remedy(NamedTuple):
    """What would be right, in words, and for a `--set` the KEY=VALUE that would be."""

    words: str
    override: str | None = None


@dataclass(frozen=True)
class Problem:
    """One mistake: in which text, where, what, how many characters wide, and what would be right.

    The remedy is looked for when the problem is shown: that takes time, and not all of them are.
    """

    document: "YamlDocument"
    place: Place
    message: str
    width: int = 1
    remedy: Callable[[], Remedy | None] | None = None


@dataclass(eq=False)
class YamlDocument:
    """The value of a text, the place of each key and value, and its problems.

    `is_file` is false for a `--set`, whose position says nothing that its text does not; `override` is what was typed.
    """

    name: str
    text: str
    is_file: bool = True
    override: str | None = None
    value: Any = None
    keys: dict[KeyPath, Place] = field(default_factory=dict)
    values: dict[KeyPath, Place] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def place_of(self, path: KeyPath, *, at_key: bool = False) -> tuple[KeyPath, Place]:
        """Return where `path`, or the nearest thing around it, stands: its value, or with `at_key` its key."""
        places = self.keys if at_key else self.values
        while path and path not in places:
            path = path[:-1]
        return path, places.get(path, Place(1, 1))


def parse(name: str, data: bytes, *, is_file: bool = True) -> YamlDocument:
    """Parse one YAML document. Raises UsageError where it cannot be read; lesser mistakes are in `problems`."""
    document = YamlDocument(name, "", is_file)
    document.text = _decode(document, data)
    try:
        root = _compose(document.text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        problem = str(error.problem or error.context)
        fail([Problem(document, place, f"not YAML: {_IN_ENGLISH.get(problem, problem)}")])
    except yaml.reader.ReaderError as error:
        place = _place_at(document.text, error.position)
        code = ord(document.text[error.position])
        fail([Problem(document, place, f"the character U+{code:04X} cannot stand in YAML")])
    except (ValueError, OverflowError):  # of chr(), of an escape such as "\U00110000"
        place = _place_at(document.text, max(0, document.text.find("\\U")))
        fail([Problem(document, place, "not YAML: an escape that names no character")])
    if root is not None:
        document.value = _value(root, (), document)
    return document


def parse_file(name: str, data: bytes) -> YamlDocument:
    """Parse an experiment file, which is a mapping of settings; an empty file is an empty one."""
    document = parse(name, data)
    if document.value is None:
        document.value = {}
    if not isinstance(document.value, dict):
        fail([Problem(document, document.values[()], "an experiment is a mapping of settings, such as `name: my-run`")])
    return document


def fail(problems: list[Problem], otherwise: Change | None = None) -> NoReturn:
    """Raise UsageError that shows the first problems, those of files with line, column and a caret, and counts all.

    Its hint is the typed command with each `--set` corrected where possible, else the change that is given.
    """
    parts: list[str] = []
    mended: dict[str, str | None] = {}
    lines_of: dict[str, list[str]] = {}
    problems = sorted(problems, key=lambda problem: (problem.document.name, problem.place.line, problem.place.column))
    for problem in problems[:_MOST_SHOWN]:
        document, place = problem.document, problem.place
        remedy = problem.remedy() if problem.remedy is not None else None
        hint = remedy.words if remedy is not None else None
        if document.override is not None and remedy is not None and remedy.override is not None:
            mended[document.override] = remedy.override
        if not document.is_file:
            parts.append(f"{document.name}: {problem.message}{f' ({hint})' if hint else ''}")
            continue
        parts.append(f"{document.name}:{place.line}:{place.column}: {problem.message}")
        if document.name not in lines_of:
            lines_of[document.name] = _LINE_BREAK.split(document.text)
        lines = lines_of[document.name]
        if place.line <= len(lines):
            first = max(0, place.column - _SHOWN_WIDTH // 2)
            parts.append(f"{place.line:>5} | {lines[place.line - 1][first : first + _SHOWN_WIDTH]}")
            caret = "^" * (min(problem.width, _SHOWN_WIDTH) if problem.remedy is None or hint else 1)
            parts.append(f"      | {' ' * (place.column - 1 - first)}{caret}{f' {hint}' if hint else ''}")
        elif hint:
            parts.append(f"      | {hint}")
    if len(problems) > _MOST_SHOWN:
        parts.append(f"… and {len(problems) - _MOST_SHOWN:,} more")
    names = ", ".join(dict.fromkeys(problem.document.name for problem in problems))
    count = "1 problem" if len(problems) == 1 else f"{len(problems):,} problems"
    parts.append(f"{count} in {names}. Nothing was downloaded or written.")
    raise UsageError("\n".join(parts), Change(words=mended) if mended else otherwise)


class _Loader(yaml.SafeLoader):
    """Composes nodes only; anchors, aliases, tags and depth are refused before they can do harm."""

    depth = 0

    def fetch_flow_collection_start(self, token: Any) -> None:
        # The scanner runs ahead of the composer, and takes quadratic time over thousands of brackets.
        if self.flow_level > _MAX_DEPTH:
            raise yaml.scanner.ScannerError(None, None, f"deeper than {_MAX_DEPTH} levels", self.get_mark())
        super().fetch_flow_collection_start(token)

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        tag = getattr(event, "tag", None)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.composer.ComposerError(None, None, "anchors and aliases are not read", event.start_mark)
        if tag is not None and tag not in _PLAIN_TAGS:
            raise yaml.composer.ComposerError(None, None, f"the tag {tag} is not read", event.start_mark)
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, f"deeper than {_MAX_DEPTH} levels", event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


@functools.lru_cache(maxsize=256)
def _compose(text: str) -> yaml.Node | None:
    """Return the nodes of a text, which nobody changes: composing a built-in experiment takes 10 ms."""
    return yaml.compose(text, Loader=_Loader)


def _decode(document: YamlDocument, data: bytes) -> str:
    start = Place(1, 1)
    if len(data) > MAX_BYTES:
        fail([Problem(document, start, f"the file has more than {MAX_BYTES:,} bytes, the most an experiment may have")])
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        fail([Problem(document, start, "the file is UTF-16; save it as UTF-8")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        fail([Problem(document, _place_at(before, len(before)), f"byte 0x{data[error.start]:02x} is not UTF-8")])


def _value(node: yaml.Node, path: KeyPath, document: YamlDocument) -> Any:
    document.values[path] = _place(node)
    if isinstance(node, yaml.MappingNode):
        return dict(_items(node, path, document))
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, i), document) for i, item in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode)
    return read_scalar(node.value) if node.style is None else node.value


def _items(node: yaml.MappingNode, path: KeyPath, document: YamlDocument) -> Iterator[tuple[str, Any]]:
    first: dict[str, int] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            document.problems.append(Problem(document, _place(key_node), "a key must be a word"))
            continue
        key = key_node.value
        if key in first:
            message = f"{'.'.join(map(str, (*path, key)))} is set twice, first in line {first[key]}"
            document.problems.append(Problem(document, _place(key_node), message, len(key)))
            continue
        first[key] = key_node.start_mark.line + 1
        document.keys[(*path, key)] = _place(key_node)
        yield key, _value(value_node, (*path, key), document)


def read_scalar(text: str) -> Any:
    """Read a plain scalar: null, true, false, a number, or else text."""
    if text.lower() in _CONSTANTS:
        return _CONSTANTS[text.lower()]
    if _INT.fullmatch(text):
        return int(text.replace("_", ""))
    if _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    return text


def _place(node: yaml.Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


def _place_at(text: str, position: int) -> Place:
    before = text[:position]
    return Place(before.count("\n") + 1, position - (before.rfind("\n") + 1) + 1)
