"""Train and use tokenizers of the `tokenizers` library; one saved tokenizer holds all steps from text to tokens."""

import json
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from sentiment_cli.data.tokens.characters import Spelled, reads_entities, spell_out, with_pipeline
from sentiment_cli.data.tokens.chunks import count_words
from sentiment_cli.data.tokens.encoding import batches
from sentiment_cli.data.tokens.encoding import encode as encode
from sentiment_cli.data.tokens.subwords import FEWEST_WORDS, Subwords, has_pieces, learn_pieces

if TYPE_CHECKING:
    from sentiment_cli.config.schema import Text, Vocabulary

PAD = "<pad>"
START = "<start>"
UNKNOWN = "<unk>"
DEFAULT_BPE = 8_000  # entries of byte pairs where vocabulary.size is null


def train_tokenizer(
    text: "Text",
    vocabulary: "Vocabulary",
    rows: Iterable[Sequence[str]],
    pieces: tuple[int, int] | None = None,
    piece_words: int = FEWEST_WORDS,
) -> tuple[Tokenizer, list[str]]:
    """Learn a tokenizer from the counted rows, given some at a time; return it with its entries in order of their ids.

    Words: the most frequent ones; among equals the order is that of the words. Byte pairs: Sennrich et al. 2016 over
    the bytes of a text (Radford et al. 2019), so that nothing is unknown. Specials come first: padding is 0, the start
    token 1; the tokenizer itself gives no text one. With `pieces` the character n-grams of the words, from and to so
    many characters, come last.
    """
    assert vocabulary.min_count is not None  # where it follows from the data, `fit_settings` has set it
    unknown = UNKNOWN if vocabulary.unknown == "own" else PAD
    specials = list(dict.fromkeys([PAD, *([START] if text.start else []), unknown]))
    largest = DEFAULT_BPE if text.tokenizer == "bpe" else 2**31
    most = largest if vocabulary.size is None else vocabulary.size
    if text.tokenizer == "bpe":
        learner = with_pipeline(Tokenizer(models.BPE()), text)
        learner.train_from_iterator(
            _spelled_out(learner, rows),
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
        # Specials are only in the table, where no text can spell them; the library would recognise its own in texts.
        model = models.BPE({entry: i for i, entry in enumerate(entries)}, merges)
        return with_pipeline(Tokenizer(model), text), entries
    learner = with_pipeline(Tokenizer(models.WordLevel({UNKNOWN: 0}, unk_token=UNKNOWN)), text)
    counts = count_words(learner, _spelled_out(learner, rows))
    frequent = [word for word, n in counts.items() if n >= vocabulary.min_count and word not in specials]
    words = sorted(frequent, key=lambda word: (-counts[word], word))
    kept = words[: most - len(specials)]
    entries = [*specials, *kept, *(learn_pieces(kept, pieces, piece_words) if pieces else ())]
    return build_tokenizer(text, entries, unknown), entries


def build_tokenizer(text: "Text", entries: Sequence[str], unknown: str) -> Tokenizer:
    """Return a tokenizer of words whose ids are positions in `entries`; other words read as `unknown`, an entry."""
    model = models.WordLevel({word: i for i, word in enumerate(entries)}, unk_token=unknown)
    return with_pipeline(Tokenizer(model), text)


class Words(NamedTuple):
    """A text's token ids, ids_L; word_L, the word of each token; and the words' places in the text."""

    ids_L: NDArray[np.int32]
    word_L: NDArray[np.int64]
    places: list[tuple[int, int]]


def find_words(tokenizer: Tokenizer, text: str) -> Words:
    """Return the text's tokens and the characters, from and to, that they were made of; pieces of a word are one.

    The characters are those of the text as it was written. A letter's accent may be a character of its own, which the
    library leaves behind the word.
    """
    ids: list[int] = []
    words: list[int] = []
    places: list[tuple[int, int]] = []
    offset = 0
    spelled = Spelled(text) if reads_entities(tokenizer) else None
    subwords = Subwords(tokenizer) if has_pieces(tokenizer) else None
    for batch in batches([text if spelled is None else spelled.text]):
        pieces = [piece for piece, _ in batch]
        for piece, encoding in zip(pieces, tokenizer.encode_batch(pieces, add_special_tokens=False), strict=True):
            before = None
            found = [[token_id] for token_id in encoding.ids] if subwords is None else list(subwords.words(piece))
            for word, (start, end), own in zip(encoding.word_ids, encoding.offsets, found, strict=True):
                if places and (word == before or offset + start < places[-1][1]):
                    places[-1] = (places[-1][0], max(places[-1][1], offset + end))
                else:
                    places.append((offset + start, offset + end))
                words += [len(places) - 1] * len(own)
                ids += own
                before = word
            offset += len(piece)
    if spelled is not None:
        places = [spelled.place_in_text(*place) for place in places]
    limits = [start for start, _ in [*places, (len(text), 0)]][1:]
    fitted = [_fit(text, *place, limit) for place, limit in zip(places, limits, strict=True)]
    return Words(np.array(ids, dtype=np.int32), np.array(words, dtype=np.int64), fitted)


def _fit(text: str, start: int, end: int, limit: int) -> tuple[int, int]:
    """Leave out the white space around a word, unless it is nothing else; take in marks and repeated letters behind."""
    word = text[start:end]
    if word.strip():
        start, end = start + len(word) - len(word.lstrip()), end - len(word) + len(word.rstrip())
    while end < limit and (unicodedata.category(text[end]).startswith("M") or _is_lengthened(text[start : end + 1])):
        end += 1
    return start, end


def _is_lengthened(word: str) -> bool:
    """Say whether a word ends with the same letter four times; `characters` reduces it to three."""
    return len(word) > 3 and word[-1].isalpha() and len(set(word[-4:].lower())) == 1


def _spelled_out(tokenizer: Tokenizer, rows: Iterable[Sequence[str]]) -> Iterable[Sequence[str]]:
    return ([spell_out(text) for text in some] for some in rows) if reads_entities(tokenizer) else rows


def _entries(tokenizer: Tokenizer) -> list[str]:
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    return sorted(vocabulary, key=vocabulary.__getitem__)
