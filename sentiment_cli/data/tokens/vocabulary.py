"""The vocabulary: a model's tokens in order of their ids, specials first."""

from dataclasses import dataclass
from typing import Any

from sentiment_cli.data.tokens.characters import READING, is_unspaced

PAD_ID, START_ID = 0, 1


@dataclass(frozen=True)
class Vocabulary:
    """Entries in order of their ids.

    Entry 0 is padding; `unknown_id` is what every other word reads as, `start_id` what rows begin with, if anything.
    `reading` is the version of how characters are read (`data.characters`). The last `n_pieces` entries are pieces of
    words (`data.subwords`), which stand behind an unknown one.
    """

    entries: tuple[str, ...]
    unknown_id: int
    start_id: int | None = None
    reading: int = 1
    n_pieces: int = 0

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Vocabulary":
        """Return a vocabulary. Raises KeyError, TypeError or ValueError for other values."""
        found = cls(
            tuple(values["entries"]),
            values["unknown_id"],
            values.get("start_id"),
            values.get("reading", 1),
            values.get("n_pieces", 0),
        )
        ids = [found.unknown_id, *([] if found.start_id is None else [found.start_id])]
        if not all(type(one) is int and 0 <= one < len(found.entries) for one in ids):
            raise ValueError(f"unknown_id {ids[0]!r} and start_id {found.start_id!r} of {len(found.entries):,} entries")
        if not all(type(entry) is str for entry in found.entries):
            raise ValueError("an entry is no text")
        if type(found.reading) is not int or not 1 <= found.reading <= READING:
            raise ValueError(f"characters are read by version {found.reading!r}; this one knows 1 to {READING}")
        if type(found.n_pieces) is not int or not 0 <= found.n_pieces <= len(found.entries) - found.specials:
            raise ValueError(f"{found.n_pieces!r} of {len(found.entries):,} entries are pieces of words")
        return found

    @property
    def specials(self) -> int:
        """The number of special entries."""
        return max(self.unknown_id, self.start_id or 0) + 1

    @property
    def n_whole(self) -> int:
        """The number of entries that are not pieces of words; they come first."""
        return len(self.entries) - self.n_pieces

    def is_word(self, token_id: int) -> bool:
        """Say whether an entry is a word with at least two characters.

        A character is enough in scripts without spaces.
        """
        entry = self.entries[token_id]
        is_long = len(entry) > 1 or is_unspaced(entry)
        return self.specials <= token_id < self.n_whole and is_long and any(map(str.isalpha, entry))
