import math
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from sentiment_cli.config import schema
from sentiment_cli.config.paths import runs_dir
from sentiment_cli.data.corpus.prepare import prepare
from sentiment_cli.errors import DataError, UsageError
from sentiment_cli.inference.torch_model import load_weights
from sentiment_cli.models.classifier import Classifier
from sentiment_cli.models.layers.softmax import AdaptiveSoftmax
from sentiment_cli.storage import store
from sentiment_cli.training import init_from as origins_module
from sentiment_cli.training.weights_init import build_initial_model, draw_weights, load_all_pretrained
from sentiment_cli.workflows.train import fit, resume

TINY = ("model.encoder.width=8", "model.embedding.width=8", "train.epochs=1")


def drawn(**settings) -> Classifier:
    torch.manual_seed(0)
    encoder = schema.Encoder(width=16, **{k: settings.pop(k) for k in ["forget_bias", "cell"] if k in settings})
    model = Classifier(settings := schema.Model(encoder=encoder, **settings), 50, 1, 2, pad_is_input=False)
    draw_weights(model, settings)
    return model


@pytest.mark.parametrize(
    ("init", "bound"),
    [("uniform", 0.08), ("glorot", math.sqrt(6 / 32)), ("he", math.sqrt(6 / 16))],
)
def test_matrices_are_drawn_within_the_bound_of_their_rule(init: str, bound: float) -> None:
    recurrent = drawn(init=init).encoder.forward_layers[0].weight_hh_l0
    assert 0.9 * bound < recurrent.abs().max() <= bound
    assert (drawn(init=init).output.bias == 0).all()
    assert torch.equal(drawn(init=init).embedding.weight, drawn().embedding.weight)


@pytest.mark.parametrize(
    ("cell", "name", "n_gates"),
    [
        ("lstm", "weight_hh_l0", 4),
        ("lstm-1997", "state_weight", 3),
        ("gru", "weight_hh_l0", 3),
        ("rnn", "weight_hh_l0", 1),
    ],
)
def test_each_gate_is_orthogonal(cell: str, name: str, n_gates: int) -> None:
    for gate in getattr(drawn(init="orthogonal", cell=cell).encoder.forward_layers[0], name).chunk(n_gates):
        torch.testing.assert_close(gate @ gate.T, torch.eye(16), atol=1e-5, rtol=0)


@pytest.mark.parametrize("init", ["uniform", "glorot", "he", "orthogonal", "keras"])
def test_a_softmax_of_fewer_clusters_than_its_width_is_drawn(init: str) -> None:
    settings = schema.Model(init=init)
    softmax = AdaptiveSoftmax(50, 16, cutoffs=(10, 20))
    softmax.cluster_weight.data.fill_(9.0)
    draw_weights(softmax, settings)
    assert softmax.cluster_weight.abs().max() < 9


def test_the_forget_gate_starts_at_its_bias() -> None:
    layer = drawn(forget_bias=1.0).encoder.forward_layers[0]
    assert ((layer.bias_ih_l0 + layer.bias_hh_l0)[16:32] == 1).all()
    assert ((layer.bias_ih_l0 + layer.bias_hh_l0)[:16] != 1).all()
    layer = drawn(forget_bias=0.5, cell="lstm-peephole", init="glorot").encoder.forward_layers[0]
    assert layer.bias.view(4, 16)[:, 0].tolist() == [0, 0.5, 0, 0]


@pytest.mark.parametrize(
    ("cell", "n_gates", "biases"),
    [("lstm", 4, [0, 1, 0, 0]), ("lstm-1997", 3, [0, 0, 0]), ("gru", 3, [0, 0, 0]), ("rnn", 1, [0])],
)
def test_keras_draws_a_layers_stacked_matrices_at_once(cell: str, n_gates: int, biases: list[float]) -> None:
    model = drawn(init="keras", cell=cell)
    layer = model.encoder.forward_layers[0]
    matrices = {name: weight for name, weight in layer.named_parameters() if weight.dim() == 2}
    input_weight, state_weight = matrices.values()
    bound = math.sqrt(6 / (128 + n_gates * 16))  # Glorot's, of the width of all gates
    assert 0.95 * bound < input_weight.abs().max() <= bound
    torch.testing.assert_close(state_weight.T @ state_weight, torch.eye(16), atol=1e-5, rtol=0)
    bias = sum(weight for name, weight in layer.named_parameters() if name.startswith("bias"))
    assert bias.view(n_gates, 16).unique(dim=1).squeeze(1).tolist() == biases
    assert (model.output.bias == 0).all()
    assert 1 / math.sqrt(16) < model.output.weight.abs().max() <= math.sqrt(6 / 17)
    forget = drawn(init="keras", forget_bias=2.0).encoder.forward_layers[0].bias_ih_l0[16:32]
    assert (forget == 2).all()


