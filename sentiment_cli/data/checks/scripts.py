"""The scripts that texts are written in, and the language that a script by itself tells."""

import unicodedata
from collections import Counter
from collections.abc import Iterable

_FEW = 0.005  # of the letters: names, and words of other languages
_SYLLABLES = 0.02  # kana among the letters: Japanese has more, even where most letters are Han
# The first words of Unicode's names of letters, and the script's own name where it is another.
_NAMES = {"CJK": "Han", "IDEOGRAPHIC": "Han", "FULLWIDTH": "Latin", "HALFWIDTH": "Katakana", "MYANMAR": "Burmese"}
_LANGUAGES = {
    "Han": "Chinese",
    "Hangul": "Korean",
    "Thai": "Thai",
    "Lao": "Lao",
    "Khmer": "Khmer",
    "Burmese": "Burmese",
    "Hebrew": "Hebrew",
    "Greek": "Greek",
    "Arabic": "Arabic, Persian or Urdu",
    "Cyrillic": "Russian or another Slavic language",
    "Devanagari": "Hindi, Marathi or Nepali",
    "Bengali": "Bengali",
    "Tamil": "Tamil",
    "Telugu": "Telugu",
    "Georgian": "Georgian",
    "Armenian": "Armenian",
}


def script_shares(texts: Iterable[str]) -> dict[str, float]:
    """Return each script's share of the letters, the largest first; those of less than half a percent are left out."""
    letters: Counter[str] = Counter()
    for text in texts:
        letters.update(filter(str.isalpha, text))
    scripts: Counter[str] = Counter()
    for letter, count in letters.items():
        first = unicodedata.name(letter, "UNKNOWN").split()[0].partition("-")[0]
        scripts[_NAMES.get(first, first.capitalize())] += count
    n_letters = scripts.total()
    return {script: count / n_letters for script, count in scripts.most_common() if count >= _FEW * n_letters}


def language_of(shares: dict[str, float]) -> str | None:
    """Return the language that the scripts tell; None for scripts of many languages, such as Latin, and without one."""
    if shares.get("Hiragana", 0.0) + shares.get("Katakana", 0.0) > _SYLLABLES:
        return "Japanese"
    return _LANGUAGES.get(next(iter(shares), ""))
