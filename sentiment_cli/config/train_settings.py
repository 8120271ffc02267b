"""The settings of training, and of distillation."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from sentiment_cli.config.model_settings import Decoding as Decoding
from sentiment_cli.config.model_settings import Embedding as Embedding
from sentiment_cli.config.model_settings import Encoder as Encoder
from sentiment_cli.config.model_settings import Language as Language
from sentiment_cli.config.model_settings import Linear as Linear
from sentiment_cli.config.model_settings import Model as Model
from sentiment_cli.config.values import MOST_TOKENS as MOST_TOKENS
from sentiment_cli.config.values import (
    Count,
    Rate,
    Share,
    as_list,
    without_repeats,
)
from sentiment_cli.config.values import Section as Section
from sentiment_cli.config.values import join_pair as join_pair
from sentiment_cli.config.values import listed_pairs as listed_pairs
from sentiment_cli.config.values import split_pair as split_pair


class Train(Section):
    """How it is trained."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = Field(
        "auto", description="auto, cpu, cuda, cuda:1 or mps"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto takes bf16 where it is faster; fp16, with loss scaling, is for CUDA"
    )
    deterministic: bool = Field(False, description="on CUDA only algorithms that repeat themselves; on a CPU always so")
    threads: Count | None = Field(None, description="CPU threads; null leaves torch's choice")
    optimizer: Literal["adamw", "adam", "sgd"] = Field(
        "adamw", description="AdamW decays weights apart from the gradient; SGD takes train.momentum"
    )
    lr: Annotated[float, Field(gt=0)] = Field(1e-3, description="peak learning rate")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.0, description="on matrices; biases and embeddings spared")
    schedule: Literal["constant", "linear", "cosine", "one-cycle", "plateau"] = Field(
        "constant", description="how the learning rate falls over the planned steps; plateau: when validation stalls"
    )
    warmup: Rate = Field(0.0, description="share of the planned steps in which the learning rate rises")
    max_grad_norm: Annotated[float, Field(gt=0)] | None = Field(None, description="clip the gradient to this norm")
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="factor of the learning rate from each layer to the one below it"
    )
    unfreeze: Count | None = Field(
        None, description="train the output alone at first, and one layer more after every so many epochs"
    )
    epochs: Annotated[int, Field(ge=1, le=10_000)] = Field(10, description="passes over the training rows")
    max_steps: Count | None = Field(None, description="stop after this many steps, wherever the epoch is")
    batch_tokens: Count = Field(16_384, description="rows times width of a batch, padding included")
    window: Count = Field(
        70,
        description="tokens of a stream that a step reads and its gradient spans (task: language-model, vectors)",
    )
    activation_penalty: Annotated[float, Field(ge=0)] = Field(
        0.0, description="weight of the squared states in a language model's loss"
    )
    temporal_penalty: Annotated[float, Field(ge=0)] = Field(
        0.0, description="weight of the squared change of the states from token to token in a language model's loss"
    )
    monitor: Literal["loss", "accuracy", "f1", "auc"] = Field(
        "loss", description="validation figure that chooses the best epoch"
    )
    patience: Count | None = Field(None, description="stop after this many epochs without a better figure")
    checkpoint_minutes: Annotated[float, Field(gt=0)] | None = Field(
        10.0, description="save a checkpoint this often within an epoch; each epoch ends with one"
    )
    checkpoint_steps: Count | None = Field(None, description="save a checkpoint every so many steps, too")
    keep: Count = Field(2, description="checkpoints kept; each holds the best state so far beside the present one")
    keep_finished: bool = Field(
        False, description="keep the last checkpoints of a run that is finished, which no command reads"
    )
    slices: Count = Field(1, description="slices of rows a batch is read in, one after the other or by processes")
    on_memory_error: Literal["stop", "split"] = Field(
        "stop", description="stop, or go on with twice the slices of the same batch"
    )
    eps: Annotated[float, Field(gt=0)] = Field(1e-8, description="added to the root in Adam's and AdamW's division")
    momentum: Rate = Field(0.9, description="share of the last update that SGD adds to the next")
    lazy_embeddings: bool = Field(
        False, description="update the word vectors that a batch reads, and leave the others' moments as they are"
    )
    plateau_factor: Share = Field(0.5, description="what the learning rate is multiplied by (schedule: plateau)")
    plateau_patience: Annotated[int, Field(ge=0)] = Field(
        1, description="epochs without a better figure before that happens"
    )
    ema: Share | None = Field(
        None, description="decay of a moving average of the weights, which is then what is validated and kept"
    )
    refit: bool = Field(
        False, description="train once more for the chosen number of steps, on validation's rows too, and keep that"
    )
    tensorboard: bool = Field(
        False, description="write each evaluation for TensorBoard, too; needs the extra of the name"
    )
    label_smoothing: Rate = Field(0.0, description="share of the truth spread evenly over the labels")


class Teacher(Section):
    """Other runs whose answers are learnt along with the labels (task: classify)."""

    run: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...],
        BeforeValidator(as_list, json_schema_input_type=str | list[str] | None),
        AfterValidator(without_repeats),
    ] = Field(
        (),
        strict=False,
        description="run that teaches, of whatever kind, or its experiment, trained where no run of it is finished; "
        "of several, the mean of what they say",
    )
    rows: Literal["unsup", "train", "both"] = Field(
        "unsup", description="which rows it answers: the unlabelled ones, the labelled ones of training, or both"
    )
    temperature: Annotated[float, Field(gt=0)] = Field(
        1.0, description="its calibrated logits are divided by this: above 1 softer answers are learnt"
    )
    confident: Share | None = Field(
        None, description="learn its likeliest label instead, of rows where that has this probability at least"
    )
    weight: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="its part in what is learnt of a labelled row, beside the label (rows: train, both)"
    )
