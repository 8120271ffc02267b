"""Text to tokens, by the `tokenizers` library: the whole treatment of a text stands in one saved tokenizer."""

import json
import re
import string
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

if TYPE_CHECKING:
    from sentiment_cli.config.schema import Text, Vocabulary

PAD = "<pad>"
START = "<start>"
UNKNOWN = "<unk>"
# Letters and digits with apostrophes inside are one token (don't, it's), every other mark is one by itself.
_WORDS = r"[^\W_]+(?:['’][^\W_]+)*|[^\w\s]|_"
_BREAK = r"<\s*[bB][rR]\s*(?:/\s*)?>"  # no two \s* side by side: those take quadratic time over many spaces
_ROWS_AT_ONCE = 1024
_CHARACTERS_AT_ONCE = 2_000_000
_LONGEST_PIECE = 65_536
# No token and no <br /> goes across such a space.
_CUT = re.compile(r"(?<=[0-9A-Za-z]) (?=[0-9A-Za-z])")


def train_tokenizer(
    text: "Text", vocabulary: "Vocabulary", rows: Iterable[Sequence[str]]
) -> tuple[Tokenizer, list[str]]:
    """Learn a tokenizer from the counted rows, given some at a time; return it with its entries in order of their ids.

    Words: the most frequent ones; among equals the order is that of the words. Byte pairs: Sennrich et al. 2016 over
    the bytes of a text (Radford et al. 2019), so that nothing is unknown. Specials come first: padding is 0, the start
    token 1; the tokenizer itself gives no text one.
    """
    unknown = UNKNOWN if vocabulary.unknown == "own" else PAD
    specials = list(dict.fromkeys([PAD, *([START] if text.start else []), unknown]))
    most = 2**31 if vocabulary.size is None else vocabulary.size
    if text.tokenizer == "bpe":
        learner = _with_pipeline(Tokenizer(models.BPE()), text)
        learner.train_from_iterator(
            rows,
            trainers.BpeTrainer(
                vocab_size=most - len(specials),
                min_frequency=vocabulary.min_count,
                initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                special_tokens=[],
                show_progress=False,
            ),
        )
        merges = [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]
        entries = [*specials, *_entries(learner)]
        # Specials stand in the table alone, where no text can spell them; as the library's own they would be read.
        model = models.BPE({entry: i for i, entry in enumerate(entries)}, merges)
        return _with_pipeline(Tokenizer(model), text), entries
    learner = _with_pipeline(Tokenizer(models.WordLevel({UNKNOWN: 0}, unk_token=UNKNOWN)), text)
    learner.train_from_iterator(
        rows,
        trainers.WordLevelTrainer(
            vocab_size=most, min_frequency=vocabulary.min_count, special_tokens=[], show_progress=False
        ),
    )
    words = [word for word in _entries(learner) if word not in specials]
    entries = [*specials, *words[: most - len(specials)]]
    return build_tokenizer(text, entries, unknown), entries


def build_tokenizer(text: "Text", entries: Sequence[str], unknown: str) -> Tokenizer:
    """Return a tokenizer of words whose ids are positions in `entries`; other words read as `unknown`, an entry."""
    model = models.WordLevel({word: i for i, word in enumerate(entries)}, unk_token=unknown)
    return _with_pipeline(Tokenizer(model), text)


def encode(tokenizer: Tokenizer, rows: Sequence[str]) -> Iterator[NDArray[np.int32]]:
    """Yield each text's token ids, in order; the library works on all cores, at a long text's pieces too."""
    ids: list[NDArray[np.int32]] = []
    for batch in _batches(rows):
        encodings = tokenizer.encode_batch_fast([piece for piece, _ in batch], add_special_tokens=False)
        for encoding, (_, is_last) in zip(encodings, batch, strict=True):
            ids.append(np.array(encoding.ids, dtype=np.int32))
            if is_last:
                yield ids[0] if len(ids) == 1 else np.concatenate(ids)
                ids.clear()


def _batches(rows: Sequence[str]) -> Iterator[list[tuple[str, bool]]]:
    """Yield pieces of the texts, each with whether it is a text's last, so many at a time as memory is given to."""
    batch: list[tuple[str, bool]] = []
    n_characters = 0
    for text in rows:
        start, is_last = 0, False
        while not is_last:
            is_long = len(text) - start > _LONGEST_PIECE
            cut = _CUT.search(text, start + _LONGEST_PIECE) if is_long else None
            is_last = cut is None
            end = len(text) if cut is None else cut.start()
            batch.append((text[start:end], is_last))
            n_characters += end - start
            start = end
            if len(batch) == _ROWS_AT_ONCE or n_characters >= _CHARACTERS_AT_ONCE:
                yield batch
                batch, n_characters = [], 0
    if batch:
        yield batch


def _entries(tokenizer: Tokenizer) -> list[str]:
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    return sorted(vocabulary, key=vocabulary.__getitem__)


def _with_pipeline(tokenizer: Tokenizer, text: "Text") -> Tokenizer:
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
    elif text.tokenizer == "whitespace":
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
