"""Which tokens a model knows, in order of their ids, specials first."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Vocabulary:
    """Entries in order of their ids.

    Entry 0 is padding; `unknown_id` is what every other word reads as, `start_id` what rows begin with, if anything.
    """

    entries: tuple[str, ...]
    unknown_id: int
    start_id: int | None = None

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Vocabulary":
        """Raise KeyError, TypeError or ValueError for what is no vocabulary."""
        found = cls(tuple(values["entries"]), values["unknown_id"], values.get("start_id"))
        ids = [found.unknown_id, *([] if found.start_id is None else [found.start_id])]
        if not all(type(one) is int and 0 <= one < len(found.entries) for one in ids):
            raise ValueError(f"unknown_id {ids[0]!r} and start_id {found.start_id!r} of {len(found.entries):,} entries")
        if not all(type(entry) is str for entry in found.entries):
            raise ValueError("an entry is no text")
        return found

    @property
    def specials(self) -> int:
        """How many entries are not words."""
        return max(self.unknown_id, self.start_id or 0) + 1

    def is_word(self, token_id: int) -> bool:
        """Say whether an entry is a word of two letters at least, or what of it a longer one is made of."""
        entry = self.entries[token_id]
        return token_id >= self.specials and len(entry) > 1 and any(map(str.isalpha, entry))
