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
    checked_weights,
    weight_pairs,
    without_repeats,
)
from sentiment_cli.config.values import Section as Section
from sentiment_cli.config.values import join_pair as join_pair
from sentiment_cli.config.values import listed_pairs as listed_pairs
from sentiment_cli.config.values import split_pair as split_pair


class Gpu(Section):
    """What a training takes on a CUDA device instead; null takes the same as elsewhere."""

    lr: Annotated[float, Field(gt=0)] | None = Field(None, description="train.lr on a CUDA device; null: the same")
    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        None, description="train.epochs on a CUDA device; null: the same"
    )
    batch_tokens: Count | None = Field(
        None,
        description="train.batch_tokens on a CUDA device, which larger batches keep busy; null: the same. "
        "A --set train.batch_tokens is for every device and replaces train.gpu; one of train.lr or train.epochs its "
        "counterpart",
    )


class Train(Section):
    """How it is trained."""

    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = Field(
        "auto", description="auto, cpu, cuda, cuda:1 or mps"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto uses bf16 where it is faster; fp16, with loss scaling, needs CUDA"
    )
    deterministic: bool = Field(
        False, description="use only deterministic algorithms on CUDA; on a CPU they always are"
    )
    threads: Count | None = Field(None, description="CPU threads; null uses torch's default")
    optimizer: Literal["adamw", "adam", "sgd"] = Field(
        "adamw", description="AdamW decouples weight decay from the gradient; SGD uses train.momentum"
    )
    lr: Annotated[float, Field(gt=0)] | None = Field(
        1e-3, description="peak learning rate; null: chosen from the data (task: classify)"
    )
    weight_decay: Annotated[float, Field(ge=0)] = Field(
        0.0, description="weight decay of matrices, not of biases and embeddings"
    )
    schedule: Literal["constant", "linear", "cosine", "one-cycle", "plateau"] = Field(
        "constant",
        description="learning-rate schedule over the planned steps; plateau: when validation stops improving",
    )
    warmup: Rate = Field(0.0, description="share of the planned steps in which the learning rate increases")
    max_grad_norm: Annotated[float, Field(gt=0)] | None = Field(
        None, description="clip the gradient norm to this value"
    )
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="layer-wise learning-rate decay: factor from each layer to the one below"
    )
    unfreeze: Count | None = Field(
        None,
        description="gradual unfreezing: train the output layer first, and one more layer after every this many epochs",
    )
    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        10, description="passes over the training rows; null: chosen from the data (task: classify)"
    )
    max_steps: Count | None = Field(None, description="stop after this many steps, even within an epoch")
    batch_tokens: Count | None = Field(
        16_384,
        description="tokens per batch, rows times width, with padding; null: chosen from the data (task: classify)",
    )
    window: Count = Field(
        70,
        description="truncated BPTT length: tokens of a stream per step (task: language-model, vectors)",
    )
    activation_penalty: Annotated[float, Field(ge=0)] = Field(
        0.0, description="weight of the squared states in a language model's loss"
    )
    temporal_penalty: Annotated[float, Field(ge=0)] = Field(
        0.0, description="weight of the squared change of the states from token to token in a language model's loss"
    )
    monitor: Literal["loss", "accuracy", "f1", "micro_f1", "auc", "qwk"] = Field(
        "loss",
        description="validation metric that chooses the best epoch; f1 is the macro mean over the labels, micro_f1 is "
        "of target multilabel, qwk (quadratic weighted kappa) of target ordinal",
    )
    patience: Count | None = Field(None, description="early stopping: stop after this many epochs without improvement")
    checkpoint_minutes: Annotated[float, Field(gt=0)] | None = Field(
        10.0, description="minutes between checkpoints within an epoch; each epoch ends with a checkpoint"
    )
    checkpoint_steps: Count | None = Field(None, description="also save a checkpoint every this many steps")
    keep: Count = Field(2, description="checkpoints to keep; each holds the current state and the best so far")
    keep_finished: bool = Field(False, description="keep the last checkpoints of a finished run; no command reads them")
    slices: Count = Field(
        1,
        description="gradient accumulation: slices of a batch's rows, processed one after another or by several "
        "processes",
    )
    on_memory_error: Literal["stop", "split"] = Field(
        "stop", description="stop, or continue with twice the slices of the same batch"
    )
    eps: Annotated[float, Field(gt=0)] = Field(1e-8, description="epsilon in the denominator of Adam and AdamW")
    momentum: Rate = Field(0.9, description="momentum of SGD")
    lazy_embeddings: bool = Field(
        False, description="update only the word vectors that a batch reads, and keep the moments of the others"
    )
    plateau_factor: Share = Field(
        0.5, description="factor by which the learning rate is multiplied (schedule: plateau)"
    )
    plateau_patience: Annotated[int, Field(ge=0)] = Field(
        1, description="epochs without improvement before that (schedule: plateau)"
    )
    ema: Share | None = Field(
        None,
        description="decay of an exponential moving average (EMA) of the weights, which is then validated and kept",
    )
    refit: bool = Field(
        False,
        description="train again on training and validation rows for the chosen number of steps, and keep that model",
    )
    folds: Annotated[int, Field(ge=2)] | None = Field(
        None,
        description="cross-validation of a linear model with refit: each of this many folds of the training and "
        "validation rows is scored by a model of the others, and the model that is kept is trained on all; null scores "
        "the validation rows",
    )
    tensorboard: bool = Field(
        False, description="also write each evaluation for TensorBoard; needs the extra tensorboard"
    )
    class_weight: Annotated[
        Literal["none", "balanced"] | Annotated[tuple[str, ...], Field(strict=False)] | None,
        BeforeValidator(
            weight_pairs, json_schema_input_type=Literal["none", "balanced"] | list[str] | dict[str, float] | None
        ),
        AfterValidator(checked_weights),
    ] = Field(
        "none",
        description="weight of each row in the training loss by its label: none, balanced (every label the same in "
        "all), or a mapping (spam: 3; 1 for the others); null: chosen from the data (model.kind: linear)",
    )
    thresholds: Literal["fixed", "fitted"] = Field(
        "fixed",
        description="give each label from its likeliest on (target: multilabel: from 0.5 on), or from the probability "
        "on with the highest macro F1 on validation",
    )
    label_smoothing: Rate = Field(0.0, description="label smoothing: share of the target spread evenly over the labels")
    gpu: Gpu = Gpu()

    @property
    def peak_lr(self) -> float:
        """The peak learning rate, where it is set or was chosen."""
        assert self.lr is not None  # where it follows from the data, `fit_settings` has set it
        return self.lr


