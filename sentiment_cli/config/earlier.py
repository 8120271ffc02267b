"""Settings that a run of an earlier version does not name, as that version had them."""

from typing import Any

# What `text` was before `characters`. A run spells out every setting, so that one which names all of these and not the
# newer one was trained by a version that read characters raw.
_TEXT = frozenset(
    ("tokenizer", "lowercase", "markup", "punctuation", "max_tokens", "truncate", "start", "pad", "pad_to")
)


def spell_out_earlier(values: Any) -> None:
    """Add to the values of an experiment, in place, what an earlier version that wrote them did without a setting."""
    text = values.get("text") if isinstance(values, dict) else None
    if isinstance(text, dict) and text.keys() >= _TEXT and "characters" not in text:
        text["characters"] = "raw"
