"""Text to tokens, by the `tokenizers` library: the whole treatment of a text stands in one saved tokenizer."""

import re
import string
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from sentiment_cli.config.schema import Text

PAD = "<pad>"
UNKNOWN = "<unk>"
# Letters and digits with apostrophes inside are one token (don't, it's), every other mark is one by itself.
_WORDS = r"[^\W_]+(?:['’][^\W_]+)*|[^\w\s]|_"
_BREAK = r"<\s*[bB][rR]\s*/?\s*>"
_ROWS_AT_ONCE = 1024


def build_tokenizer(text: Text, entries: Sequence[str], unknown: str) -> Tokenizer:
    """Return a tokenizer whose ids are positions in `entries`; other words read as `unknown`, one of the entries."""
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(entries)}, unk_token=unknown))
    steps: list[normalizers.Normalizer] = [normalizers.NFC()]
    if text.markup == "break":
        steps.append(normalizers.Replace(Regex(_BREAK), "\n"))
    if text.lowercase:
        steps.append(normalizers.Lowercase())
    if text.punctuation == "delete":
        steps.append(normalizers.Replace(Regex(f"[{re.escape(string.punctuation)}]"), ""))
    tokenizer.normalizer = normalizers.Sequence(steps)
    if text.tokenizer == "words":
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def all_words(text: Text, rows: Iterable[str]) -> list[str]:
    """Return every distinct word of `rows`, sorted."""
    tokenizer = build_tokenizer(text, [UNKNOWN], UNKNOWN)
    trainer = trainers.WordLevelTrainer(vocab_size=2**31, min_frequency=1, special_tokens=[], show_progress=False)
    tokenizer.train_from_iterator(rows, trainer)
    return sorted(tokenizer.get_vocab())


def encode(tokenizer: Tokenizer, rows: Sequence[str]) -> Iterator[NDArray[np.int32]]:
    """Yield each text's token ids, in order; the library works on all cores."""
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        encodings = tokenizer.encode_batch_fast(rows[start : start + _ROWS_AT_ONCE], add_special_tokens=False)
        for encoding in encodings:
            yield np.array(encoding.ids, dtype=np.int32)
