"""The bundled sample: short synthetic reviews in IMDb's layout, made by a seeded generator.

Labels come from how a review is put together, not from its words: each clause judges one aspect, negation turns its
judgement round ("hardly boring"), an intensifier weighs it, and of two clauses joined by contrast the main one counts
("although the music was lovely, the plot was a mess"). So a count of words decides only some of the reviews.

    python -m sentiment_cli.data.sources.sample DIRECTORY     write the corpus as files
"""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

from sentiment_cli.data.sources.review import Review
from sentiment_cli.storage import store

SEED = 20110619
# Changes whenever the generator's output does, so that caches of the old output are not taken for the new.
FINGERPRINT = f"generated-{SEED}-1"
_MOVIES = {"train": 100, "test": 50, "unsup": 100}
_REVIEWS = {"train": 2000, "test": 1000, "unsup": 2000}
_MOST_PER_MOVIE = 30

_ASPECTS = """plot story script dialogue acting cast direction pacing ending opening music score soundtrack camera work
editing lighting lead hero villain romance humour action mystery finale set costumes narration""".replace(
    "camera work", "camerawork"
).split()
_GOOD = """good great brilliant lovely clever gripping moving charming fresh funny superb subtle honest touching bold
elegant vivid memorable inspired tender sharp convincing thrilling delightful warm""".split()
_BAD = """bad awful dull clumsy boring tedious weak stale shallow lifeless messy silly predictable annoying bland
hollow wooden dreary forced sloppy pointless painful lazy muddled cheap""".split()
_VERBS_GOOD = "enjoyed loved admired liked adored".split()
_VERBS_BAD = "hated disliked regretted resented loathed".split()
_NEGATIONS = ["was not {}", "wasn't {}", "was hardly {}", "was never {}", "was anything but {}", "was far from {}"]
_STRONG = ["very", "really", "truly", "absolutely", "incredibly", "so"]
_MILD = ["fairly", "rather", "somewhat", "a bit"]
_CONTRAST = [
    "Although {weak}, {strong}.",
    "Even though {weak}, {strong}.",
    "{Weak}, but {strong}.",
    "{Weak}; still, {strong}.",
    "{Strong}, although {weak}.",
    "{Strong}, even though {weak}.",
]
_NEUTRAL = """I saw {title} on a rainy {day}.|My sister lent me the disc of {title}.|It runs for about {n} minutes.
|{title} was shot in {place}.|The cinema was half empty.|There is a long scene near {place}.|We watched it on {day}.
|It was made by the team of {other}.|I had read about {title} before.|Some people left after {n} minutes.""".replace(
    "\n", ""
).split("|")
_DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
_PLACES = "Lisbon Oslo Cairo Lima Kyoto Dakar Prague Quebec Athens Hanoi".split()
_TITLE_FIRST = "Silver Broken Hidden Last Quiet Golden Distant Burning Frozen Second Paper Crimson".split()
_TITLE_SECOND = "Harbor Garden Letter Season Bridge Island Mirror Winter Promise River Station Orchard".split()


