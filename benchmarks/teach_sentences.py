"""Sentences from templates: the part `sentences` of teach.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from teach_jobs import TEACHERS, best_translation, lexicon, student_vectors, teacher_vectors, train

TEMPLATES = (
    ("это {}", "this is {}"), ("где {}?", "where is {}?"), ("на фотографии {}", "a photo of {}"),
    ("{}: рисунок", "a drawing of {}"), ("у меня есть {}", "i have {}"), ("{} и {}", "{} and {}"),
    ("{} или {}?", "{} or {}?"), ("не {}, а {}", "not {} but {}"),
    ("вот {}, а вот {}", "here is {} and there is {}"),
    ("здесь {}, {} и {}", "here are {}, {} and {}"),
)  # fmt: skip
"""With phrases as the lexicon has them; Russian ones stay in the nominative."""

TRAINING, TEST = 24_000, 1_000
UNSEEN = 0.1
LIMIT = 6_000_000

Pair = tuple[str, str]


def sentences(work: Path) -> dict[str, Any]:
    """Mean cosines between the student's vector of the Russian and the teacher's of the English."""
    seen, unseen = (_phrases(split) for split in ("train", "test"))
    rng = np.random.default_rng(0)
    training = _generated(seen, TRAINING, rng)
    shown = {phrase for _, used in training for phrase in used}
    known = [phrase for phrase in seen if phrase[0] in shown]
    taken = {pair for pair, _ in training}
    tests = {
        "seen vocabulary": [p for p, _ in _generated(known, TEST, rng) if p not in taken],
        "unseen vocabulary": [p for p, _ in _generated(unseen, TEST, rng)],
    }
    path = work / "sentences.tsv"
    rows = [pair for pair, _ in training] + seen
    path.write_text("".join(f"{ru}\t{en}\n" for ru, en in rows), encoding="utf-8")
    run = train(work / "sentences", TEACHERS, [f"data.train.path={path}"])
    found: dict[str, Any] = {
        "training pairs": len(rows), "phrases": len(known), "bytes": run["bytes"],
        "within 6 MB": run["bytes"] <= LIMIT, "CPU seconds": run["cpu"],
    }  # fmt: skip
    for name, pairs in tests.items():
        own = student_vectors(Path(run["model"]), [ru for ru, _ in pairs])
        theirs = teacher_vectors([en for _, en in pairs])
        cosines = (own * theirs).sum(axis=1)
        found[f"mean cosine, {name}"] = float(cosines.mean())
        found[f"tenth percentile, {name}"] = float(np.percentile(cosines, 10))
        other = (own * np.roll(theirs, 1, axis=0)).sum(axis=1)
        found[f"mean cosine to another sentence, {name}"] = float(other.mean())
    return found


def _phrases(split: str) -> list[Pair]:
    """CLDR's phrases, which count more, and a twentieth of the dictionaries' single words."""
    data = lexicon(held_out=UNSEEN, split=split)
    found = []
    for number in range(len(data)):
        record = data.record(number)
        if record.weight > 1 or (number % 20 == 0 and " " not in record.id):
            found.append((record.id, best_translation(record)))
    return found


def _generated(
    phrases: list[Pair], count: int, rng: np.random.Generator
) -> list[tuple[Pair, tuple[str, ...]]]:
    """Sentences, each once, with the Russian phrases that they are of."""
    found: dict[Pair, tuple[str, ...]] = {}
    while len(found) < count:
        russian, english = TEMPLATES[int(rng.integers(len(TEMPLATES)))]
        some = [phrases[int(i)] for i in rng.integers(len(phrases), size=russian.count("{}"))]
        pair = russian.format(*(ru for ru, _ in some)), english.format(*(en for _, en in some))
        found.setdefault(pair, tuple(ru for ru, _ in some))
    return list(found.items())
