"""Embedding → recurrent encoder → pooling → logits."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sentiment_cli.config import schema
from sentiment_cli.models.encoders import RecurrentEncoder, drop_columns
from sentiment_cli.models.linear import LinearClassifier
from sentiment_cli.models.pooling import Pooling


class Classifier(nn.Module):
    """A recurrent classifier: one logit, that of the second label, where there are two, else one per label."""

    def __init__(
        self, settings: schema.Model, n_entries: int, unknown_id: int, n_labels: int, *, pad_is_input: bool
    ) -> None:
        super().__init__()
        assert n_labels >= 2
        self.n_logits = 1 if n_labels == 2 else n_labels
        self.word_dropout, self.embedding_dropout = settings.embedding.word_dropout, settings.embedding.dropout
        self.element_dropout = settings.embedding.element_dropout
        self.unknown_id = unknown_id
        self.embedding = nn.Embedding(n_entries, settings.embedding.width)
        self.encoder = RecurrentEncoder(settings.encoder, settings.embedding.width)
        self.pooling = Pooling(settings.pooling, self.encoder.width)
        self.dropout = nn.Dropout(settings.dropout)
        self.output = nn.Linear(self.pooling.width, self.n_logits)
        with torch.no_grad():
            self.embedding.weight.mul_(settings.embedding.std)  # torch draws them with standard deviation 1
            if not pad_is_input:  # only an empty row reads padding: let it read nothing
                self.embedding.weight[0].zero_()

    def forward(self, ids_BL: Tensor, length_B: Tensor) -> Tensor:
        """Return logit_B for two labels, logit_BC for more, in float32 whatever the precision."""
        if self.training and self.word_dropout:
            dropped_BL = torch.rand(ids_BL.shape, device=ids_BL.device) < self.word_dropout
            ids_BL = ids_BL.masked_fill(dropped_BL, self.unknown_id)
        embedded_BLD = F.embedding(ids_BL, self.embedding.weight)
        embedded_BLD = drop_columns(embedded_BLD, self.embedding_dropout, self.training)
        embedded_BLD = (
            F.dropout(embedded_BLD, self.element_dropout, self.training) if self.element_dropout else embedded_BLD
        )
        pooled_BD = self.pooling(self.encoder(embedded_BLD, length_B), length_B)
        logit_BC: Tensor = self.output(self.dropout(pooled_BD)).float()
        return logit_BC.squeeze(1) if self.n_logits == 1 else logit_BC


AnyClassifier = Classifier | LinearClassifier


def build_classifier(experiment: schema.Experiment, n_entries: int, unknown_id: int, n_labels: int) -> AnyClassifier:
    """Build the experiment's model, with fresh weights from torch's global generator (a linear one has none)."""
    if experiment.model.kind == "linear":
        return LinearClassifier(experiment.model.linear, n_entries, unknown_id, n_labels)
    return Classifier(experiment.model, n_entries, unknown_id, n_labels, pad_is_input=experiment.text.pad != "none")
