"""RUN/validation/: what a run put out of its validation rows before it was trained on any of them.

With train.refit the finished model has learnt these rows, so that what it says of them says nothing. What the best
state said, when the temperature was fitted, is kept for whoever weighs runs against each other later.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sentiment_cli.storage import store

_DIRECTORY, _FILE = "validation", "outputs.json"
_FORMAT = 1


class ValidationOutputs(NamedTuple):
    """Validation rows: ids, group_N (rows of a movie have the same number, -1 is none), label_N as places in `labels`.

    `logits` are logit_N or logit_NC as the model gives them, to be divided by its temperature. `texts` is the
    fingerprint of the data that the rows are of; None of a run that kept none.
    """

    labels: tuple[str, ...]
    ids: list[str]
    group_N: NDArray[np.int64]
    label_N: NDArray[np.int64]
    logits: NDArray[np.float64]
    texts: str | None = None

    def of_rows(self, ids: list[str]) -> "ValidationOutputs":
        """Return the same rows in the order of these ids."""
        place = {name: i for i, name in enumerate(self.ids)}
        row_N = np.array([place[name] for name in ids], dtype=np.int64)
        columns = self.group_N[row_N], self.label_N[row_N], self.logits[row_N]
        return ValidationOutputs(self.labels, ids, *columns, self.texts)


def save_validation(run: Path, kept: ValidationOutputs) -> None:
    """Write them into a run, in the place of those of an earlier sitting."""
    about = {
        "format": _FORMAT,
        "texts": kept.texts,
        "labels": kept.labels,
        "ids": kept.ids,
        "groups": kept.group_N.tolist(),
        "truth": kept.label_N.tolist(),
        "logits": kept.logits.tolist(),
    }
    if store.is_there(run / _DIRECTORY):
        store.remove_directory(run / _DIRECTORY)
    with store.new_directory(run / _DIRECTORY) as draft:
        draft.write(_FILE, store.dump_json(about))


def load_validation(run: Path) -> ValidationOutputs | None:
    """Read them; None where the run kept none. Raises IntegrityError for damage."""
    if not store.is_there(run / _DIRECTORY):
        return None
    path = store.open_directory(run / _DIRECTORY) / _FILE
    found = store.read_json(path)
    try:
        if found["format"] != _FORMAT:
            raise store.IntegrityError(f"{path} has format {found['format']!r}; this version reads {_FORMAT}")
        kept = ValidationOutputs(
            tuple(found["labels"]),
            list(found["ids"]),
            np.array(found["groups"], dtype=np.int64),
            np.array(found["truth"], dtype=np.int64),
            np.array(found["logits"], dtype=np.float64),
            found.get("texts"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise store.IntegrityError(f"{path} is damaged: {error!r}") from error
    n_labels, n_rows = len(kept.labels), len(kept.ids)
    shape = (n_rows,) if n_labels == 2 else (n_rows, n_labels)
    is_whole = kept.group_N.shape == kept.label_N.shape == (n_rows,) and kept.logits.shape == shape
    if not is_whole or len(set(kept.ids)) < n_rows or not np.isfinite(kept.logits).all():
        raise store.IntegrityError(f"{path} is damaged: its columns are not of {n_rows:,} rows with an id each")
    if n_rows and not 0 <= kept.label_N.min() <= kept.label_N.max() < n_labels:
        raise store.IntegrityError(f"{path} is damaged: it names labels that are none of {', '.join(kept.labels)}")
    return kept
