"""Settings as a nested YAML file, with a comment beside each value."""

import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

_COMMENT_WIDTH = 64


class Line(NamedTuple):
    """A setting by its full key, its value, and what to say about it."""

    key: str
    value: Any
    comment: str


def nested_yaml(settings: Iterable[Line], comments_from: int) -> Iterator[str]:
    """Yield the lines of an experiment file; comments begin in the same column, but for those of longer values."""
    from sentiment_cli.config.loader import inline_yaml

    above: list[str] = []
    for setting in settings:
        *sections, name = setting.key.split(".")
        n_shared = 0
        while n_shared < min(len(above), len(sections)) and above[n_shared] == sections[n_shared]:
            n_shared += 1
        yield from (f"{'  ' * i}{sections[i]}:" for i in range(n_shared, len(sections)))
        above = sections
        line = f"{'  ' * len(sections)}{name}: {inline_yaml(setting.value)}"
        said = textwrap.wrap(setting.comment, _COMMENT_WIDTH, break_long_words=False, break_on_hyphens=False)
        for i, part in enumerate(said or [""]):
            yield f"{'' if i else line:<{comments_from}}  # {part}" if part else line