def test_vectors_come_from_a_file(experiment, tmp_path: Path, capsys) -> None:
    (tmp_path / "vectors.txt").write_text(
        "2 8\nthe 1 2 3 4 5 6 7 8\nnosuchword 1 1 1 1 1 1 1 1\nplot" + " .5" * 8 + "\n"
    )
    settings = experiment(*TINY, f"vocabulary.vectors={tmp_path / 'vectors.txt'}")
    assert load_all_pretrained(settings) == []
    corpus = prepare(settings, ("train",))
    model = build_initial_model(settings, corpus, [])
    assert model.embedding.weight[corpus.vocabulary.entries.index("the")].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert model.embedding.weight[corpus.vocabulary.entries.index("plot")].tolist() == [0.5] * 8
    assert "vectors: 2 of" in capsys.readouterr().err
    fresh = build_initial_model(experiment(*TINY), corpus, []).embedding.weight
    assert torch.equal(model.embedding.weight[:2], fresh[:2])


def test_a_run_resumes_without_the_file_of_its_initial_vectors(experiment, tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "vectors.txt"
    path.write_text("the 1 2 3 4 5 6 7 8\n")
    settings = experiment(*TINY, f"vocabulary.vectors={path}", "train.checkpoint_steps=1", "train.epochs=2")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("sentiment_cli.training.epochs._validate", Mock(side_effect=KeyboardInterrupt))
        fit(settings, "stopped")
    path.unlink()
    assert resume(runs_dir() / "stopped", settings, ()).scores
    with pytest.raises(DataError, match=r"vectors\.txt cannot be read: No such file"):
        build_initial_model(settings, prepare(settings, ("train",)), [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("the 1 2 3\n", r"vectors.txt:1: 'the' has 3 numbers; model.embedding.width is 8"),
        ("the 1 2 3 4 5 6 7 nan\n", r"vectors.txt:1: 'the' has 8 numbers; .* all should be finite"),
        ("2 8\nthe 1 2 3 4 5 6 7 x\n", r"vectors.txt:2: could not convert string to float: 'x'"),
        ("zzz 1 2 3 4 5 6 7 8\n", "a vector for no word of the vocabulary"),
    ],
)
def test_a_file_that_does_not_hold_vectors_is_refused(experiment, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "vectors.txt").write_text(text)
    settings = experiment(*TINY, f"vocabulary.vectors={tmp_path / 'vectors.txt'}")
    with pytest.raises(DataError, match=said):
        build_initial_model(settings, prepare(settings, ("train",)), [])
    with pytest.raises(UsageError, match="which is not a file"):
        load_all_pretrained(experiment(*TINY, "vocabulary.vectors=nosuch.txt"))


def test_init_from_starts_from_a_finished_run(experiment, quick_run: Path) -> None:
    settings = experiment(*TINY, f"init_from={quick_run}")
    (origin,) = load_all_pretrained(settings)
    model = build_initial_model(settings, prepare(settings, ("train",)), [origin])
    assert origin.weights.keys() == model.state_dict().keys()
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in origin.weights.items())
    assert fit(settings, "more").scores.loss < fit(experiment(*TINY), "less").scores.loss


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("model.encoder.width=9", r"the run has .*weight_ih_l0 of shape \(32, 8\), this experiment \(36, 8\)"),
        ("model.encoder.bidirectional=false", "the run has tensors"),
        ("vocabulary.size=100", r"the run has a vocabulary of \d+ entries, this experiment one of 100"),
    ],
)
def test_init_from_another_shape_or_vocabulary_is_refused(experiment, quick_run, setting: str, said: str) -> None:
    """Robustness case F14."""
    settings = experiment(*TINY, f"init_from={quick_run}", setting)
    with pytest.raises(UsageError, match=said) as caught:
        fit(settings, "other")
    assert caught.value.hint == f"sentiment train {quick_run / 'experiment.yaml'} --set init_from={quick_run}"


def test_init_from_weights_that_are_not_finite_is_refused(experiment, quick_run: Path, monkeypatch) -> None:
    """Robustness case F21."""

    def damaged(artefact) -> dict[str, torch.Tensor]:
        return {**load_weights(artefact), "output.bias": torch.tensor([math.nan])}

    monkeypatch.setattr(origins_module, "load_weights", damaged)
    with pytest.raises(DataError, match=r"output\.bias holds numbers that are not finite"):
        load_all_pretrained(experiment(*TINY, f"init_from={quick_run}"))


def test_init_from_a_run_without_a_model_is_refused(experiment, tmp_path: Path) -> None:
    store.write_file(tmp_path / "runs" / "half" / "experiment.yaml", b"name: half\n")
    with pytest.raises(UsageError, match=r"init_from: .*half is unfinished, not finished"):
        load_all_pretrained(experiment(*TINY, "init_from=half"))
    store.write_file(tmp_path / "runs" / "half" / "experiment.yaml", b"name: half\ntask: vectors\n")
    with pytest.raises(UsageError) as caught:
        load_all_pretrained(experiment(*TINY, "init_from=half"))
    assert caught.value.hint == f"sentiment pretrain --resume {tmp_path / 'runs' / 'half'}"
