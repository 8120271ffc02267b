"""What a classifier's training minimizes: the loss of the labels, and the terms beside it."""

from torch import Tensor, nn

from sentiment_cli.config.objective_settings import TERMS, Terms
from sentiment_cli.config.schema import Experiment
from sentiment_cli.data.batching.batches import Batch
from sentiment_cli.models.classifier import Classifier
from sentiment_cli.training.gradients import Objective, seed_generators
from sentiment_cli.training.losses.adversarial import adversarial_loss, spread_of, virtual_adversarial_loss
from sentiment_cli.training.losses.consistency import mixup_loss, ratings_loss, symmetric_divergence
from sentiment_cli.training.losses.labels import build_label_objective, build_logit_loss
from sentiment_cli.training.losses.passes import Pass, draw_seeds, read_batch


def has_terms(terms: Terms) -> bool:
    """Return whether any term beside the loss of the labels has a weight."""
    return any(getattr(terms, name).weight for name in TERMS)


def build_objective(
    experiment: Experiment, weight_CJ: Tensor | None = None, share_V: Tensor | None = None
) -> Objective:
    """Return the loss function of an experiment, with class weights where they are given.

    `share_V` is the share of each entry of the vocabulary in the training text, which perturbations of word vectors
    need. The random draws of each term do not depend on the others.
    """
    terms, target = experiment.objective, experiment.data.target
    if not has_terms(terms):
        return build_label_objective(experiment, weight_CJ)
    loss = build_logit_loss(experiment, weight_CJ)

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, Classifier)
        device, (seed, *seeds) = batch.ids_BL.device, draw_seeds(6)
        first = read_batch(model, batch.ids_BL, batch.length_B, batch.fold_B, seed)
        own, added = loss(first.logits, batch), first.logits.new_zeros(())
        if (adversarial := terms.adversarial).weight:
            spread_E = _spread(model, share_V)
            term = adversarial_loss(model, first, batch, loss, epsilon=adversarial.epsilon, spread_E=spread_E)
            added = added + adversarial.weight * term
        if (virtual := terms.virtual).weight:
            passes = [first] if virtual.rows != "unsup" else []
            if batch.unlabelled_BL is not None:
                passes.append(_read_unlabelled(model, batch, seeds[0]))
            seed_generators(device, seeds[1])
            spread_E = _spread(model, share_V)
            for one in passes:
                term = virtual_adversarial_loss(model, one, target, epsilon=virtual.epsilon, spread_E=spread_E)
                added = added + virtual.weight / len(passes) * term
        if terms.rdrop.weight:
            second = read_batch(model, batch.ids_BL, batch.length_B, batch.fold_B, seeds[2])
            own = (own + loss(second.logits, batch)) / 2
            added = added + terms.rdrop.weight * symmetric_divergence(first.logits, second.logits, target)
        if terms.mixup.weight:
            seed_generators(device, seeds[3])
            added = added + terms.mixup.weight * mixup_loss(model, first, batch, loss, alpha=terms.mixup.alpha)
        if terms.stars.weight:
            assert batch.stars_B is not None
            seed_generators(device, seeds[4])
            added = added + terms.stars.weight * ratings_loss(model.rate(first.pooled_BD), batch.stars_B)
        return own + added * (1.0 if batch.ramp_B is None else batch.ramp_B[0])

    return objective


def _spread(model: Classifier, share_V: Tensor | None) -> Tensor:
    assert share_V is not None
    return spread_of(model.embedding.weight, share_V)


def _read_unlabelled(model: Classifier, batch: Batch, seed: int) -> Pass:
    assert batch.unlabelled_BL is not None
    assert batch.unlabelled_length_B is not None
    fold_B = None if batch.fold_B is None else batch.fold_B * 0  # the linear model of all: it has not seen their labels
    return read_batch(model, batch.unlabelled_BL, batch.unlabelled_length_B, fold_B, seed)
