"""Fine-tuning a classifier from a pretraining: which tensors are copied, what is refused, what is trained first."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from pretraining import pretraining, write_reviews
from torch import Tensor

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.config.schema import Encoder, Experiment, Model, Train
from sentiment_cli.errors import DataError, UsageError
from sentiment_cli.models.classifier import Classifier
from sentiment_cli.training.optimizer import build_optimizer, depth_of, freeze
from sentiment_cli.training.tasks.table import prepare_for
from sentiment_cli.training.weights_init import build_initial_model, load_all_pretrained
from sentiment_cli.workflows import dependencies as reusing_module
from sentiment_cli.workflows import train as fit_module
from sentiment_cli.workflows.dependencies import resolve_dependencies
from sentiment_cli.workflows.train import fit

ORIGINS = {
    "forward": ("language-model", "model.encoder.layers=2", "model.encoder.skip=residual"),
    "backward": (
        "language-model",
        "model.encoder.layers=2",
        "model.encoder.skip=residual",
        "model.language.reverse=true",
    ),
    "vectors": ("vectors", "text.start=true"),
    "autoencoder": ("autoencoder", "model.encoder.bidirectional=true"),
}
BIDIRECTIONAL = "model.encoder.bidirectional=true"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of each pretraining, RUNS/NAME, after two steps."""
    root = tmp_path_factory.mktemp("starting")
    write_reviews(root / "data", 100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENTIMENT_DATA", str(root / "data"))
        patch.setenv("SENTIMENT_RUNS", str(root / "runs"))
        for name, (task, *settings) in ORIGINS.items():
            fit(pretraining(root / "data", task, "train.max_steps=2", *settings), name)
    return root


@pytest.fixture
def classifier(root: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Experiment]:
    """Build a classifier on the same data."""
    monkeypatch.setenv("SENTIMENT_DATA", str(root / "data"))
    monkeypatch.setenv("SENTIMENT_RUNS", str(root / "runs"))
    monkeypatch.chdir(root / "data")
    (root / "data" / "plain.yaml").write_text("name: plain\ntrain: {device: cpu, threads: 1, precision: fp32}\n")
    return lambda *settings: load_experiment(root / "data" / "plain.yaml", settings)


def weights_of(root: Path, name: str) -> dict[str, Tensor]:
    return safetensors.torch.load_file(root / "runs" / name / "model" / "weights.safetensors")


def started(experiment: Experiment) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the initial weights of an experiment, and those without a pretrained model."""
    corpus = prepare_for(experiment)
    fresh = experiment.model_copy(update={"init_from": None, "init_backward": None})
    states = [build_initial_model(one, corpus, load_all_pretrained(one)).state_dict() for one in (experiment, fresh)]
    return states[0], states[1]


def changed(found: dict[str, Tensor], fresh: dict[str, Tensor]) -> set[str]:
    return {name for name in found if not torch.equal(found[name], fresh[name])}


def test_weights_copied_from_a_language_model(root: Path, classifier, capsys) -> None:
    found, fresh = started(classifier("init_from=forward"))
    origin = weights_of(root, "forward")
    taken = {
        name.replace("layers.", "encoder.forward_layers."): of for name, of in origin.items() if name[:6] == "layers"
    }
    taken["embedding.weight"] = origin["embedding.weight"]
    assert len(taken) == 9
    assert changed(found, fresh) == taken.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in taken.items())
    said = capsys.readouterr().err
    layers = "embedding, encoder.forward_layers.0, encoder.forward_layers.1\n"
    assert f"starting from {root / 'runs' / 'forward'}: {layers}" in said


def test_weights_copied_from_a_model_of_each_direction(root: Path, classifier) -> None:
    both = ("init_from=forward", "init_backward=backward", "model.encoder.bidirectional=true")
    with pytest.raises(
        UsageError, match=r"forward_layers\.1\.weight_ih_l0 of shape \(24, 8\), this experiment \(24, 16\)"
    ):
        started(classifier(*both))  # whose second layers read both directions of the first
    one = ("model.encoder.layers=1", "model.encoder.skip=none")
    found, fresh = started(classifier(*both, *one))
    forward, backward = weights_of(root, "forward"), weights_of(root, "backward")
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        assert torch.equal(found[f"encoder.forward_layers.0.{name}"], forward[f"layers.0.{name}"])
        assert torch.equal(found[f"encoder.backward_layers.0.{name}"], backward[f"layers.0.{name}"])
    assert torch.equal(found["embedding.weight"], forward["embedding.weight"])
    assert not torch.equal(forward["embedding.weight"], backward["embedding.weight"])
    assert changed(found, fresh) == {name for name in found if name.startswith(("embedding.", "encoder."))}
    found, _ = started(classifier("init_from=backward", *one, "model.encoder.bidirectional=true"))
    assert torch.equal(found["embedding.weight"], backward["embedding.weight"])
    assert torch.equal(found["encoder.backward_layers.0.weight_hh_l0"], backward["layers.0.weight_hh_l0"])


def test_weights_copied_from_vectors_and_an_autoencoder(root: Path, classifier) -> None:
    found, fresh = started(classifier("init_from=vectors", "model.encoder.width=5"))
    assert changed(found, fresh) == {"embedding.weight"}
    assert torch.equal(found["embedding.weight"], weights_of(root, "vectors")["embedding.weight"])
    found, fresh = started(
        classifier("init_from=autoencoder", "model.encoder.bidirectional=true", "model.pooling=concat")
    )
    origin = weights_of(root, "autoencoder")
    taken = {name for name in origin if name.startswith(("embedding.", "encoder."))}
    assert {name.split(".")[1] for name in taken} == {"weight", "forward_layers", "backward_layers"}
    assert changed(found, fresh) == taken
    assert all(torch.equal(found[name], origin[name]) for name in taken)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            ["init_from=forward", "vocabulary.size=50"],
            r"the run has a vocabulary of \d+ entries, this experiment one of 50",
        ),
        (["init_from=forward", "text.lowercase=false"], "entries, this experiment one of .*, which first differ at "),
        (["init_from=forward", "model.encoder.width=9"], r"weight_ih_l0 of shape \(24, 8\), this experiment \(27, 8\)"),
        (
            ["init_from=vectors", "model.embedding.width=9"],
            "vectors of width 8, this experiment 9",
        ),
        (
            ["init_from=vectors", "init_backward=backward", BIDIRECTIONAL, "model.encoder.cell=mingru"],
            "backward, a run of task language-model, has no layer that reads backward as this experiment has them",
        ),
    ],
)
def test_layers_that_a_pretraining_does_not_have_are_refused(classifier, settings: list[str], said: str) -> None:
    """Robustness case F14."""
    with pytest.raises(UsageError, match=said) as caught:
        started(classifier(*settings))
    assert f"sentiment config {'diff' if 'no layer' in said else 'show'} " in caught.value.hint


def test_word_vectors_are_copied_by_word_to_a_classifier_of_other_data(
    root: Path, classifier, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = json.loads((root / "runs" / "vectors" / "model" / "vocabulary.json").read_text())["entries"]
    known, other = theirs[-3:], [f"word{i}" for i in range(5)]
    source = tmp_path / "other.csv"
    rows = [f"{known[i % 3]} {other[i % 5]} {'good' if i % 2 else 'bad'},{i % 2}\n" for i in range(40)]
    source.write_text("text,label\n" + "".join(rows))
    settings = classifier("init_from=vectors", f"data.source={source}", "vocabulary.min_count=1")
    found, fresh = started(settings)
    ours = prepare_for(settings).vocabulary.entries
    given = weights_of(root, "vectors")["embedding.weight"]
    both = [word for word in ours if word in theirs and not word.startswith("<")]
    assert set(known) <= set(both)
    assert all(word not in both for word in other)
    for i, word in enumerate(ours):
        expected = given[theirs.index(word)] if word in both else fresh["embedding.weight"][i]
        assert torch.equal(found["embedding.weight"][i], expected), word
    assert f"vectors: {len(both)} of {len(both) + 5} words have one in" in capsys.readouterr().err


def test_vectors_that_have_no_word_of_the_data_are_refused(root: Path, classifier, tmp_path: Path) -> None:
    source = tmp_path / "other.csv"
    source.write_text("text,label\n" + "".join(f"zzz{i} qqq{i % 2},{i % 2}\n" for i in range(40)))
    with pytest.raises(DataError, match="has a vector for no word of the vocabulary"):
        started(classifier("init_from=vectors", f"data.source={source}", "vocabulary.min_count=1"))


@pytest.mark.parametrize("name", ["forward", "vectors", "autoencoder", "started"])
def test_backward_layers_start_from_a_backward_model(root: Path, classifier, name: str) -> None:
    """Robustness case F14."""
    if name == "started" and not (root / "runs" / name).exists():  # a classifier
        fit(classifier("init_from=vectors", "train.max_steps=1"), name)
    both = ("init_from=vectors", f"init_backward={name}", BIDIRECTIONAL)
    with pytest.raises(UsageError, match=f"init_backward: .*{name} reads forward; .* model.language.reverse"):
        started(classifier(*both))


def test_highway_gates_are_copied_where_they_fit(root: Path, classifier, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("SENTIMENT_RUNS", str(tmp_path / "runs"))
    highway = ("model.encoder.layers=2", "model.encoder.skip=highway", "model.embedding.width=6", "train.max_steps=1")
    run = fit(pretraining(root / "data", "language-model", *highway), "highway").directory
    origin = safetensors.torch.load_file(run / "model" / "weights.safetensors")
    taken = {name.replace("skips.", "encoder.skips."): of for name, of in origin.items() if name[:5] == "skips"}
    assert set(taken) == {
        f"encoder.skips.{part}"
        for part in ("0.carry.weight", *(f"{i}.gate.{kind}" for i in (0, 1) for kind in ("weight", "bias")))
    }
    found, fresh = started(classifier("init_from=highway"))  # which takes skip over, too
    assert taken.keys() <= changed(found, fresh)
    assert all(torch.equal(found[name], tensor) for name, tensor in taken.items())
    found, fresh = started(
        classifier("init_from=highway", "model.encoder.layers=1", "model.encoder.bidirectional=true")
    )
    assert not any("skips" in name for name in changed(found, fresh))  # whose gates are of both directions


def test_an_experiment_is_pretrained_first_and_then_its_run_is_reused(
    root: Path, classifier, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("SENTIMENT_RUNS", str(tmp_path / "runs"))
    own = (root / "runs" / "vectors" / "experiment.yaml").read_text()
    (root / "data" / "origin.yaml").write_text(own.replace("name: small", "name: origin"))
    fitted = []

    def counted(experiment: Experiment, name: str | None = None):
        fitted.append(name or experiment.name)
        return fit(experiment, name)

    monkeypatch.setattr(reusing_module, "fit", counted)
    experiment = classifier("init_from=origin.yaml", "train.max_steps=1", "model.encoder.width=8")
    assert experiment.model.embedding.width == 8  # of the pretraining's
    named = resolve_dependencies(experiment)
    assert named.init_from == str(tmp_path / "runs" / "origin")
    assert "init_from: origin.yaml, an experiment of task vectors" in capsys.readouterr().err
    assert resolve_dependencies(experiment) == named == resolve_dependencies(named)
    assert fitted == ["origin"]
    assert fit(named, "started").directory == tmp_path / "runs" / "started"
    held = load_experiment(tmp_path / "runs" / "started" / "experiment.yaml")
    assert held.init_from == named.init_from


def test_layers_are_unfrozen_from_the_output_down(root: Path, classifier) -> None:
    settings = (
        "init_from=forward",
        "train.unfreeze=1",
        "train.epochs=4",
        "train.keep=9",
        "train.keep_finished=true",
        "train.weight_decay=0.1",
    )
    run = fit(classifier(*settings, "train.batch_tokens=2048"), "unfrozen").directory
    paths = sorted((run / "checkpoints").iterdir())
    states = [safetensors.torch.load_file(path / "tensors.safetensors") for path in paths]
    origin, frozen = weights_of(root, "forward"), []
    for state in states:
        model = {name.removeprefix("model/"): tensor for name, tensor in state.items() if name.startswith("model/")}
        taken = {"embedding.weight": "embedding.weight"}
        taken |= {name: name.replace("encoder.forward_", "") for name in model if ".forward_layers" in name}
        frozen.append({name for name, theirs in taken.items() if torch.equal(model[name], origin[theirs])})
    layers = [
        {f"encoder.forward_layers.{i}.{kind}_{part}_l0" for kind in ("weight", "bias") for part in ("ih", "hh")}
        for i in (0, 1)
    ]
    vectors = {"embedding.weight"}
    assert frozen == [vectors | layers[0] | layers[1], vectors | layers[0], vectors, set()]
    for state in states:
        moments = [tensor for name, tensor in state.items() if name.startswith("optimizer/embedding")]
        assert moments
        assert any(tensor.any() for tensor in moments) == (state is states[-1])  # zero while the layer is frozen
    assert not torch.equal(states[0]["model/output.weight"], states[1]["model/output.weight"])


def test_layer_decay_lowers_the_learning_rate_of_deeper_layers() -> None:
    torch.manual_seed(0)
    settings = Model(encoder=Encoder(width=4, layers=2, bidirectional=True, skip="residual"), pooling="mean")
    model = Classifier(settings, 9, 1, 2, pad_is_input=False)
    train = Train(optimizer="sgd", momentum=0.0, lr=1.0, layer_decay=0.5)
    optimizer = build_optimizer(model, train)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    model(torch.randint(2, 9, (3, 5)), torch.tensor([5, 3, 4])).sum().backward()
    for group in optimizer.param_groups:
        group["lr"] = train.lr * group["lr_scale"]  # as the loop does
    optimizer.step()
    depths = {}
    for name, weight in model.named_parameters():
        depth = 3 if name.startswith("embedding") else 0 if name.startswith("output") else 2 - int(name.split(".")[2])
        assert depth_of(name, model) == depth
        torch.testing.assert_close(weight, before[name] - 0.5**depth * weight.grad)
        depths[name] = depth
    assert set(depths.values()) == {0, 1, 2, 3}
    assert build_optimizer(model, Train()).param_groups[0]["lr_scale"] == 1
    freeze(optimizer, 1, Train(unfreeze=1))
    assert {name for name, weight in model.named_parameters() if weight.requires_grad} == {
        name for name, depth in depths.items() if depth <= 1
    }
    freeze(optimizer, 0, Train())
    assert all(weight.requires_grad for weight in model.parameters())


def test_every_parameter_has_the_depth_of_its_layer() -> None:
    kinds = {
        "recurrent": Encoder(width=4, layers=2, bidirectional=True, skip="highway", direction_maps=True),
        "transformer": Encoder(width=4, layers=2, heads=2),
    }
    for kind, encoder in kinds.items():
        model = Classifier(Model(kind=kind, encoder=encoder, pooling="mean"), 9, 1, 2, pad_is_input=False)
        found = {name: depth_of(name, model) for name, _ in model.named_parameters()}
        expected = {}
        for name in found:
            part, _, rest = name.partition(".")
            depth = {"embedding": 3, "output": 0}.get(part)
            if rest.startswith("maps."):  # two a layer
                depth = {"0": 2, "1": 2, "2": 1, "3": 1}[rest.split(".")[1]]
            elif depth is None:
                lists = ("forward_layers", "backward_layers", "skips", "blocks")
                lowest = ("enter.", *(f"{layers}.0." for layers in lists))
                depth = 2 if rest.startswith(lowest) else 1
            expected[name] = depth
        assert found == expected
        assert any("maps" in name or "enter" in name for name in found)


def test_a_classifier_of_pooling_concat_trains_answers_and_has_a_graph(root: Path, classifier) -> None:
    from sentiment_cli.inference.predictor import open_predictor
    from sentiment_cli.runs.saved_model import open_artefact

    run = fit(classifier("init_from=forward", "model.pooling=concat", "train.max_steps=2"), "concat").directory
    artefact = open_artefact(run)
    assert artefact.no_graph is None
    assert weights_of(root, "concat")["output.weight"].shape == (1, 24)
    assert math.isfinite(open_predictor(artefact.path).predict(["The plot was good."])[0].probability)


def test_a_pretraining_can_start_from_one_of_its_own_task(root: Path, classifier) -> None:
    task, *settings = ORIGINS["forward"]
    found, _ = started(pretraining(root / "data", task, *settings, "init_from=forward"))
    origin = weights_of(root, "forward")
    assert found.keys() == origin.keys()
    assert all(torch.equal(found[name], origin[name]) for name in origin)
    assert fit_module.runs_dir() == root / "runs"