class Teacher(Section):
    """Distillation: other runs whose predictions are learned along with the labels (task: classify)."""

    run: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...],
        BeforeValidator(as_list, json_schema_input_type=str | list[str] | None),
        AfterValidator(without_repeats),
    ] = Field(
        (),
        strict=False,
        description="teacher for distillation: a run of any kind, or an experiment, trained first where it has no "
        "finished "
        "run; several teachers are averaged",
    )
    mix: Literal["equal", "fitted"] = Field(
        "equal",
        description="weights of several teachers' log-odds: equal, or fitted on the validation rows that all of them "
        "were held out of, as an ensemble's are",
    )
    generations: Annotated[int, Field(ge=1, le=10)] = Field(
        1,
        description="how many students are trained in turn; each after the first has the one before it as a further "
        "teacher, and the last is the run",
    )
    rows: Literal["unsup", "train", "both"] = Field(
        "unsup", description="rows with soft labels from the teacher: the unlabelled ones, the training ones, or both"
    )
    temperature: Annotated[float, Field(gt=0)] = Field(
        1.0,
        description="distillation temperature: divides the teacher's calibrated logits; above 1 the labels are softer",
    )
    confident: Share | None = Field(
        None,
        description="pseudo-labels: learn the teacher's likeliest label instead, from rows where its probability "
        "is at least this",
    )
    weight: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="weight of the teacher's labels in the loss of a labelled row (rows: train, both)"
    )
