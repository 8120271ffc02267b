"""A model as one HTML file, which answers in a browser without a network."""

import base64
import json
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sentiment_cli import __version__
from sentiment_cli.data.corpus.ratings import LEAST, MIDDLE, MOST, REACH
from sentiment_cli.inference.browser.layout import content_policy, escaped, listed, page, read_part
from sentiment_cli.inference.browser.refusals import check_model, refusal
from sentiment_cli.inference.browser.tokens import describe_tokenizer
from sentiment_cli.inference.explain import linear_weights
from sentiment_cli.runs.ensemble_model import SavedModel
from sentiment_cli.runs.saved_model import WEIGHTS, Artefact
from sentiment_cli.storage import store

Storage = Literal["fp32", "fp16", "int8"]
_LARGEST_KEY = 1 << 53  # beyond, numbers of JavaScript are not exact


def model_page(model: SavedModel, storage: Storage) -> str:
    """Return the page. Raises UsageError for a model that it cannot hold."""
    artefact = check_model(model)
    style = read_part("page.css")
    script = read_part("model.js") + read_part("page.js") + read_part("local.js")
    policy = escaped(content_policy(style, script))
    data = _quoted(describe_model(artefact, storage))
    settings = artefact.settings["model"]
    kind = (
        "linear"
        if settings["kind"] == "linear"
        else f"{settings['encoder']['cell']}, width {settings['encoder']['width']}"
    )
    return page(
        title="sentiment",
        about=f"The model {artefact.path.resolve().name} classifies texts as {listed(artefact.labels)}. "
        "It runs in this page; no text leaves it.",
        facts={
            "model": kind,
            "knows": f"{len(artefact.vocabulary.entries):,} entries",
            "stored": storage,
            "sha256": artefact.files.sha256,
            "sentiment": __version__,
        },
        style=style,
        script=script,
        head=f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        answer=["<noscript><p>This page needs JavaScript.</p></noscript>"],
        tail=f'<script id="model" type="application/json">{data}</script>\n',
    )


def describe_model(artefact: Artefact, storage: Storage) -> dict[str, Any]:
    """Return all that the page's script needs, as plain values."""
    settings, reading = artefact.settings["model"], artefact.reading
    found: dict[str, Any] = {
        "labels": list(artefact.labels),
        "stars": {"least": LEAST, "middle": MIDDLE, "reach": REACH, "most": MOST}
        if artefact.target == "stars"
        else None,
        "temperature": artefact.temperature,
        "reading": {name: getattr(reading, name) for name in ("max_tokens", "truncate", "start", "pad_to")},
        "unknown": artefact.vocabulary.unknown_id,
        "words": [i for i in range(len(artefact.vocabulary.entries)) if artefact.vocabulary.is_word(i)],
        "tokenizer": describe_tokenizer(artefact),
    }
    if settings["kind"] == "linear":
        if storage == "int8":
            why = "a linear model has one weight a feature, which int8 rows do not store; fp16 does"
            raise refusal(artefact.path, why)
        weights = linear_weights.load_ngram_weights(artefact)
        return found | {
            "kind": "linear",
            **_describe_ngrams(artefact, weights.key_K),
            "tensors": {
                "weight": _stored(weights.weight_FC, storage),
                "bias": _stored(weights.bias_C, "fp32"),
                **({} if weights.size_F is None else {"size": _stored(weights.size_F, "fp32")}),
            },
        }
    encoder = settings["encoder"]
    tensors = _load(artefact)
    key_K = tensors.pop("wide.linear.keys", None)
    return found | {
        "kind": "recurrent",
        "cell": encoder["cell"],
        "width": encoder["width"],
        "layers": encoder["layers"],
        "bidirectional": encoder["bidirectional"],
        "pooling": settings["pooling"],
        "wide": None if key_K is None else _describe_ngrams(artefact, key_K),
        "tensors": {
            name: _stored(value, storage if value.ndim > 1 else "fp32") for name, value in sorted(tensors.items())
        },
    }


def _describe_ngrams(artefact: Artefact, key_K: NDArray[np.int64]) -> dict[str, Any]:
    if len(key_K) and int(key_K[-1]) >= _LARGEST_KEY:
        raise refusal(artefact.path, "its n-grams have numbers that JavaScript does not hold exactly")
    gaps = _base64(_varints(np.diff(key_K, prepend=0)))
    return {"ngrams": artefact.settings["model"]["linear"]["ngrams"], "keys": {"n": len(key_K), "gaps": gaps}}


def _load(artefact: Artefact) -> dict[str, NDArray[Any]]:
    import safetensors.numpy

    try:
        found: dict[str, NDArray[Any]] = safetensors.numpy.load(artefact.read(WEIGHTS))
    except (safetensors.SafetensorError, ValueError) as error:
        raise store.IntegrityError(f"{artefact.path} does not hold the model's weights: {error!r}") from error
    if not all(np.isfinite(value).all() for value in found.values()):
        raise store.IntegrityError(f"{artefact.path} holds weights that are not finite")
    return found


def _stored(value: NDArray[np.float32], storage: Storage) -> dict[str, Any]:
    """Return a tensor's shape and bytes; int8 has a scale for each row, the largest number of which becomes 127."""
    if storage == "fp16" and np.abs(value).max(initial=0) > np.finfo(np.float16).max:
        storage = "fp32"
    found: dict[str, Any] = {"shape": list(value.shape), "type": storage}
    if storage == "int8":
        rows = value.reshape(len(value), -1)
        scale_R = np.maximum(np.abs(rows).max(axis=1, initial=0), np.finfo(np.float32).tiny) / 127
        whole = np.rint(rows / scale_R[:, None]).astype(np.int8)
        return found | {"data": _base64(whole.tobytes()), "scales": _base64(scale_R.astype("<f4").tobytes())}
    return found | {"data": _base64(value.astype("<f2" if storage == "fp16" else "<f4").tobytes())}


def _varints(values: NDArray[np.int64]) -> bytes:
    """Return whole numbers as seven bits a byte, the lowest first, with the top bit where more follow."""
    found = bytearray()
    for value in values.tolist():
        while value > 127:
            found.append(value & 127 | 128)
            value >>= 7
        found.append(value)
    return bytes(found)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _quoted(value: Any) -> str:
    """Return JSON that no HTML parser finds an end, a comment or a tag in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
