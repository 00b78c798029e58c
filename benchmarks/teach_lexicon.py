"""Entries held out of the lexicon: the part `lexicon` of teach.py."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from teach_jobs import (
    CONFIG,
    TEACHERS,
    Vectors,
    best_translation,
    lexicon,
    student_vectors,
    teacher_vectors,
    train,
    unit,
)
from torch.nn import functional

from engine.contracts.optimizer import NamedParameter
from engine.core.build import make_model, make_tokenizer
from engine.core.config import load_config
from engine.evaluate.statistics import paired_test

COUNT = 5000
HELD_OUT = 0.1
EPOCHS = 3
BATCH = 512
STUDENT = "student"
SCALE = 20.0
"""Of the cosines in the contrastive loss; fixed, as sentence-transformers' default has it."""

_OVERRIDES = (
    "data.train={use: lexicon, otherwise: emoji, held_out: 0.1}", "model.text.vocab_size=65536",
    f"train.stages.0.epochs={EPOCHS}",
)  # fmt: skip

_CONTRASTED = (
    *_OVERRIDES, f"train.stages.0.batch_size={BATCH}",
    "train.stages.0.losses=[{use: distill, teacher: minilm},"
    " {use: teacher_logits, teacher: minilm, teacher_scale: 50}]",
)  # fmt: skip
"""The teacher's vectors of the other rows in a batch are what an answer is not to be."""


def held_out_lexicon(work: Path) -> dict[str, Any]:
    """Top-1 of each, in percent, and the paired tests."""
    entries, names = _queries()
    phrases = [record.id for record in entries]
    right_answers = [{text for text, _ in record.texts_in("en")} for record in entries]
    candidates = teacher_vectors(names)
    taught = train(work / "lexicon", TEACHERS, _OVERRIDES)
    model = Path(taught["model"])
    contrasted = train(work / "lexicon_contrasted", TEACHERS, _CONTRASTED)
    known = lexicon(held_out=HELD_OUT, split="train")
    exact, nearest = _looked_up(known, phrases)
    scratch_queries, scratch_candidates, cpu = _from_scratch(work, known, phrases, names)
    answers = {
        STUDENT: student_vectors(Path(contrasted["model"]), phrases) @ candidates.T,
        "distilled alone": student_vectors(model, phrases) @ candidates.T,
        "from scratch": scratch_queries @ scratch_candidates.T,
        "look-up of its words": exact @ candidates.T,
        "look-up of the nearest phrase": nearest @ candidates.T,
    }
    right = {name: _right(scores, names, right_answers) for name, scores in answers.items()}
    found: dict[str, Any] = {f"top-1 {name}, %": 100 * float(one.mean())
                             for name, one in right.items()}  # fmt: skip
    for name, one in right.items():
        if name != STUDENT:
            test = paired_test([right[STUDENT][None]], [one[None]])
            found[f"{STUDENT} minus {name}"] = [test.value, test.low, test.high]
            found[f"p against {name}"] = test.p
    return {**found, "candidates": len(names), "phrases taught": len(known),
            f"CPU seconds {STUDENT}": contrasted["cpu"],
            "CPU seconds distilled alone": taught["cpu"],
            "CPU seconds from scratch": cpu}  # fmt: skip


def _queries() -> tuple[list[Any], list[str]]:
    """Held-out rows with a most weighted translation each that no other one has, 5,000 at most."""
    held = lexicon(held_out=HELD_OUT, split="test")
    order = np.random.default_rng(0).permutation(len(held))
    found: dict[str, Any] = {}
    for number in order.tolist():
        record = held.record(number)
        found.setdefault(best_translation(record), record)
        if len(found) == COUNT:
            break
    return list(found.values()), list(found)


def _right(scores: Vectors, names: list[str], right_answers: list[set[str]]) -> NDArray[np.bool_]:
    """An answer is right where it is one of the phrase's translations; no vector, no answer."""
    best, some = scores.argmax(axis=1), np.abs(scores).max(axis=1) > 0
    return np.array([bool(known) and names[place] in texts for place, known, texts in
                     zip(best, some, right_answers, strict=True)])  # fmt: skip


