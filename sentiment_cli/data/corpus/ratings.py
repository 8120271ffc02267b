"""Star ratings as what is learnt (data.target: stars): the scale of a model's output, and whether there are any."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.errors import Change, DataError, UsageError

if TYPE_CHECKING:
    from sentiment_cli.data.sources.source import Source

LEAST, MOST = 1, 10
# A model puts out (stars - MIDDLE) / REACH, from -1 to 1: its fresh output, near 0, is then the middle of the scale,
# and its sign is the label.
MIDDLE, REACH = 5.5, 4.5
_HINT = Change("--set", "data.target=label")


def ratings_of(output_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the star ratings of a model's outputs, clipped to the scale."""
    rating_N: NDArray[np.float64] = np.clip(MIDDLE + REACH * output_N, LEAST, MOST)
    return rating_N


def check_source(source: "Source") -> None:
    """Raise UsageError for a source whose layout has no star ratings."""
    if not source.has_stars:
        raise UsageError(
            f"data.target is stars, and data.source is {source.path}, which has labels alone: imdb, sample and what "
            "is laid out as IMDb is have star ratings",
            _HINT,
        )


def check_ratings(source: "Source", stars_of: Mapping[str, NDArray[np.int64]]) -> None:
    """Raise DataError where a row of a split to learn from has no rating; `stars_of` holds each split's."""
    for split, stars_N in stars_of.items():
        n_without = int(((stars_N < LEAST) | (stars_N > MOST)).sum())
        if n_without:
            raise DataError(
                f"data.target is stars, and {n_without:,} of the {len(stars_N):,} {split} reviews of "
                f"{source.path or source.name} have no rating from {LEAST} to {MOST}, as in the file name 0_7.txt",
                _HINT,
            )