def generate_reviews(seed: int = SEED) -> Iterator[tuple[str, Review]]:
    """Yield (split, review) for train, test and unsup: each movie in one split only, with reviews of both labels."""
    draw = random.Random(seed)
    titles = [f"The {first} {second}" for first in _TITLE_FIRST for second in _TITLE_SECOND]
    titles += [f"{first} {second} II" for first in _TITLE_FIRST for second in _TITLE_SECOND]
    draw.shuffle(titles)
    first = 0
    for split, n_movies in _MOVIES.items():
        movies = range(first, first + n_movies)
        first += n_movies
        labels = ("neg", "pos")
        numbers = {"neg": 0, "pos": 0}
        rows = []
        for label in labels:
            for movie in _assign_movies(draw, movies, _REVIEWS[split] // 2):
                text, score = _review(draw, label, titles[movie], draw.choice(titles))
                stars = min(10, 7 + int(score)) if label == "pos" else max(1, 4 - int(-score))
                rows.append((f"tt{movie:07d}", label, stars, text))
        if split == "unsup":
            draw.shuffle(rows)  # the number of an unlabelled review says nothing about its label
        for i, (movie_id, label, stars, text) in enumerate(rows):
            if split == "unsup":
                yield split, Review(f"unsup/{i}", text, None, None, movie_id)
            else:
                yield split, Review(f"{label}/{numbers[label]}_{stars}", text, label, stars, movie_id)
                numbers[label] += 1


def write_sample(directory: Path, seed: int = SEED) -> None:
    """Write the corpus under `directory` in aclImdb's layout: texts and url lists."""
    movies: dict[str, list[str]] = {}
    for split, review in generate_reviews(seed):
        folder, _, name = review.id.partition("/")
        parent = "train" if split == "unsup" else split
        store.write_file(directory / parent / folder / f"{name}{'_0' * (split == 'unsup')}.txt", review.text.encode())
        movies.setdefault(f"{parent}/urls_{folder}.txt", []).append(f"http://www.example.com/title/{review.group}/\n")
    for name, lines in movies.items():
        store.write_file(directory / name, "".join(lines).encode())


def _assign_movies(draw: random.Random, movies: range, n_reviews: int) -> list[int]:
    """Give each movie at least one review of this label, and at most half of the most it may have."""
    counts = dict.fromkeys(movies, 1)
    while sum(counts.values()) < n_reviews:
        movie = draw.choice(movies)
        if counts[movie] < _MOST_PER_MOVIE // 2:
            counts[movie] += 1
    return [movie for movie, count in counts.items() for _ in range(count)]


def _review(draw: random.Random, label: str, title: str, other: str) -> tuple[str, float]:
    """Draw sentences until their judgements add up to the label with some margin."""
    sign = 1 if label == "pos" else -1
    while True:
        sentences, score = [], 0.0
        for _ in range(draw.choice((1, 2, 2, 3, 3))):
            text, value = _contrast(draw) if draw.random() < 0.16 else _plain(draw)
            sentences.append(text)
            score += value
        if score * sign < 0.75:
            continue
        for _ in range(draw.choice((0, 1, 1, 2))):
            neutral = draw.choice(_NEUTRAL).format(
                title=title, other=other, day=draw.choice(_DAYS), place=draw.choice(_PLACES), n=draw.randint(12, 180)
            )
            sentences.insert(draw.randint(0, len(sentences)), neutral)
        return "<br /><br />".join(_paragraphs(draw, sentences)), score


def _paragraphs(draw: random.Random, sentences: list[str]) -> list[str]:
    if len(sentences) > 2 and draw.random() < 0.3:
        cut = draw.randint(1, len(sentences) - 1)
        return [" ".join(sentences[:cut]), " ".join(sentences[cut:])]
    return [" ".join(sentences)]


def _plain(draw: random.Random) -> tuple[str, float]:
    text, value = _clause(draw)
    return f"{text[0].upper()}{text[1:]}{draw.choice(('.', '.', '.', '!'))}", value


def _contrast(draw: random.Random) -> tuple[str, float]:
    """Two clauses of opposite judgement, of which the main one counts."""
    strong, strong_value = _clause(draw)
    weak, weak_value = _clause(draw)
    while (weak_value > 0) == (strong_value > 0):
        weak, weak_value = _clause(draw)
    text = draw.choice(_CONTRAST).format(
        weak=weak, strong=strong, Weak=weak[0].upper() + weak[1:], Strong=strong[0].upper() + strong[1:]
    )
    return text, 1.0 if strong_value > 0 else -1.0


def _clause(draw: random.Random) -> tuple[str, float]:
    """One judgement of one aspect, now and then negated."""
    good, aspect = draw.random() < 0.5, draw.choice(_ASPECTS)
    value = 1.0 if good else -1.0
    negated = draw.random() < 0.13
    if draw.random() < 0.2:
        verb = draw.choice(_VERBS_GOOD if good else _VERBS_BAD)
        return (f"I never {verb} the {aspect}", -value) if negated else (f"I {verb} the {aspect}", value)
    word = draw.choice(_GOOD if good else _BAD)
    if negated:
        return f"the {aspect} " + draw.choice(_NEGATIONS).format(word), -value
    kind = draw.random()
    if kind < 0.3:
        return f"the {aspect} was {draw.choice(_STRONG)} {word}", 1.5 * value
    if kind < 0.5:
        return f"the {aspect} was {draw.choice(_MILD)} {word}", 0.5 * value
    return f"the {aspect} was {word}", value


if __name__ == "__main__":
    write_sample(Path(sys.argv[1]))
