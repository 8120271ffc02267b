"""The linear model with character n-grams: its solution, export, explanation, and run."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.linear_model import LogisticRegression
from test_linear_task import counted_of, labels_of

from sentiment_cli.config.loader import load_experiment
from sentiment_cli.data.tokens.subwords import find_bags
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.inference.explain.attribution import Explainer
from sentiment_cli.inference.predictor import open_predictor
from sentiment_cli.inference.torch_model import load_model
from sentiment_cli.runs.saved_model import open_artefact, pack_artefact
from sentiment_cli.training.tasks.newton import solve
from sentiment_cli.training.tasks.presence import (
    Bag,
    Presence,
    build_bag,
    build_presence,
    inverse_frequencies,
    log_count_ratios,
    sizes,
)
from sentiment_cli.workflows.train import fit

WORDS = ("walk", "walks", "walked", "talk", "talks", "sings")
PIECES = ("##", "## ", "##al", "##lk", "##s ", "## wa", "##alk")
ENTRIES = Vocabulary(("<pad>", "<unk>", *WORDS, *PIECES), 1, None, 2, len(PIECES))


def presence_of(n_rows: int = 40) -> tuple[np.ndarray, Presence]:
    """Rows of words, and the dense matrix of their features: words, pieces of words, and the bias."""
    rng = np.random.default_rng(0)
    dense_NV = np.zeros((n_rows, len(ENTRIES.entries)), dtype=np.int64)
    dense_NV[:, 2 : 2 + len(WORDS)] = rng.random((n_rows, len(WORDS))) < 0.4
    presence = build_presence(counted_of(dense_NV), n_rows)._replace(bag=build_bag(ENTRIES, (2, 3)))
    bags = find_bags(ENTRIES.entries, 2, len(PIECES), (2, 3))
    full_NV = dense_NV.copy()
    for entry, bag in enumerate(bags):
        for piece in bag:
            full_NV[:, piece] += dense_NV[:, entry]
    return full_NV, presence


def test_the_pieces_of_a_word_are_in_its_rows() -> None:
    full_NV, presence = presence_of()
    value_NC = torch.rand(40, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight_GC = torch.rand(full_NV.shape[1] + 1, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    full_NG = torch.from_numpy(np.append(full_NV, np.ones((40, 1)), axis=1)).double()
    torch.testing.assert_close(presence.logits(weight_GC), full_NG @ weight_GC)
    torch.testing.assert_close(presence.sums(value_NC, None), full_NG.T @ value_NC)
    share_N1 = torch.rand(40, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    shared = presence._replace(share_N1=share_N1)
    shared_NG = torch.cat([full_NG[:, :-1] * share_N1, full_NG[:, -1:]], dim=1)
    torch.testing.assert_close(shared.logits(weight_GC), shared_NG @ weight_GC)
    torch.testing.assert_close(shared.sums(value_NC, share_N1), shared_NG.T @ value_NC)


@pytest.mark.parametrize("n_labels", [2, 3])
def test_the_solution_is_scikit_learns(n_labels: int) -> None:
    full_NV, presence = presence_of()
    size_G = sizes(presence, 1)
    total_N1 = presence.row_NG @ size_G[:, None]
    np.testing.assert_allclose(total_N1[:, 0], full_NV.sum(axis=1))
    presence = presence._replace(share_N1=total_N1.clamp(min=1).rsqrt())
    label_N, label_NC = labels_of(40, n_labels)
    scale_G1 = torch.ones(full_NV.shape[1] + 1, 1, dtype=torch.float64)
    scaled_NV = scipy.sparse.csr_matrix(full_NV / np.sqrt(np.maximum(1, full_NV.sum(axis=1, keepdims=True))))
    oracle = LogisticRegression(C=1 / 0.3, tol=1e-10, max_iter=10_000).fit(scaled_NV, label_N)
    found = solve(presence, scale_G1.expand(-1, label_NC.shape[1]), label_NC, 0.3, tolerance=1e-10)
    np.testing.assert_allclose(found.weight_GC[:-1].T, oracle.coef_, atol=1e-5)
    np.testing.assert_allclose(found.weight_GC[-1], oracle.intercept_, atol=1e-5)


def test_a_rare_word_is_not_a_feature_but_its_pieces_are() -> None:
    dense_NV = np.zeros((3, len(ENTRIES.entries)), dtype=np.int64)
    dense_NV[0, 2] = dense_NV[1, 3] = dense_NV[2, 3] = 1  # walk in one row, walks in two
    presence = build_presence(counted_of(dense_NV), 3)._replace(bag=build_bag(ENTRIES, (2, 3)))
    ratio_GC = log_count_ratios(presence, torch.tensor([[1.0], [0.0], [0.0]], dtype=torch.float64), 1.0, 2)
    assert ratio_GC[2] == 0
    assert ratio_GC[3] != 0
    assert ratio_GC[ENTRIES.entries.index("##al")] != 0
    size_G = sizes(presence, 2)
    bags = find_bags(ENTRIES.entries, 2, len(PIECES), (2, 3))
    assert size_G[2] == len(bags[2])
    assert size_G[3] == len(bags[3]) + 1
    assert size_G[-1] == 0


def test_both_forms_of_a_bag_are_one_matrix() -> None:
    bag: Bag = build_bag(ENTRIES, (2, 3))
    assert torch.equal(bag.piece_VJ.to_dense().T, bag.entry_JV.to_dense())


STEMS = {"pos": ("wunder", "herrlich", "prächtig"), "neg": ("schreck", "grauslich", "fürchter")}
ENDS = ("lich", "bar", "haft", "lose", "volle", "ig", "sam", "schön", "arm", "frei", "weise", "mäßig")


@pytest.fixture(scope="module")
def words_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compounds that are in two rows each: stems determine the label, and the test words are unknown."""
    path = tmp_path_factory.mktemp("pieces") / "words.csv"
    rows = [
        f"der {stem}{end} film {i},{label}"
        for label, stems in STEMS.items()
        for stem in stems
        for end in ENDS
        for i in range(2)
    ]
    path.write_text("\n".join(["text,label", *rows]))
    return path


