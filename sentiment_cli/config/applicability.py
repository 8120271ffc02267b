"""Which kinds of models, cells and tasks each setting applies to, where it does not apply to all."""

# Whose each setting of a model is, where not every kind has it.
_RECURRENT, _LAYERED = ("recurrent",), ("recurrent", "transformer")
_NEURAL = ("recurrent", "transformer", "bag")
KINDS_OF_SETTINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "": {
        "pooling": _NEURAL,
        "context": _LAYERED,
        "head": _LAYERED,
        "dropout": _NEURAL,
        "init": _NEURAL,
    },
    "embedding": dict.fromkeys(
        ("width", "std", "uniform", "ngrams", "buckets", "dropout", "word_dropout", "element_dropout", "type_dropout"),
        _NEURAL,
    ),
    "encoder": {
        **dict.fromkeys(("width", "layers", "dropout"), _LAYERED),
        **dict.fromkeys(("cell", "bidirectional", "skip", "direction_maps", "chop"), _RECURRENT),
        **dict.fromkeys(("weight_dropout", "state_dropout", "forget_bias"), _RECURRENT),
        "heads": ("transformer",),
    },
    "linear": dict.fromkeys(
        ("ngrams", "char_ngrams", "min_count", "weighting", "smoothing", "normalize", "penalty"), ("linear",)
    ),
    "wide": dict.fromkeys(("use", "folds", "width", "dropout"), _NEURAL),
    "regions": dict.fromkeys(("use", "width", "window", "weights"), _NEURAL),
}
_ELEMENTWISE = dict.fromkeys(("mingru", "sru", "qrnn"), "its recurrence is elementwise, without a matrix")
_ORTHOGONAL = dict.fromkeys(("orthogonal", "goru"), "its recurrent matrix stays orthogonal")
CELLS_WITHOUT: dict[str, dict[str, str]] = {
    "state_dropout": _ELEMENTWISE,
    "weight_dropout": {**_ELEMENTWISE, **_ORTHOGONAL},
    "chop": {"lstm-2d": "it needs the sentence ends of a whole row"},
    "forget_bias": dict.fromkeys(
        (*_ELEMENTWISE, *_ORTHOGONAL, "lstm-1997", "rnn", "rnn-relu", "rnn-output", "gru", "lstm-2d", "lstm-grid"),
        "only lstm and lstm-peephole take it",
    ),
}
# Whose each setting is, where not every task has it.
_CLASSIFY, _LANGUAGE, SEQUENCE_TASKS = ("classify",), ("language-model",), ("autoencoder", "pairs")
_REVIEWS = ("classify", "language-model", "autoencoder", "vectors", "regions")
_ENCODERS = (*_CLASSIFY, *_LANGUAGE, *SEQUENCE_TASKS)
TASKS_OF_SETTINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "model": {
        **dict.fromkeys(("pooling", "context", "head"), _CLASSIFY),
        **dict.fromkeys(("dropout", "init"), _ENCODERS),
    },
    "model.wide": dict.fromkeys(("use", "folds", "width", "dropout"), _CLASSIFY),
    "model.regions": {
        "use": _CLASSIFY,
        **dict.fromkeys(("width", "window"), (*_CLASSIFY, "regions")),
        "weights": ("regions",),
    },
    "model.embedding": {
        "width": (*_ENCODERS, "vectors"),
        "ngrams": _CLASSIFY,
        "word_dropout": (*_CLASSIFY, *SEQUENCE_TASKS),
        **dict.fromkeys(("std", "uniform", "dropout", "element_dropout", "type_dropout"), _ENCODERS),
    },
    "model.encoder": {
        "chop": _CLASSIFY,
        **dict.fromkeys(("cell", "width", "layers", "dropout", "skip", "forget_bias"), _ENCODERS),
        **dict.fromkeys(("weight_dropout", "state_dropout"), _ENCODERS),
        **dict.fromkeys(("bidirectional", "direction_maps"), (*_CLASSIFY, *SEQUENCE_TASKS)),
    },
    "model.language": {
        **dict.fromkeys(("softmax", "tied", "cutoffs"), (*_LANGUAGE, *SEQUENCE_TASKS)),
        "samples": (*_LANGUAGE, *SEQUENCE_TASKS, "vectors", "regions"),
        **dict.fromkeys(("reverse", "label"), _LANGUAGE),
    },
    "model.decoding": dict.fromkeys(("attention", "reverse"), SEQUENCE_TASKS),
    "train": {
        "window": (*_LANGUAGE, "vectors", "regions"),
        **dict.fromkeys(("activation_penalty", "temporal_penalty"), _LANGUAGE),
        **dict.fromkeys(
            ("refit", "label_smoothing", "class_weight", "thresholds", "layer_decay", "unfreeze"), _CLASSIFY
        ),
    },
    "text": {"pad_to": _CLASSIFY},
    "vocabulary": {"vectors": _CLASSIFY, "from_": _REVIEWS},
    "data": {
        **dict.fromkeys(("target", "label_separator", "label_order"), _CLASSIFY),
        **dict.fromkeys(
            ("test", "unlabelled", "group_column", "label_map", "without_label", "deduplicate"),
            _REVIEWS,
        ),
    },
    "data.valid": dict.fromkeys(("by", "folds", "source", "unsup_share"), _REVIEWS),
    "teacher": {"run": _CLASSIFY},
    "objective": {"ramp": _CLASSIFY},
    "objective.adversarial": dict.fromkeys(("weight", "epsilon"), _CLASSIFY),
    "objective.virtual": dict.fromkeys(("weight", "epsilon", "rows"), _CLASSIFY),
    "objective.rdrop": {"weight": _CLASSIFY},
    "objective.mixup": dict.fromkeys(("weight", "alpha"), _CLASSIFY),
    "objective.stars": dict.fromkeys(("weight", "smoothing"), _CLASSIFY),
}
