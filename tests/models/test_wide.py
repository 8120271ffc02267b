"""The wide part of a network against loops over its n-grams, and its gradients against finite differences."""

import pytest
import torch
from torch import Tensor

from sentiment_cli.config import schema
from sentiment_cli.data.tokens.vocabulary import Vocabulary
from sentiment_cli.models.classifier import Classifier, build_classifier
from sentiment_cli.models.layers.ngrams import count_ngrams

N_ENTRIES, UNKNOWN, GAIN = 12, 1, 0.7
ROWS = [[2, 3, 4, 3, 4], [5, 1, 6, 7], [8], [3, 4, 0, 3]]
FOLDS = [2, 0, 1, 2]


def wide_model(use: str, n_labels: int = 2, *, normalize: bool = False, **settings: object) -> Classifier:
    """Build a small model whose linear models, of all rows and of two folds, have random weights."""
    own = {"embedding": {"width": 5}, "encoder": {"width": 4}, "linear": {"normalize": normalize}, "wide": {"use": use}}
    experiment = schema.Experiment(name="x", model=schema.Model.model_validate({**own, **settings}))
    torch.manual_seed(0)
    model = build_classifier(experiment, Vocabulary(tuple(map(str, range(N_ENTRIES))), UNKNOWN), n_labels)
    assert isinstance(model, Classifier)
    assert model.wide is not None
    ids_T = torch.tensor([token for row in ROWS for token in (*row, 0)]).numpy()
    row_T = torch.repeat_interleave(torch.arange(4), torch.tensor([len(row) + 1 for row in ROWS])).int().numpy()
    counted = count_ngrams(ids_T, row_T, N_ENTRIES, UNKNOWN, longest=3, min_count=1)
    n_features, n_logits = N_ENTRIES + len(counted.key_K), model.n_logits
    weights = torch.randn(3, n_features, n_logits), torch.randn(3, n_logits)
    size_F = torch.randint(1, 4, (n_features,)).float() if normalize else None
    model.wide.fit(torch.from_numpy(counted.key_K), *weights, GAIN, size_F)
    return model.eval()


def batch(rows: list[list[int]] = ROWS) -> tuple[Tensor, Tensor]:
    length_B = torch.tensor([len(row) for row in rows])
    ids_BL = torch.full((len(rows), int(length_B.max()) + 1), 9)  # what stands behind a row is not read
    for i, row in enumerate(rows):
        ids_BL[i, : len(row)] = torch.tensor(row)
    return ids_BL, length_B


def feature_of(model: Classifier, words: list[int]) -> int | None:
    """Return the number of an n-gram by its definition, None where it has none."""
    if any(word in (0, UNKNOWN) for word in words):
        return None
    feature = words[0]
    for word in words[1:]:
        places = (model.wide.linear.keys == feature * N_ENTRIES + word).nonzero()
        if not len(places):
            return None
        feature = N_ENTRIES + int(places[0])
    return feature


@pytest.mark.parametrize("folds", [None, FOLDS])
@pytest.mark.parametrize("n_labels", [2, 3])
def test_the_channel_of_a_token_weighs_the_ngrams_that_end_with_it(n_labels: int, folds: list[int] | None) -> None:
    model = wide_model("channel", n_labels)
    wide = model.wide
    fold_B = None if folds is None else torch.tensor(folds)
    channel_BLD, added = wide(*batch(), fold_B)
    assert added is None
    assert channel_BLD.shape[2] == model.encoder.forward_layers[0].weight_ih_l0.shape[1] - 5 == 16
    table_KFC = wide.table.view(3, -1, model.n_logits)
    for i, row in enumerate(ROWS):
        weight_FC = table_KFC[folds[i] if folds else 0]
        for place in range(len(row)):
            found = []
            for n in (1, 2, 3):
                words = row[place + 1 - n : place + 1] if place + 1 >= n else [0]
                feature = feature_of(model, words)
                found.append(torch.zeros(model.n_logits) if feature is None else weight_FC[feature] * GAIN)
            expected_D = wide.channel(torch.cat(found))
            torch.testing.assert_close(channel_BLD[i, place], expected_D)


