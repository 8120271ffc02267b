import numpy as np

from sentiment_cli.config import schema
from sentiment_cli.training.plan import plan_steps


def test_the_plan_leaves_out_empty_rows_and_stops_at_max_steps() -> None:
    length_N = np.array([5, 0, 7, 3])
    whole = plan_steps(length_N, schema.Train(epochs=3, batch_tokens=7, max_steps=None), 0)
    assert sorted(np.concatenate(whole.rows[: whole.epoch_ends[0]]).tolist()) == [0, 2, 3]
    assert len(whole.epoch_ends) == 3
    short = plan_steps(length_N, schema.Train(epochs=3, batch_tokens=7, max_steps=4), 0)
    assert short.n_steps == 4
    assert short.epoch_ends == [whole.epoch_ends[0], 4]
