"""Token ids of texts, by the `tokenizers` library on all cores, in bounded memory."""

import itertools
import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from sentiment_cli.data.tokens.characters import reads_entities, spell_out
from sentiment_cli.data.tokens.subwords import Subwords, has_pieces

_ROWS_AT_ONCE = 1024
_CHARACTERS_AT_ONCE = 2_000_000
_LONGEST_PIECE = 65_536
_LONGEST_WORD = 1 << 20  # a piece without a place to cut is cut all the same: the library takes 120 bytes a character
# No token and no <br /> crosses such a space.
_CUT = re.compile(r"(?<=[0-9A-Za-z]) (?=[0-9A-Za-z])")


def encode(tokenizer: Tokenizer, rows: Sequence[str]) -> Iterator[NDArray[np.int32]]:
    """Yield each text's token ids, in order."""
    ids: list[NDArray[np.int32]] = []
    if reads_entities(tokenizer):
        rows = [spell_out(text) for text in rows]
    if has_pieces(tokenizer):
        subwords = Subwords(tokenizer)
        yield from (np.array([*itertools.chain(*subwords.words(text))], dtype=np.int32) for text in rows)
        return
    for batch in batches(rows):
        encodings = tokenizer.encode_batch_fast([piece for piece, _ in batch], add_special_tokens=False)
        for encoding, (_, is_last) in zip(encodings, batch, strict=True):
            ids.append(np.array(encoding.ids, dtype=np.int32))
            if is_last:
                yield ids[0] if len(ids) == 1 else np.concatenate(ids)
                ids.clear()


def batches(rows: Sequence[str]) -> Iterator[list[tuple[str, bool]]]:
    """Yield batches of (piece of a text, whether it is the text's last piece), bounded in rows and characters."""
    batch: list[tuple[str, bool]] = []
    n_characters = 0
    for text in rows:
        start, is_last = 0, False
        while not is_last:
            is_long = len(text) - start > _LONGEST_PIECE
            cut = _CUT.search(text, start + _LONGEST_PIECE, start + _LONGEST_WORD) if is_long else None
            end = min(len(text), start + _LONGEST_WORD) if cut is None else cut.start()
            is_last = end == len(text)
            batch.append((text[start:end], is_last))
            n_characters += end - start
            start = end
            if len(batch) == _ROWS_AT_ONCE or n_characters >= _CHARACTERS_AT_ONCE:
                yield batch
                batch, n_characters = [], 0
    if batch:
        yield batch