@pytest.mark.parametrize("folds", [None, FOLDS])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("n_labels", [2, 3])
def test_the_skip_adds_the_scaled_logits_of_a_rows_own_model(
    n_labels: int, normalize: bool, folds: list[int] | None
) -> None:
    model = wide_model("skip", n_labels, normalize=normalize)
    wide = model.wide
    fold_B = None if folds is None else torch.tensor(folds)
    with torch.no_grad():
        both = model(*batch(), fold_B=fold_B)
        wide.scale.fill_(0.0)
        alone = model(*batch(), fold_B=fold_B)
        wide.scale.fill_(1.0)
    linear, table_KFC = wide.linear, wide.table.view(3, -1, model.n_logits)
    for i, row in enumerate(ROWS):
        fold = folds[i] if folds else 0
        linear.weight, linear.bias = table_KFC[fold], wide.bias_KC[fold]
        expected = linear(*batch([row]))[0]
        torch.testing.assert_close(both[i] - alone[i], expected)


@pytest.mark.parametrize("n_labels", [2, 3])
def test_a_share_of_the_rows_is_trained_without_the_skip(n_labels: int) -> None:
    model = wide_model("skip", n_labels, wide={"use": "skip", "dropout": 0.25}).train()
    ids_BL, length_B = (tensor.repeat_interleave(500, dim=0) for tensor in batch())
    with torch.no_grad():
        added = model.wide(ids_BL, length_B, None)[1].view(2000, -1)
        whole = model.eval().wide(ids_BL, length_B, None)[1].view(2000, -1)
    is_left_out_B = (added == 0).all(dim=1)
    assert 0.2 < is_left_out_B.float().mean() < 0.3
    assert torch.equal(added[~is_left_out_B], whole[~is_left_out_B])


@pytest.mark.parametrize("use", ["channel", "both"])
@pytest.mark.parametrize("n_labels", [2, 3])
def test_gradients_are_those_of_finite_differences(use: str, n_labels: int) -> None:
    model = wide_model(use, n_labels).double().train()
    names = [name for name, _ in model.named_parameters() if name.startswith(("wide.", "output."))]
    assert names == [
        *(["wide.scale"] if use == "both" else []),
        *("wide.channel.weight", "wide.channel.bias", "output.weight", "output.bias"),
    ]
    own = dict(model.named_parameters())

    def answer(*values: Tensor) -> Tensor:
        given = dict(zip(names, values, strict=True))
        found: Tensor = torch.func.functional_call(model, given, batch(), {"fold_B": torch.tensor(FOLDS)})
        return found

    values = tuple(own[name].detach().requires_grad_() for name in names)
    assert torch.autograd.gradcheck(answer, values, eps=1e-3, atol=2e-3)  # logits are float32


@pytest.mark.parametrize("use", ["channel", "skip", "both"])
def test_linear_models_are_no_parameters_and_folds_no_part_of_the_model(use: str) -> None:
    model = wide_model(use)
    learnt = {name for name, _ in model.named_parameters() if name.startswith("wide.")}
    assert learnt == {
        *({"wide.scale"} if use != "channel" else set()),
        *({"wide.channel.weight", "wide.channel.bias"} if use != "skip" else set()),
    }
    kept = {name for name in model.state_dict() if name.startswith("wide.")}
    assert kept - learnt == {"wide.gain", "wide.linear.keys", "wide.linear.weight", "wide.linear.bias"}


@pytest.mark.parametrize("init", ["glorot", "keras"])
def test_the_scale_starts_at_one_whatever_the_initialization(init: str) -> None:
    from sentiment_cli.training.weights_init import draw_weights

    model = wide_model("both")
    draw_weights(model, schema.Model.model_validate({"init": init}))
    assert model.wide.scale.item() == 1.0
