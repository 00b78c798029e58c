from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from engine.bench.evaluator import result_of
from engine.bench.leaderboard import Leaderboard
from engine.bench.rank import Outcome, make_leaderboard
from engine.bench.results import DatasetAnswers, EntryAnswers, ModelSize, Provenance, Result, Speed

CLASSES = tuple("абвгдежз")


def answers(right: Sequence[bool]) -> DatasetAnswers:
    labels = tuple(i % len(CLASSES) for i in range(len(right)))
    top = tuple(
        (label,) if ok else ((label + 1) % len(CLASSES),)
        for label, ok in zip(labels, right, strict=True)
    )
    ids = tuple(map(str, range(len(right))))
    return DatasetAnswers(classes=CLASSES, ids=ids, labels=labels, top=top)


def outcome(
    name: str, size: int | None, ms: float, *data: Sequence[bool], seed: int = 0
) -> Outcome:
    given = {f"d{i}": answers(right) for i, right in enumerate(data)}
    speed = Speed(load_seconds=1, image_ms=ms, text_ms=1, images_per_second=1, image_batch=1,
                  texts_per_second=1, text_batch=1, peak_mb=1, threads=1)  # fmt: skip
    result = Result(
        key="k", entry=name, seed=seed, provenance=Provenance(source="config", path=name),
        model_size=None if size is None else ModelSize(bytes=size, parameters=size // 4, buffers=0),
        speed=speed,
        datasets=tuple(result_of(each, given[each], "", []) for each in given),
    )  # fmt: skip
    return Outcome(result, EntryAnswers(datasets=given))


def leaderboard(*outcomes: Outcome, size_buckets: Sequence[int] = (100,)) -> Leaderboard:
    names = list(dict.fromkeys(each.result.entry for each in outcomes))
    return make_leaderboard(
        "s", names, outcomes, size_buckets=size_buckets, failed={}, skipped={}, draws=2000
    )


def share(count: int, of: int) -> list[bool]:
    return [i < count for i in range(of)]


def test_clear_differences_make_places_and_chance_makes_ties() -> None:
    made = leaderboard(
        outcome("good", 10, 1, share(180, 200)),
        outcome("nearly", 10, 1, share(178, 200)),
        outcome("bad", 10, 1, share(60, 200)),
    )
    ranks = {each.entry: (each.best, each.worst) for each in made.size_buckets[0].ranks}
    assert ranks == {"good": (1, 2), "nearly": (1, 2), "bad": (3, 3)}


def test_what_weighs_too_much_is_apart_and_never_ranked() -> None:
    made = leaderboard(
        outcome("light", 100, 1, share(5, 20)), outcome("heavy", 101, 1, share(20, 20))
    )
    strict, none = made.size_buckets
    assert [each.entry for each in strict.ranks] == ["light"]
    assert strict.over == ("heavy",)
    assert [each.entry for each in none.ranks] == ["heavy", "light"]
    assert (strict.ranks[0].best, strict.ranks[0].worst) == (1, 1)


def test_predictions_are_never_ranked() -> None:
    made = leaderboard(
        outcome("model", 10, 1, share(5, 20)), outcome("theirs", None, 1, share(20, 20))
    )
    assert all(size_bucket.without_model == ("theirs",) for size_bucket in made.size_buckets)
    assert all(
        [p.entry for p in size_bucket.ranks] == ["model"] for size_bucket in made.size_buckets
    )


def test_the_front_holds_what_nothing_beats() -> None:
    made = leaderboard(
        outcome("small", 10, 9, share(10, 40)),
        outcome("waste", 20, 9, share(9, 40)),
        outcome("same", 10, 9, share(10, 40)),
        outcome("big", 50, 1, share(30, 40)),
    )
    assert {r.entry for r in made.rows if r.on_bytes_front} == {"small", "same", "big"}
    assert {r.entry for r in made.rows if r.on_ms_front} == {"big"}


def test_one_that_is_never_right_can_still_be_on_the_front() -> None:
    made = leaderboard(outcome("a", 10, 1, share(0, 8)), outcome("b", 20, 1, share(4, 8)))
    assert {r.entry for r in made.rows if r.on_bytes_front} == {"a", "b"}
    made = leaderboard(outcome("a", 10, 1, share(0, 8)), outcome("b", 20, 1, share(0, 8)))
    assert {r.entry for r in made.rows if r.on_bytes_front} == {"a"}


def test_the_mean_is_over_data_sets_and_seeds() -> None:
    made = leaderboard(
        outcome("a", 10, 1, share(10, 20), share(8, 8), seed=0),
        outcome("a", 10, 1, share(12, 20), share(6, 8), seed=1),
    )
    row = made.rows[0]
    assert row.accuracy == pytest.approx((50 + 100 + 60 + 75) / 4)
    assert row.datasets["d0"].accuracy == pytest.approx(55)
    assert row.spread["accuracy"] == pytest.approx(np.std([75, 67.5], ddof=1))
    assert row.interval is not None
    assert row.interval[0] < row.accuracy < row.interval[1]
    assert row.seeds == (0, 1)


def test_comparisons_count_images_that_one_alone_got_right() -> None:
    made = leaderboard(
        outcome("a", 10, 1, [True, True, False, True]),
        outcome("b", 10, 1, [False, True, True, False]),
    )
    (pair,) = made.comparisons
    assert (pair.a, pair.b) == ("a", "b")
    assert (pair.only_a, pair.only_b) == ({"d0": 2}, {"d0": 1})
    assert pair.difference == pytest.approx(25)
    assert not pair.real


def test_many_comparisons_are_corrected() -> None:
    rng = np.random.default_rng(1)
    made = leaderboard(*(outcome(f"e{i}", 10, 1, list(rng.random(300) < 0.5)) for i in range(12)))
    assert len(made.comparisons) == 66
    assert all(each.corrected >= each.p for each in made.comparisons)
    assert not any(each.real for each in made.comparisons)
    assert all((p.best, p.worst) == (1, 12) for p in made.size_buckets[0].ranks)


def test_failures_are_rows() -> None:
    made = make_leaderboard("s", ["gone", "a"], [outcome("a", 1, 1, share(1, 2))], size_buckets=(),
                      failed={"gone": {0: "no such file"}}, skipped={"x": "missing"})  # fmt: skip
    assert made.row("gone").accuracy is None
    assert made.row("gone").failed == {0: "no such file"}
    assert made.skipped == {"x": "missing"}
    assert [size_bucket.limit for size_bucket in made.size_buckets] == [None]


def test_nothing_at_all_is_still_a_board() -> None:
    made = make_leaderboard("s", ["a"], [], size_buckets=(5,), failed={"a": {0: "why"}}, skipped={})
    assert made.datasets == ()
    assert all(not size_bucket.ranks for size_bucket in made.size_buckets)
