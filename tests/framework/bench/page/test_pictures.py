"""Which pictures the page shows."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Callable
from typing import Any

from PIL import Image

from engine.bench.page.pictures import THUMBNAIL, choose, data_uri, rows
from engine.bench.results import DatasetAnswers, EntryAnswers
from engine.errors import BrokenImageError


def answers(labels: list[int], first: list[int | None], sure: list[float]) -> EntryAnswers:
    found = DatasetAnswers(
        classes=("a", "b", "c"),
        ids=tuple(f"i{i}" for i in range(len(labels))),
        labels=tuple(labels),
        top=tuple(() if a is None else (a,) for a in first),
        probabilities=tuple(() if a is None else (p,) for a, p in zip(first, sure, strict=True)),
    )
    return EntryAnswers(datasets={"d": found})


def plain(dataset: str, image: str) -> Image.Image:
    return Image.new("RGB", (8, 8), "red")


def test_only_mistakes_are_chosen_from_every_class_the_surest_first() -> None:
    one = answers([0, 0, 0, 1, 2, -1, 1], [1, 2, 0, 0, 2, 0, None], [0.6, 0.9, 1, 0.5, 1, 1, 1])
    chosen = choose({"one": one}, plain)
    assert [each.id for each in chosen] == ["i1", "i3", "i0"]
    assert [each.label for each in chosen] == [0, 1, 0]


def test_what_another_got_right_comes_first() -> None:
    one = answers([0, 0, 0], [1, 1, 1], [0.9, 0.8, 0.7])
    two = answers([0, 0, 0], [2, 2, 0], [0.5, 0.5, 0.5])
    assert [each.id for each in choose({"one": one, "two": two}, plain)] == ["i2", "i0", "i1"]


def test_entries_share_pictures_and_take_turns(contest: Any) -> None:
    chosen = choose(contest.answers, contest.picture, each=5, budget=10**7)
    assert len({(each.dataset, each.id) for each in chosen}) == len(chosen)
    for entry, all_ in contest.answers.items():
        for name, found in all_.datasets.items():
            ids = {each.id for each in chosen if each.dataset == name}
            wrong = [i for i, label, answer in rows(found) if answer and answer[0] != label]
            assert len(ids.intersection(wrong)) >= 5, entry
    assert len(chosen) < 5 * 3 * len(contest.answers)


def test_pictures_that_cannot_be_read_are_passed_over(contest: Any) -> None:
    one = answers([0, 0, 0], [1, 1, 1], [0.9, 0.8, 0.7])

    def picture(dataset: str, image: str) -> Image.Image | None:
        if image == "i0":
            raise BrokenImageError("truncated")
        return None if image == "i1" else plain(dataset, image)

    assert [each.id for each in choose({"one": one}, picture)] == ["i2"]
    shown = choose(contest.answers, contest.picture)
    assert all(int(each.id.rsplit("-", 1)[1]) % 40 != 39 for each in shown)


def test_the_budget_is_kept(contest: Any) -> None:
    counts = Counter(
        sum(len(each.source) for each in choose(contest.answers, contest.picture, budget=budget))
        <= budget
        for budget in (0, 10_000, 60_000)
    )
    assert counts == {True: 3}
    assert not choose(contest.answers, contest.picture, budget=0)


def test_a_picture_is_asked_for_once_and_only_if_shown(contest: Any) -> None:
    asked: Counter[tuple[str, str]] = Counter()

    def picture(dataset: str, image: str) -> Image.Image | None:
        asked[dataset, image] += 1
        result: Image.Image | None = contest.picture(dataset, image)
        return result

    shown = choose(contest.answers, picture)
    assert set(asked.values()) == {1}
    assert len(asked) - len(shown) < 0.2 * len(asked)


def test_the_choice_repeats(contest: Any) -> None:
    first, second = (choose(contest.answers, contest.picture) for _ in range(2))
    assert first == second


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_pictures_are_small_whatever_comes(make_fake: Callable[..., Any]) -> None:
    for mode, size in (
        ("RGBA", (900, 300)),
        ("L", (10, 10)),
        ("P", (300, 900)),
        ("CMYK", (5, 400)),
    ):
        uri = data_uri(Image.new(mode, size))
        assert uri.startswith("data:image/")
        assert max(decoded(uri).size) == min(THUMBNAIL, max(size))


def test_a_photograph_stands_upright() -> None:
    lying = Image.new("RGB", (40, 20))
    exif = lying.getexif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    lying.save(buffer, "JPEG", exif=exif)
    assert decoded(data_uri(Image.open(buffer))).size == (20, 40)