def _looked_up(known: Any, phrases: list[str]) -> tuple[Vectors, Vectors]:
    """The teacher's vectors of what the lexicon has: of the phrase's words; of the known phrase
    whose letters are nearest (TF-IDF of 2- to 5-grams)."""
    own = [known.record(i) for i in range(len(known))]
    row_of = {record.id: number for number, record in enumerate(own)}
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True,
                                 dtype=np.float32)  # fmt: skip
    table = vectorizer.fit_transform([record.id for record in own])
    queries = vectorizer.transform(phrases)
    near = np.concatenate([np.asarray((queries[i : i + 250] @ table.T).argmax(axis=1)).ravel()
                           for i in range(0, len(phrases), 250)])  # fmt: skip
    words = [[row_of[word] for word in phrase.split() if word in row_of] for phrase in phrases]
    rows = sorted({*near.tolist(), *(row for some in words for row in some)})
    place = {row: number for number, row in enumerate(rows)}
    targets = _targets([own[row] for row in rows])
    exact = np.zeros((len(phrases), targets.shape[1]), np.float32)
    for number, some in enumerate(words):
        if some:
            exact[number] = targets[[place[row] for row in some]].mean(axis=0)
    return unit(exact), targets[[place[row] for row in near.tolist()]]


def _targets(records: list[Any]) -> Vectors:
    """The mean of the teacher's vectors of each row's translations, by their weights."""
    places, weights, texts = [], [], []
    for number, record in enumerate(records):
        for text, weight in record.texts_in("en"):
            places.append(number)
            weights.append(weight)
            texts.append(text)
    vectors = teacher_vectors(texts) * np.array(weights, np.float32)[:, None]
    sums = np.zeros((len(records), vectors.shape[1]), np.float32)
    np.add.at(sums, places, vectors)
    return unit(sums)


def _from_scratch(
    work: Path, known: Any, phrases: list[str], names: list[str]
) -> tuple[Vectors, Vectors, float]:
    """Vectors of phrases and of English names, by a student trained on the pairs alone."""
    kept = work / "from_scratch.npz"
    if not kept.is_file():
        start = time.process_time()
        queries, candidates = _trained(known, phrases, names)
        np.savez(kept, queries=queries, candidates=candidates, cpu=time.process_time() - start)
    found = np.load(kept)
    return found["queries"], found["candidates"], float(found["cpu"])


def _trained(known: Any, phrases: list[str], names: list[str]) -> tuple[Vectors, Vectors]:
    """InfoNCE both ways over a batch; the same encoder reads both languages. An English text that
    is in a batch twice is not its own negative."""
    config = load_config(CONFIG, _OVERRIDES)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    text, tokenizer = make_model(config).text, make_tokenizer(config)
    assert config.train is not None
    optimizer = (
        config.train.stages[0]
        .optimizer.create()
        .create([NamedParameter(f"text.{name}", each) for name, each in text.named_parameters()])
    )
    rates = [group["lr"] for group in optimizer.param_groups]

    def encode(texts: list[str]) -> torch.Tensor:
        rows = tokenizer.encode(texts, text.settings.max_tokens)
        longest = max(map(len, rows))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        mask = torch.arange(longest) < torch.tensor([len(row) for row in rows])[:, None]
        pooled = text.run({"ids": ids, "mask": mask}, 0, len(text.segments()))["pooled"]
        return functional.normalize(pooled, dim=1)

    rng, records = np.random.default_rng(0), [known.record(i) for i in range(len(known))]
    steps, step = EPOCHS * (len(records) // BATCH), 0
    for _ in range(EPOCHS):
        order = rng.permutation(len(records))
        for first in range(0, len(order) - BATCH + 1, BATCH):
            some = [records[row] for row in order[first : first + BATCH].tolist()]
            english = [_drawn(record, rng) for record in some]
            logits = SCALE * encode([record.id for record in some]) @ encode(english).T
            same = np.array(english)[:, None] == np.array(english)[None]
            np.fill_diagonal(same, val=False)
            logits = logits.masked_fill(torch.from_numpy(same), -1e4)
            labels, weight = torch.arange(BATCH), torch.tensor([r.weight for r in some])
            terms = (functional.cross_entropy(logits, labels, reduction="none")
                     + functional.cross_entropy(logits.T, labels, reduction="none"))  # fmt: skip
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * 0.5 * (1 + np.cos(np.pi * step / steps))
            optimizer.zero_grad()
            ((weight * terms).sum() / weight.sum()).backward()
            optimizer.step()
            step += 1
    with torch.inference_mode():
        found = [torch.cat([encode(texts[i : i + 500]) for i in range(0, len(texts), 500)]).numpy()
                 for texts in (phrases, names)]  # fmt: skip
    return found[0], found[1]


def _drawn(record: Any, rng: np.random.Generator) -> str:
    texts, weights = zip(*record.texts_in("en"), strict=True)
    share = np.array(weights) / sum(weights)
    return str(texts[int(rng.choice(len(texts), p=share))])
