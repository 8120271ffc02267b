"""A saved tokenizer as plain values for a page's script: the few kinds of steps that it knows, or a refusal."""

import html
import json
from html.entities import html5
from typing import Any

from sentiment_cli.data.tokens.characters import reads_entities
from sentiment_cli.data.tokens.subwords import CHARACTERS_READ, LONGEST, MARK
from sentiment_cli.inference.browser.patterns import ForeignPattern, translate
from sentiment_cli.inference.browser.refusals import refusal
from sentiment_cli.runs.saved_model import Artefact

_FORMS = ("NFC", "NFD", "NFKC", "NFKD")


def describe_tokenizer(artefact: Artefact) -> dict[str, Any]:
    """Return the steps and the model of a tokenizer. Raises UsageError for kinds that a page does not know."""
    saved = json.loads(artefact.read("tokenizer.json"))
    try:
        if saved.get("added_tokens") or saved.get("truncation") or saved.get("padding"):
            raise ForeignPattern("added tokens, truncation or padding")
        entities = [_entities()] if reads_entities(artefact.tokenizer) else []
        return {
            "normalize": entities + [_normalizer(one) for one in _sequence(saved["normalizer"], "normalizers")],
            "split": [_splitter(one) for one in _sequence(saved["pre_tokenizer"], "pretokenizers")],
            "model": _model(saved["model"], artefact),
        }
    except ForeignPattern as error:
        raise refusal(artefact.path, f"its tokenizer has a step that a page does not know: {error}") from error


def _entities() -> dict[str, Any]:
    """Return the characters of all entities: by name, and by those numbers that do not stand for their own."""
    names = {name[:-1]: characters for name, characters in html5.items() if name.endswith(";")}
    ends = [(plane << 16) + place for plane in range(17) for place in (0xFFFE, 0xFFFF)]
    spelled = {code: html.unescape(f"&#{code};") for code in (*range(0xA0), *range(0xFDD0, 0xFDF0), *ends)}
    odd = {str(code): characters for code, characters in spelled.items() if characters != chr(code)}
    return {"type": "Entities", "names": names, "odd": odd}


def _sequence(step: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    if step is None:
        return []
    return [one for inner in step[key] for one in _sequence(inner, key)] if step["type"] == "Sequence" else [step]


def _normalizer(step: dict[str, Any]) -> dict[str, Any]:
    kind = step["type"]
    if kind in _FORMS:
        return {"type": "form", "form": kind}
    if kind in ("Lowercase", "StripAccents"):
        return (
            {"type": kind}
            if kind == "Lowercase"
            else {"type": "Replace", "pattern": translate(r"\p{Mn}"), "content": ""}
        )
    if kind == "Replace":
        return {"type": kind, "pattern": _pattern(step["pattern"]), "content": step["content"]}
    raise ForeignPattern(kind)


def _splitter(step: dict[str, Any]) -> dict[str, Any]:
    kind = step["type"]
    if kind == "WhitespaceSplit":
        return {"type": "Split", "pattern": translate(r"\s") + "+", "behavior": "Removed", "invert": False}
    if kind == "Split":
        if step["behavior"] not in ("Removed", "Isolated"):
            raise ForeignPattern(f"Split by {step['behavior']}")
        return {
            "type": kind,
            "pattern": _pattern(step["pattern"]),
            "behavior": step["behavior"],
            "invert": step["invert"],
        }
    if kind == "ByteLevel":
        pattern = None
        if step.get("use_regex", True):  # GPT-2's, which the library has built in
            letters, numbers, space = translate(r"\p{L}"), translate(r"\p{N}"), translate(r"\s")
            other = translate(r"[^\s\p{L}\p{N}]")
            visible = translate(r"\S")
            pattern = f"'s|'t|'re|'ve|'m|'ll|'d| ?{letters}+| ?{numbers}+| ?{other}+|{space}+(?!{visible})|{space}+"
        return {"type": kind, "prefix": bool(step["add_prefix_space"]), "pattern": pattern}
    raise ForeignPattern(kind)


def _pattern(pattern: dict[str, str]) -> str:
    if "Regex" in pattern:
        return translate(pattern["Regex"])
    return "".join(f"\\u{{{ord(character):x}}}" for character in pattern["String"])


def _model(model: dict[str, Any], artefact: Artefact) -> dict[str, Any]:
    entries = list(artefact.vocabulary.entries)
    if model["type"] not in ("WordLevel", "BPE"):
        raise ForeignPattern(f"a model {model['type']}")
    if [model["vocab"].get(entry) for entry in entries] != list(range(len(entries))):
        raise ForeignPattern("a vocabulary in another order")
    if model["type"] == "WordLevel":
        first = artefact.vocabulary.n_whole
        pieces = {"first": first, "mark": MARK, "longest": LONGEST, "read": CHARACTERS_READ}
        return {
            "type": "WordLevel",
            "entries": entries,
            "unknown": model["vocab"][model["unk_token"]],
            "pieces": pieces if first < len(entries) else None,
        }
    is_plain = not any(
        model.get(name)
        for name in (
            "dropout",
            "unk_token",
            "continuing_subword_prefix",
            "end_of_word_suffix",
            "byte_fallback",
            "ignore_merges",
        )
    )
    if not is_plain:
        raise ForeignPattern("byte pairs with options of their own")
    merges = [merge if isinstance(merge, list) else merge.split(" ") for merge in model["merges"]]
    return {"type": "BPE", "entries": entries, "merges": merges}
