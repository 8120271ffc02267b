"""One review, as every source yields it."""

from typing import Literal, NamedTuple

Subset = Literal["labelled", "unlabelled"]  # of a corpus: train and test rows, or unsup rows


class Review(NamedTuple):
    """A text and what is known about it; `id` is unique within its split, `group` names the movie."""

    id: str
    text: str
    label: str | None
    stars: int | None
    group: str | None
