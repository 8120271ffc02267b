"""The plan of `predict --shard` on many cores, simulated with slow cores and lost ones; nothing is scored.

    python benchmarks/shard_simulation.py [--rows 1e9] [--cores 100] [--seeds 200]

A shard is given to the next idle core, as Ray does it and arrays of jobs do. Its time is that of its rows at the rate
of its core, and of passing over the rows before it. Rates differ between cores (lognormal, sigma 0.1); some cores are
slow; cores are lost at random (exponential) and are back after a pause. The parts of a shard that were finished are
kept, so that a lost core costs the part it was at. Planning and merging, which one core does, are printed beside.
"""

import argparse
import heapq
import math
import random
import statistics
from typing import NamedTuple

ROWS_A_PART = 16 * 2048


class Case(NamedTuple):
    """What is simulated; rates are rows per second of a core."""

    rows: float = 1e9
    cores: int = 100
    shards_a_core: int = 4
    score: float = 4100
    skip: float = math.inf  # a Parquet file is entered at a row group
    plan: float = 166_000
    merge: float = 27_000
    slow_share: float = 0.0
    slowness: float = 4.0
    hours_between_losses: float = math.inf  # of one core
    pause_s: float = 60.0


def simulate(case: Case, rng: random.Random) -> tuple[float, float, int]:
    """Return the seconds until the last shard is finished, the rows that were scored in vain, and the losses."""
    n_shards = case.cores * case.shards_a_core
    rows = case.rows / n_shards
    rates = [case.score * rng.lognormvariate(0, 0.1) for _ in range(case.cores)]
    for core in rng.sample(range(case.cores), round(case.slow_share * case.cores)):
        rates[core] /= case.slowness
    idle = [(0.0, core) for core in range(case.cores)]
    heapq.heapify(idle)
    waiting: list[tuple[float, int, float]] = [
        (0.0, shard, rows) for shard in range(n_shards)
    ]  # since, number, rows left
    heapq.heapify(waiting)
    end, in_vain, n_lost = 0.0, 0.0, 0
    while waiting:
        since, shard, left = heapq.heappop(waiting)
        free, core = heapq.heappop(idle)
        start = max(since, free)
        before = (shard * rows + rows - left) / case.skip
        needed = before + left / rates[core]
        loss = (
            rng.expovariate(1 / (3600 * case.hours_between_losses))
            if case.hours_between_losses < math.inf
            else math.inf
        )
        if loss >= needed:
            heapq.heappush(idle, (start + needed, core))
            end = max(end, start + needed)
            continue
        done = max(0.0, loss - before) * rates[core]
        kept = done // ROWS_A_PART * ROWS_A_PART
        in_vain, n_lost = in_vain + done - kept, n_lost + 1
        heapq.heappush(waiting, (start + loss, shard, left - kept))
        heapq.heappush(idle, (start + loss + case.pause_s, core))
    return end, in_vain, n_lost


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=float, default=1e9)
    parser.add_argument("--cores", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--skip", type=float, default=3e6, help="rows of CSV that are passed over in a second")
    asked = parser.parse_args()
    plain = Case(asked.rows, asked.cores)
    print(f"plan {plain.rows / plain.plan / 3600:.1f} h, merge {plain.rows / plain.merge / 3600:.1f} h, one core each")
    cases = {
        "equal cores": plain,
        "5 % of the cores at a quarter of the speed": plain._replace(slow_share=0.05),
        "each core lost every 10 h": plain._replace(hours_between_losses=10),
        "both": plain._replace(slow_share=0.05, hours_between_losses=10),
        "both, CSV": plain._replace(slow_share=0.05, hours_between_losses=10, skip=asked.skip),
    }
    print(
        "scoring, hours: median (95th of 100) for 1, 4 and 16 shards a core; the best that is possible is "
        f"{plain.rows / plain.score / plain.cores / 3600:.2f}"
    )
    for name, case in cases.items():
        cells, lost = [], []
        for n in (1, 4, 16):
            found = [simulate(case._replace(shards_a_core=n), random.Random(seed)) for seed in range(asked.seeds)]
            hours = sorted(end / 3600 for end, _, _ in found)
            cells.append(f"{statistics.median(hours):.2f} ({hours[int(0.95 * len(hours))]:.2f})")
            lost.append(statistics.mean(rows for _, rows, _ in found) / case.rows)
        print(f"| {name} | {' | '.join(cells)} | {100 * lost[1]:.2f} % |")


if __name__ == "__main__":
    main()
