"""Which tokens a model knows, in order of their ids, specials first."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Vocabulary:
    """Entries in order of their ids. Entry 0 is padding; `unknown_id` is what every other word reads as."""

    entries: tuple[str, ...]
    unknown_id: int

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Vocabulary":
        return cls(tuple(values["entries"]), values["unknown_id"])

    @property
    def specials(self) -> int:
        """How many entries are not words."""
        return self.unknown_id + 1
