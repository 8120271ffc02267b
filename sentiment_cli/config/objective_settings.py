"""The settings of terms beside the loss of the labels."""

from typing import Annotated, Literal

from pydantic import Field

from sentiment_cli.config.values import Rate, Section

Weight = Annotated[float, Field(ge=0)]
Radius = Annotated[float, Field(gt=0)]
TERMS = ("adversarial", "virtual", "rdrop", "mixup", "stars")  # each a section with a weight


class Adversarial(Section):
    """Adversarial training: the loss of the labels also where the word vectors are moved so that it rises most."""

    weight: Weight = Field(0.0, description="weight of the term; 0 leaves it out")
    epsilon: Radius = Field(
        5.0,
        description="length of the perturbation of a row's word vectors, of which each component is measured in its "
        "standard deviations over the training text; 5 is for rows of hundreds of words, shorter ones need less",
    )


class Virtual(Section):
    """Virtual adversarial training (VAT): the answers stay as they are where the vectors are moved most harmfully."""

    weight: Weight = Field(0.0, description="weight of the term; 0 leaves it out")
    epsilon: Radius = Field(5.0, description="length of the perturbation, as of objective.adversarial")
    rows: Literal["train", "unsup", "both"] = Field(
        "train",
        description="rows whose answers are to stay: the training ones, as many unlabelled ones in each batch, or both",
    )


class RDrop(Section):
    """R-Drop: two passes with different dropout, whose answers are drawn together by their symmetric KL divergence."""

    weight: Weight = Field(0.0, description="weight of the divergence; 0 leaves the second pass out")


class Mixup(Section):
    """Mixup of pooled states: the loss of the labels also for mixtures of two rows, with their labels mixed alike."""

    weight: Weight = Field(0.0, description="weight of the term; 0 leaves it out")
    alpha: Annotated[float, Field(gt=0)] = Field(
        0.2, description="parameter of the symmetric beta distribution that the share of a row is drawn from"
    )


class Stars(Section):
    """Star ratings as further targets of training rows that have them, as IMDb's do (target: label)."""

    weight: Weight = Field(
        0.0, description="weight of an ordinal loss of the ratings, which a second head learns; 0 leaves it out"
    )
    smoothing: Rate = Field(
        0.0,
        description="label smoothing by rating: this share for ratings at the middle of the scale, none for the ends",
    )


class Terms(Section):
    """Terms beside the loss of the labels (task: classify)."""

    ramp: Annotated[float, Field(ge=0)] = Field(
        0.0, description="epochs in which the weights of the terms rise linearly from 0"
    )
    adversarial: Adversarial = Adversarial()
    virtual: Virtual = Virtual()
    rdrop: RDrop = RDrop()
    mixup: Mixup = Mixup()
    stars: Stars = Stars()
