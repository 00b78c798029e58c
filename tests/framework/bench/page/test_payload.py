"""What the page's script works on."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bench.page import payload as module
from engine.bench.page.payload import embed, payload
from engine.bench.page.pictures import choose
from engine.errors import DataError


@pytest.fixture(scope="module")
def found(contest: Any) -> Any:
    shown = choose(contest.answers, contest.picture, each=4)
    return json.loads(embed(payload(contest.leaderboard, contest.answers, shown)))


def test_every_entry_is_there_with_its_numbers(found: Any, contest: Any) -> None:
    for entry, row in zip(found["entries"], contest.leaderboard.rows, strict=True):
        assert entry["name"] == row.entry
        assert entry["accuracy"] == (None if row.accuracy is None else pytest.approx(row.accuracy))
        assert entry["bytes"] == (row.model_size.bytes if row.model_size else None)
        assert [cell and cell["accuracy"] for cell in entry["cells"]] == [
            pytest.approx(row.datasets[d.name].accuracy) if d.name in row.datasets else None
            for d in contest.leaderboard.datasets
        ]


def test_each_part_says_how_it_is_stored(found: Any) -> None:
    (entry, *_) = [entry for entry in found["entries"] if entry["parts"]]
    assert {part[0]: part[4] for part in entry["parts"]} == {
        "vision": "", "text": "int8_rows, float32", "text_projection": "",
    }  # fmt: skip


def test_recall_is_the_mean_over_seeds(found: Any, contest: Any) -> None:
    results = [r for r in contest.leaderboard.results if r.entry == "sber"]
    assert len(results) == 3
    for c in range(16):
        values = [r.dataset("shapes").recall[c] for r in results]
        place = [e["name"] for e in found["entries"]].index("sber")
        entry = found["entries"][place]["cells"][0]["recall"][c]
        assert entry == pytest.approx(sum(values) / 3, abs=0.06)


def test_confusions_are_counted_from_the_first_seed(found: Any, contest: Any) -> None:
    for entry in found["entries"]:
        if entry["name"] not in contest.answers:
            assert entry["cells"] == [None, None, None]
            continue
        for d, dataset in enumerate(found["datasets"]):
            answers = contest.answers[entry["name"]].datasets[dataset["name"]]
            counts = Counter(
                (label, top[0] if top else -1)
                for label, top in zip(answers.labels, answers.top, strict=True)
            )
            confusion = entry["cells"][d]["confusion"]
            flat = confusion["wrong"]
            wrong = {(a, b): n for a, b, n in zip(*[iter(flat)] * 3, strict=True)}
            assert wrong == {pair: n for pair, n in counts.items() if pair[0] != pair[1]}
            assert list(wrong.values()) == sorted(wrong.values(), reverse=True)
            assert confusion["right"] == [counts[i, i] for i in range(len(dataset["classes"]))]
            assert dataset["counts"] == [
                answers.labels.count(i) for i in range(len(dataset["classes"]))
            ]


def test_rare_confusions_give_way(contest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONFUSIONS", 5)
    entry = payload(contest.leaderboard, contest.answers, [])["entries"][0]["cells"][0]["confusion"]
    assert len(entry["wrong"]) == 15
    assert entry["left"] > 0


def test_each_picture_knows_every_answer(found: Any, contest: Any) -> None:
    names = [entry["name"] for entry in found["entries"]]
    assert found["pictures"]
    for picture in found["pictures"]:
        dataset = found["datasets"][picture["dataset"]]["name"]
        assert [names[a[0]] for a in picture["answers"]] == list(contest.answers)
        for place, answer, sure in picture["answers"]:
            answers = contest.answers[names[place]].datasets[dataset]
            row = answers.ids.index(picture["id"])
            assert answers.labels[row] == picture["label"]
            assert answer == (answers.top[row][0] if answers.top[row] else -1)
            known = answers.probabilities and answers.probabilities[row]
            assert sure == (pytest.approx(known[0]) if known else None)


def test_tiers_name_entries_by_place(found: Any, contest: Any) -> None:
    names = [entry["name"] for entry in found["entries"]]
    for entry, size_bucket in zip(
        found["size_buckets"], contest.leaderboard.size_buckets, strict=True
    ):
        assert [[names[i], best, worst] for i, best, worst in entry["ranks"]] == [
            [place.entry, place.best, place.worst] for place in size_bucket.ranks
        ]
        assert [names[i] for i in entry["over"]] == list(size_bucket.over)


def test_answers_to_other_classes_are_an_error(contest: Any) -> None:
    answers = contest.answers["sber"]
    other = answers.datasets["digits"].model_copy(update={"classes": tuple("abcdefghij")})
    changed = answers.model_copy(update={"datasets": {**answers.datasets, "digits": other}})
    with pytest.raises(DataError, match="`sber` to data set `digits` speak of other classes"):
        payload(contest.leaderboard, {**contest.answers, "sber": changed}, [])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_embedded_json_reads_back_and_cannot_end_its_element(value: Any) -> None:
    text = embed(value)
    assert json.loads(text) == value
    assert not set(text) & set("<>&\u2028\u2029")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_no_number_is_null(value: float) -> None:
    assert embed([value, 1.5]) == "[null,1.5]"


def test_a_lone_surrogate_does_not_break_the_page() -> None:
    assert embed("a\ud800b") == '"a?b"'