@pytest.mark.parametrize("n_labels", [2, 3])
def test_a_run_reads_unknown_words_by_their_pieces(words_file: Path, tmp_path: Path, n_labels: int) -> None:
    source = words_file
    if n_labels == 3:
        source = tmp_path / "three.csv"
        more = [f"der mittel{end} film {i},mid" for end in ENDS for i in range(4)]
        source.write_text("\n".join([words_file.read_text(), *more]))
    settings = [f"data.source={source}", "train.threads=1"]
    run = fit(load_experiment("linear", settings), "pieces").directory
    resolved = load_experiment(run / "experiment.yaml")
    assert resolved.model.linear.char_ngrams == (2, 5)
    artefact = open_artefact(run)
    assert artefact.vocabulary.n_pieces > 0
    predictor = open_predictor(artefact.path)
    texts = ["der wundersinnige film", "Schreckensreich", "", "???", "der film der film"]
    answers = predictor.predict(texts)
    assert [answer.label for answer in answers[:2]] == ["pos", "neg"]
    assert [(answer.tokens, answer.unknown) for answer in answers[:3]] == [(3, 1), (1, 1), (0, 0)]
    # The graph says what the weights say, and a packed model what the directory says.
    model, (ids,) = load_model(artefact), predictor.encode(texts)
    for row, output in zip(ids, predictor.outputs([ids]), strict=True):
        row_BL = torch.from_numpy(row.astype(np.int64))[None] if len(row) else torch.zeros(1, 1, dtype=torch.long)
        expected = model(row_BL, torch.tensor([row_BL.shape[1]]))
        np.testing.assert_allclose(output, expected[0].numpy(), atol=1e-5)
    pack_artefact(artefact, tmp_path / "one.sentiment")
    packed = open_predictor(tmp_path / "one.sentiment").predict(texts)
    assert [one.probability for one in packed] == pytest.approx([one.probability for one in answers])
    found = Explainer(predictor).explain(texts[0])
    assert found.method == "weights"
    assert found.gap == pytest.approx(0, abs=1e-5)
    assert [word.text for word in found.words] == ["der", "wundersinnige", "film"]
    assert int(np.argmax(np.abs(found.added))) == 1
    assert [word.unknown for word in found.words] == [False, True, False]


def test_without_pieces_unknown_words_contribute_nothing(words_file: Path) -> None:
    settings = [f"data.source={words_file}", "train.threads=1", "model.linear.char_ngrams=[]"]
    run = fit(load_experiment("linear", settings), "whole").directory
    predictor = open_predictor(run)
    known, unknown = predictor.outputs(predictor.encode(["der film", "der wundersinnige film"]))
    assert known == pytest.approx(unknown)
    assert json.loads((run / "model" / "vocabulary.json").read_text())["n_pieces"] == 0


def test_inverse_frequencies_are_scikit_learns() -> None:
    from sklearn.feature_extraction.text import TfidfTransformer

    dense_NF = (np.random.default_rng(0).random((30, 50)) < 0.2).astype(np.int64)
    found = inverse_frequencies(build_presence(counted_of(dense_NF), 30), 1)
    has_rows_F = dense_NF.any(axis=0)
    np.testing.assert_allclose(
        found[:-1, 0][torch.from_numpy(has_rows_F)], TfidfTransformer().fit(dense_NF).idf_[has_rows_F]
    )
    assert found[-1] == 1
    assert (found[:-1, 0][torch.from_numpy(~has_rows_F)] == 0).all()


def test_many_labels_are_learnt(tmp_path: Path) -> None:
    source = tmp_path / "many.csv"
    source.write_text("\n".join(["text,label", *(f"film thema{i % 25} x{i // 25},label{i % 25}" for i in range(250))]))
    run = fit(load_experiment("linear", [f"data.source={source}", "train.threads=1"]), "many").directory
    assert load_experiment(run / "experiment.yaml").model.linear.weighting == "idf"
    answers = open_predictor(run).predict([f"thema{i}" for i in range(25)])
    assert [answer.label for answer in answers] == [f"label{i}" for i in range(25)]
