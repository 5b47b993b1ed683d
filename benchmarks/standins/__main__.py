"""Fit the local stand-in on texts of our own, and measure it on the sample tickets, which it was not fitted on.

``python -m benchmarks.standins`` prints the fitted numbers and the figures of ``benchmarks/README.md``;
``--write`` writes the mean and the directions of languages beside the module that uses them.
"""

from __future__ import annotations

import csv
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import StratifiedKFold, cross_val_score

from cfai_nb.cli.demo import TOPICS
from cfai_nb.data import sample
from cfai_nb.emulator import standins
from cfai_nb.emulator.standins import local_model

HERE = Path(__file__).parent
DESCRIBED = {
    "news": {
        "sport": "matches, races, teams, players and results",
        "politics": "government, elections, parliament and laws",
        "business": "companies, markets, jobs and prices",
        "science": "research, discoveries, space and nature",
        "health": "illness, medicine, doctors and hospitals",
        "culture": "books, music, theatre, film and art",
    },
    "intent": {
        "alarm": "wake-up alarms and timers",
        "weather": "rain, snow, wind, sun and temperature",
        "music": "songs, bands, playlists and volume",
        "calendar": "appointments, meetings and dates",
        "home": "lights, heating, doors and devices in the house",
        "other": "anything else",
    },
    "mood": {
        "positive": "praise, satisfaction, thanks",
        "negative": "complaint, anger, disappointment",
        "neutral": "facts and questions without feeling",
    },
}


def read(name: str) -> list[list[str]]:
    """Return the lines of a file of this folder."""
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def space(model: local_model.LocalModel) -> Any:
    """Return the mean of everyday texts, and the directions in which languages differ, as rows of one matrix."""
    parallel, texts = read("parallel.tsv"), [row[2] for row in read("calibration.tsv")]
    raw = np.stack([model.raw(text) for _, text in parallel])
    names = np.array([language for language, _ in parallel])
    means = np.stack([raw[names == language].mean(0) for language in dict.fromkeys(names.tolist())])
    _, _, directions = np.linalg.svd(means - means.mean(0), full_matrices=False)
    mean = np.vstack([raw, np.stack([model.raw(text) for text in texts])]).mean(0)
    return np.vstack([mean, directions[: len(means) - 1]]).astype(np.float32)


def calibration_error(confidence: Any, right: Any, bins: int = 10) -> float:
    """Return the expected calibration error, over bins of equal width."""
    place = np.clip((confidence * bins).astype(int), 0, bins - 1)
    parts = [place == number for number in range(bins) if (place == number).any()]
    return float(sum(abs(confidence[part].mean() - right[part].mean()) * part.mean() for part in parts))


def fit(model: local_model.LocalModel) -> None:
    """Print the temperatures, the slope and the intercept that fit the calibration texts."""
    rows = read("calibration.tsv")
    for name, sets in (("LABELS", ("news", "intent", "mood")), ("LEVELS", ("mood",))):
        cases = []
        for group in sets:
            labels = list(DESCRIBED[group])
            for options in (list(DESCRIBED[group].items()), [(label, "") for label in labels]):
                chosen = [row for row in rows if row[0] == group]
                scores = np.array([model.similarity(text, options) for _, _, text in chosen])
                cases.append((scores, np.array([labels.index(label) for _, label, _ in chosen])))
                print(f"{group}, {'described' if options[0][1] else 'bare'}: "
                      f"{(scores.argmax(1) == cases[-1][1]).mean():.2f} right")  # fmt: skip

        def loss(log: Any, cases: Sequence[tuple[Any, Any]] = tuple(cases)) -> float:
            total = 0.0
            for scores, truth in cases:
                scaled = scores / math.exp(log[0])
                scaled = scaled - scaled.max(1, keepdims=True)
                chosen = scaled[np.arange(len(truth)), truth]
                total += float((np.log(np.exp(scaled).sum(1)) - chosen).mean())
            return total

        print(f"{name} = {math.exp(minimize(loss, [-3.0], method='Nelder-Mead').x[0]):.3f}")
    asked = [(text, question, answer == "yes", 1.0) for answer, question, text in rows if answer in ("yes", "no")]
    count = len(asked)
    for group, label, text in rows:  # whether a text is about each topic of its set
        if group in ("news", "intent") and label != "other":
            others = ((name, about) for name, about in DESCRIBED[group].items() if name != "other")
            asked += [(text, about, name == label, 0.25 if name == label else 0.05) for name, about in others]
    near = [[model.nearness(text, question)] for text, question, _, _ in asked]
    truth, weights = [each[2] for each in asked], [each[3] for each in asked]
    line = LogisticRegression(C=1e4).fit(near, truth, sample_weight=weights)
    score = line.score(near[:count], truth[:count])
    print(f"SLOPE, INTERCEPT = {line.coef_[0, 0]:.1f}, {line.intercept_[0]:.2f}; {score:.2f} of the questions right")


def measure(name: str, embed: Callable[[Sequence[str]], Any]) -> None:
    """Print quality and speed of one embedding on the tickets."""
    tickets = sample("tickets").dropna(subset=["text"]).drop_duplicates("text")
    gold = tickets["topic"].to_numpy()
    began = time.perf_counter(), time.process_time()
    rows = embed(tickets["text"].tolist())
    wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    print(f"\n{name}: {len(gold)} texts, {len(gold) / wall:.0f} a second, {len(gold) / cpu:.0f} a second of one core")
    for which, keep in (("all", gold == gold), ("English", (tickets["language"] == "en").to_numpy())):
        some, truth = rows[keep], gold[keep]
        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        fitted = cross_val_score(LogisticRegression(C=20, max_iter=3000), some, truth, cv=folds).mean()
        few = []
        for seed in range(5):
            rng = np.random.default_rng(seed)
            at = np.concatenate([rng.choice(np.flatnonzero(truth == label), 10, replace=False) for label in TOPICS])
            rest = np.setdiff1d(np.arange(len(truth)), at)
            few.append(LogisticRegression(C=20, max_iter=3000).fit(some[at], truth[at]).score(some[rest], truth[rest]))
        bare, described = embed(list(TOPICS)), embed(list(TOPICS.values()))
        names = np.array(list(TOPICS))
        zero = [(names[(some @ each.T).argmax(1)] == truth).mean() for each in (bare, bare + described)]
        groups = KMeans(6, n_init=10, random_state=0).fit_predict(some)
        rand = adjusted_rand_score(truth, groups)
        print(f"  {which}: logistic regression {fitted:.2f}, from 10 a label {np.mean(few):.2f}")
        print(f"    zero-shot bare {zero[0]:.2f}, described {zero[1]:.2f}, k-means ARI {rand:.2f}")


def main() -> None:
    """Fit, then measure."""
    model = local_model.load()
    found = space(model)
    if "--write" in sys.argv:
        np.save(Path(local_model.__file__).with_name("e5_space.npy"), found, allow_pickle=False)
    model._mean, model._languages = found[0], found[1:]
    fit(model)
    measure("hash", lambda texts: standins.embed(texts, 1024))
    measure(local_model.NAME, model.embed)


if __name__ == "__main__":
    main()
