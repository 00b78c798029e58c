"""Words for a leaderboard."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bench.formatting import (
    RANDOM,
    badges,
    common_notes,
    limit_words,
    rank_words,
    results_of,
    untrained,
)
from engine.bench.leaderboard import Rank
from engine.evaluate.predictor import random_weights
from engine.report.words import number, size


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (46_401_234, "46.4 MB"), (999_000, "999 kB"),
     (302_601_234, "303 MB"), (1_062_101_234, "1.06 GB")],
)  # fmt: skip
def test_sizes_have_three_digits(count: int, words: str) -> None:
    assert size(count) == words


@given(st.integers(0, 10**13))
def test_a_size_is_near_to_what_it_names(count: int) -> None:
    value, unit = size(count).split()
    named = float(value) * {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}[unit]
    assert abs(named - count) <= 0.006 * count


@pytest.mark.parametrize(
    ("limit", "words"),
    [(None, "no limit"), (50 * 10**6, "50 MB"), (10**9, "1 GB"), (1_500_000, "1.5 MB"),
     (12, "12 B"), (1_000_001, "1.000001 MB")],
)  # fmt: skip
def test_limits_are_exact(limit: int | None, words: str) -> None:
    assert limit_words(limit) == words


def test_a_tie_is_a_range() -> None:
    assert rank_words(Rank(entry="a", best=2, worst=2)) == "2"
    assert rank_words(Rank(entry="a", best=1, worst=3)) == "1-3"


def test_what_is_no_number_is_a_dash() -> None:
    assert [number(x) for x in (None, float("nan"), float("inf"), 1234.56)] == [
        "–", "–", "–", "1,234.6",
    ]  # fmt: skip


def test_only_random_untrained_models_are_untrained(contest: Any) -> None:
    found = [e for e in contest.answers if untrained(results_of(contest.leaderboard, e))]
    assert found == ["no_training"]
    begun = contest.leaderboard.results[0].provenance.model_copy(
        update={"warnings": (f"text: {RANDOM}: hub not reachable",)}
    )
    trained = contest.leaderboard.results[0].model_copy(update={"provenance": begun})
    assert not untrained([trained])


def test_the_predictor_warns_in_the_words_that_are_looked_for() -> None:
    warnings = random_weights({"weights": {"text": {"initialised": "random", "reason": ""}}})
    assert len(warnings) == 1
    assert RANDOM in warnings[0]


def test_badges_tell_each_thing_once(contest: Any) -> None:
    found = {row.entry: badges(contest.leaderboard, row) for row in contest.leaderboard.rows}
    assert found["clip_bpe"] == [("failed", "failed")]
    assert found["no_training"][0] == ("untrained", "random weights, never trained")
    assert found["ruclip"][0] == ("contaminated", "saw shapes in training")
    assert found["rivals"][0] == ("without_model", "predictions only, model not seen")
    assert found["sber"] == []
    assert len(common_notes(contest.leaderboard)) == 3
    assert all("without an answer" in note for note in common_notes(contest.leaderboard))


def test_a_note_of_one_entry_stays_with_it(contest: Any) -> None:
    row = contest.leaderboard.row("sber")
    noted = row.model_copy(update={"notes": (*row.notes, "trained on another part")})
    assert badges(contest.leaderboard, noted) == [("note", "trained on another part")]
    alone = contest.leaderboard.model_copy(update={"rows": (row,)})
    assert common_notes(alone) == ()
    assert len(badges(alone, row)) == 3


def test_a_failed_seed_is_reported(contest: Any) -> None:
    row = contest.leaderboard.row("sber").model_copy(update={"failed": {1: "a", 2: "b"}})
    assert ("failed", "seeds 1, 2 failed") in badges(contest.leaderboard, row)
