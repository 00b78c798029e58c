"""A leaderboard for the terminal, as Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import pytest
from rich.console import Console

from engine.bench.formatting import limit_words, rank_words
from engine.bench.leaderboard import Leaderboard
from engine.bench.renderers import p_words, tables, to_latex, to_markdown
from engine.bench.tables import to_csv, to_json
from engine.contracts.metric import Value

EVIL = "=cmd|'/c'!A1 | **b** <b>\x1b[31m\n# x"


def printed(leaderboard: Leaderboard, width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO(), force_terminal=False)
    for each in tables(leaderboard, width):
        console.print(each)
    return console.export_text()


@pytest.fixture
def evil(contest: Any) -> Leaderboard:
    """The leaderboard, its first entry under a hostile name."""

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: renamed(each) for key, each in value.items()}
        if isinstance(value, list):
            return [renamed(each) for each in value]
        return EVIL if value == "sber" else value

    return Leaderboard.model_validate(renamed(contest.leaderboard.model_dump(mode="json")))


@pytest.mark.parametrize("width", [60, 80, 120, 240])
def test_tables_keep_to_the_terminal(contest: Any, width: int) -> None:
    text = printed(contest.leaderboard, width)
    assert max(map(len, text.splitlines())) <= width
    for row in contest.leaderboard.rows:
        assert row.entry[:18] in text
    assert "accuracy" in text


def test_wider_terminals_show_more(contest: Any) -> None:
    narrow, wide = printed(contest.leaderboard, 70), printed(contest.leaderboard, 200)
    for column in ("ms/image", "calibration error, % ↓", "peak MB"):
        assert column in wide
        assert column not in narrow


def test_a_table_ranks_ties_and_keeps_others_apart(contest: Any) -> None:
    first = printed(contest.leaderboard, 100).split("under 150 MB")[0]
    lines = [line.split() for line in first.splitlines() if line.strip()]
    ranks = {line[1]: line[0] for line in lines if len(line) > 3}
    size_bucket = contest.leaderboard.size_buckets[0]
    for place in size_bucket.ranks:
        assert ranks[place.entry] == rank_words(place)
    for entry in size_bucket.over:
        assert ranks[entry] == "over"
    assert ranks["rivals"] == "–"
    assert "clip_bpe" not in ranks


def test_limits_with_one_board_share_a_table(contest: Any) -> None:
    text = printed(contest.leaderboard, 100)
    assert "under 500 MB (the same with 1 GB)" in text
    assert "under 1 GB" not in text


def test_failures_and_notes_are_reported(contest: Any) -> None:
    text = printed(contest.leaderboard, 100)
    assert "FAILED clip_bpe, seed 0: TrainingError: the loss is not a number" in text
    assert "* no_training: random weights, never trained" in text
    assert "left out emoji" in text
    assert text.count("shapes: images without an answer count as wrong: 1") == 1
    tied = sum(not each.real for each in contest.leaderboard.comparisons)
    assert f"{tied} of {len(contest.leaderboard.comparisons)} pairs are tied" in text


def test_markup_in_names_is_text(evil: Leaderboard) -> None:
    text = printed(evil, 200)
    assert "\x1b" not in text
    assert "**b** <b>" in text


def test_markdown_has_a_table_for_each_limit(contest: Any) -> None:
    text = to_markdown(contest.leaderboard)
    assert text.startswith("# contest\n")
    for title in ("## Under 50 MB", "## Under 500 MB (the same with 1 GB)", "## No limit",
                  "## Is it real?", "## Notes"):  # fmt: skip
        assert f"\n{title}\n" in text
    part = text.split("## Under 50 MB")[1].split("## ")[0]
    ranks = [line.split(" | ")[:2] for line in part.splitlines() if line.startswith("| ")]
    first = contest.leaderboard.size_buckets[0].ranks[0]
    assert [f"| {rank_words(first)}", first.entry.replace("_", "\\_")] in ranks
    assert "Over the limit, not ranked:" in part
    assert "- versions: engine 0.1.0, python 3.11.2, torch 2.9.1" in text
    assert "clip\\_bpe, seed 0 failed" in text


def test_markdown_tables_are_rectangular_whatever_the_names(evil: Leaderboard) -> None:
    for block in to_markdown(evil).split("\n\n"):
        lines = block.splitlines()
        if lines[0].startswith("| "):
            columns = {line.replace("\\|", "").count("|") for line in lines}
            assert len(columns) == 1
    assert "<b>" not in to_markdown(evil).replace("\\<b\\>", "")


def test_csv_has_a_line_an_entry_with_exact_numbers(contest: Any) -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv(contest.leaderboard))))
    assert [line["entry"] for line in lines] == [row.entry for row in contest.leaderboard.rows]
    for line, row in zip(lines, contest.leaderboard.rows, strict=True):
        assert line["accuracy"] == ("" if row.accuracy is None else repr(row.accuracy))
        assert line["bytes"] == ("" if row.model_size is None else str(row.model_size.bytes))
        assert bool(line["failed"]) == bool(row.failed)
    for size_bucket in contest.leaderboard.size_buckets:
        best = {
            line["entry"]: line[f"rank best, {limit_words(size_bucket.limit)}"] for line in lines
        }
        assert {entry: rank for entry, rank in best.items() if rank} == {
            place.entry: str(place.best) for place in size_bucket.ranks
        }


def test_csv_holds_no_formula(evil: Leaderboard) -> None:
    lines = list(csv.reader(io.StringIO(to_csv(evil))))
    assert f"'{EVIL}" in [line[0] for line in lines]
    assert not [cell for line in lines for cell in line if cell.startswith(("=", "+", "@"))]


def test_json_is_whole_and_strict(contest: Any) -> None:
    text = to_json(contest.leaderboard)
    value = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    for compared, each in zip(value["comparisons"], contest.leaderboard.comparisons, strict=True):
        assert compared.pop("real") == each.real
    assert Leaderboard.model_validate(value) == contest.leaderboard


def test_json_has_null_for_what_is_no_number(contest: Any) -> None:
    row = contest.leaderboard.rows[0].model_copy(update={"metrics": {"top5": Value(math.nan)}})
    leaderboard = contest.leaderboard.model_copy(
        update={"rows": (row, *contest.leaderboard.rows[1:])}
    )
    assert json.loads(to_json(leaderboard, indent=None))["rows"][0]["metrics"] == {
        "top5": {"value": None, "low": None, "high": None}
    }
    assert "\n" not in to_json(leaderboard, indent=None).strip()


def test_a_board_of_failures_alone_is_shown(contest: Any) -> None:
    rows = tuple(row for row in contest.leaderboard.rows if row.accuracy is None)
    size_buckets = tuple(t.model_copy(update={"ranks": (), "over": (), "without_model": ()})
                  for t in contest.leaderboard.size_buckets)  # fmt: skip
    leaderboard = contest.leaderboard.model_copy(
        update={"rows": rows, "size_buckets": size_buckets, "comparisons": (), "datasets": ()}
    )
    assert "FAILED clip_bpe" in printed(leaderboard, 80)
    assert "Nothing is ranked" in to_markdown(leaderboard)
    assert "clip_bpe" in to_csv(leaderboard)


def test_small_p_values_are_not_zero() -> None:
    assert p_words(0.00001) == "< 0.0001"
    assert p_words(0.0321) == "0.032"


def test_latex_is_rectangular_and_holds_no_command_of_others(evil: Leaderboard) -> None:
    text = to_latex(evil)
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") > 1
    for block in text.split("\n\n")[1:]:
        rows = [line for line in block.splitlines() if line.endswith(r"\\")]
        assert len({line.replace(r"\&", "").count("&") for line in rows}) == 1
    (line, *_) = [line for line in text.splitlines() if "=cmd" in line]
    assert r"=cmd\textbar{}" in line
    assert r"\textless{}b\textgreater{}" in line
    assert r"\# x" in line
    assert "\x1b" not in text
