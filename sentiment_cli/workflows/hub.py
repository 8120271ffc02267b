"""A finished run as the folder that model hubs take: a card with metadata, weights, settings, tokenizer, packed model.

    DIR/  README.md  config.json  model.safetensors  tokenizer.json  NAME.model  manifest.json

Nothing is uploaded. No text of the data is in the folder: the card leaves the list of mistakes out.
"""

from pathlib import Path
from typing import Any

import yaml

from sentiment_cli import __version__
from sentiment_cli.data.sources.source import name_of_source
from sentiment_cli.errors import Change, UsageError
from sentiment_cli.reports.blocks import Block, Code, Document, Paragraph, ReportSection
from sentiment_cli.reports.markdown import render_card
from sentiment_cli.reports.run_files import RunFiles, read_run
from sentiment_cli.reports.run_report import build_report
from sentiment_cli.runs.directory import is_run
from sentiment_cli.runs.ensemble_model import open_model
from sentiment_cli.runs.model_files import packed_bytes
from sentiment_cli.runs.saved_model import WEIGHTS, Artefact, packed_files
from sentiment_cli.storage import store

_HUB_NAME = {"imdb": "stanfordnlp/imdb"}  # of corpora that hubs have
_LANGUAGE = {"imdb": "en", "sample": "en"}
_QUOTING = "Most confident mistakes"  # the section of a report that quotes texts
_METRICS = {"accuracy": "accuracy", "f1": "f1", "mae": "mae", "rmse": "rmse"}  # ours, and the hub's types


def write_hub_folder(path: Path, folder: Path) -> list[str]:
    """Write a run as the folder of a hub and return the names of the files.

    Raises UsageError where something is at `folder`, for a model without its run, and for an ensemble, which is no one
    file of weights.
    """
    if store.is_there(folder):
        raise UsageError(
            f"{folder} is there already, and nothing is overwritten", Change("--hub", str(store.free_path(folder)))
        )
    if not is_run(path):
        raise UsageError(
            f"{path} is a model without its run, whose weights and scores a hub shows", "sentiment runs list"
        )
    saved = open_model(path)
    model = saved.first
    if saved.is_ensemble or not model.has_weights:
        raise UsageError(
            f"{path} is {'an ensemble' if saved.is_ensemble else 'a model without weights'}, and a hub's "
            "model is one file of weights",
            Change("--pack", f"{path.resolve().name}.model", without=["--hub"]),
        )
    packed = f"{path.resolve().name}.model"
    with store.new_directory(folder) as draft:
        draft.write("README.md", _card(read_run(path), packed))
        draft.write("config.json", store.dump_json(_config(model)))
        draft.write("model.safetensors", model.read(WEIGHTS))
        draft.write("tokenizer.json", model.read("tokenizer.json"))
        with draft.create(packed) as output:
            for data in packed_bytes(packed_files(model)):
                output.write(data)
    return sorted(file.name for file in folder.iterdir())


def _config(model: Artefact) -> dict[str, Any]:
    labels = dict(enumerate(model.labels))
    return {
        "model_type": "sentiment-cli",
        "sentiment_cli": __version__,
        "id2label": {str(i): label for i, label in labels.items()},
        "label2id": {label: i for i, label in labels.items()},
        "temperature": model.temperature,
        "experiment": model.settings,
    }


def _card(run: RunFiles, packed: str) -> bytes:
    """Return the model card: the metadata that hubs read, how the model is used, and the report without its texts."""
    report = build_report(run)
    use: list[Block] = [
        Paragraph("The packed file answers with the package sentiment-cli alone; torch is not needed."),
        Code(f'pip install sentiment-cli\nsentiment predict --run {packed} "I just really loved the movie"'),
        Paragraph(
            "The weights are the package's own architecture, which config.json describes; the library transformers "
            "does not load them."
        ),
    ]
    kept = [section for section in report.sections if section.title != _QUOTING]
    document = Document(report.title, report.lead, [ReportSection("Use", use), *kept])
    head = yaml.safe_dump(_metadata(run), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n".encode() + render_card(document)


def _metadata(run: RunFiles) -> dict[str, Any]:
    """Return what a hub reads of a card. The licence is the publisher's choice and is not set."""
    source = run.experiment.data.source
    found: dict[str, Any] = {}
    if source in _LANGUAGE:
        found["language"] = [_LANGUAGE[source]]
    if source in _HUB_NAME:
        found["datasets"] = [_HUB_NAME[source]]
    found |= {
        "pipeline_tag": "text-classification",
        "library_name": "sentiment-cli",
        "tags": ["sentiment-cli", "text-classification", "trained-from-scratch"],
    }
    if results := [
        _result(source, split, scores) for split, scores in run.scores.items() if split in ("test", "valid")
    ]:
        found["metrics"] = sorted({metric["type"] for result in results for metric in result["metrics"]})
        found["model-index"] = [{"name": run.path.resolve().name, "results": results}]
    return found


def _result(source: str, split: str, scores: dict[str, Any]) -> dict[str, Any]:
    name = source if source in _LANGUAGE else name_of_source(Path(source))
    return {
        "task": {"type": "text-classification", "name": "Text classification"},
        "dataset": {
            "name": name,
            "type": _HUB_NAME.get(source, name),
            "split": {"valid": "validation"}.get(split, split),
        },
        "metrics": [
            {"type": kind, "value": float(scores[key]), "name": key}
            for key, kind in _METRICS.items()
            if isinstance(scores.get(key), int | float)
        ],
    }
