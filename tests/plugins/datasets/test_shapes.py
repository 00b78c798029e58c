"""Drawn shapes: the grammar of their words, their splits, their pictures."""

from __future__ import annotations

import itertools
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from engine_plugins.datasets import drawing, russian
from engine_plugins.datasets.russian import Scene, class_name, queries, with_
from engine_plugins.datasets.settings import ShapesSettings
from engine_plugins.datasets.shapes import Shapes, split_pairs

# Written out by hand, so that the rules of russian.py are held to something that is not a rule.
# Nominative m, f, n; genitive m/n, f; accusative f; instrumental m/n, f.
ADJECTIVES = """
красный красная красное красного красной красную красным красной
оранжевый оранжевая оранжевое оранжевого оранжевой оранжевую оранжевым оранжевой
жёлтый жёлтая жёлтое жёлтого жёлтой жёлтую жёлтым жёлтой
зелёный зелёная зелёное зелёного зелёной зелёную зелёным зелёной
голубой голубая голубое голубого голубой голубую голубым голубой
синий синяя синее синего синей синюю синим синей
фиолетовый фиолетовая фиолетовое фиолетового фиолетовой фиолетовую фиолетовым фиолетовой
розовый розовая розовое розового розовой розовую розовым розовой
коричневый коричневая коричневое коричневого коричневой коричневую коричневым коричневой
чёрный чёрная чёрное чёрного чёрной чёрную чёрным чёрной
маленький маленькая маленькое маленького маленькой маленькую маленьким маленькой
большой большая большое большого большой большую большим большой
"""
# Gender; nominative, genitive, accusative, instrumental.
NOUNS = """
m круг круга круг кругом
m квадрат квадрата квадрат квадратом
m треугольник треугольника треугольник треугольником
m ромб ромба ромб ромбом
m шестиугольник шестиугольника шестиугольник шестиугольником
m крест креста крест крестом
m полумесяц полумесяца полумесяц полумесяцем
f звезда звезды звезду звездой
f стрелка стрелки стрелку стрелкой
f капля капли каплю каплей
n сердце сердца сердце сердцем
n кольцо кольца кольцо кольцом
"""
CASES = ("nominative", "genitive", "accusative", "instrumental")
GOVERNS = {
    "картинка": "instrumental",
    "рисунок": "genitive",
    "изображение": "genitive",
    "нарисовать": "accusative",
    "нарисуй": "accusative",
}


def adjective_forms() -> dict[str, set[tuple[str, str]]]:
    forms: dict[str, set[tuple[str, str]]] = {}
    for line in ADJECTIVES.split("\n")[1:-1]:
        m, f, n, gen, gen_f, acc_f, ins, ins_f = line.split()
        for form, roles in (
            (m, {("m", "nominative"), ("m", "accusative")}),
            (f, {("f", "nominative")}),
            (n, {("n", "nominative"), ("n", "accusative")}),
            (gen, {("m", "genitive"), ("n", "genitive")}),
            (gen_f, {("f", "genitive")}),
            (acc_f, {("f", "accusative")}),
            (ins, {("m", "instrumental"), ("n", "instrumental")}),
            (ins_f, {("f", "instrumental")}),
        ):
            forms.setdefault(form, set()).update(roles)
    return forms


def noun_forms() -> dict[str, set[tuple[str, str]]]:
    forms: dict[str, set[tuple[str, str]]] = {}
    for line in NOUNS.split("\n")[1:-1]:
        gender, *cases = line.split()
        for form, case in zip(cases, CASES, strict=True):
            forms.setdefault(form, set()).add((gender, case))
    return forms


ADJECTIVE, NOUN = adjective_forms(), noun_forms()
OTHER = {
    "цвета", "размера", "среднего", "с", "со", "в", "на", "фоне", "тёмном", "светлом", "слева",
    "справа", "вверху", "внизу", "углу", "левом", "правом", "верхнем", "нижнем", "верхней",
    "нижней", "части", "центре", "посередине", "левой", "правой", "стороны", *GOVERNS,
}  # fmt: skip


def every_scene() -> list[Scene]:
    return [
        Scene(shape, colour, size, place, dark)  # type: ignore[arg-type]
        for shape, colour, size, place, dark in itertools.product(
            russian.SHAPES, russian.COLOURS, drawing.RADIUS, russian.PLACES, (False, True)
        )
    ]


def agree(words: list[str], case: str) -> bool:
    """Whether adjectives and noun share a gender in the case that is asked for."""
    roles = [ADJECTIVE.get(word) or NOUN[word] for word in words]
    return any((gender, case) in set.intersection(*roles) for gender in "mfn")


def test_every_phrase_agrees() -> None:
    for scene in every_scene():
        for query in queries(scene):
            words = query.split(" ")
            assert all(w in ADJECTIVE or w in NOUN or w in OTHER for w in words), query
            case = GOVERNS.get(words[0], "nominative")
            if "цвета" in words:  # «круг красного цвета»: the colour goes with «цвет», masculine
                place = words.index("цвета")
                assert ("m", "genitive") in ADJECTIVE[words[place - 1]], query
                assert agree([w for w in words[: place - 1] if w in ADJECTIVE or w in NOUN], case)
                continue
            core = [word for word in words if word in ADJECTIVE or word in NOUN]
            assert sum(word in NOUN for word in core) == 1, query
            assert agree(core, case), query


def test_the_agreement_test_sees_mistakes() -> None:
    assert agree(["большая", "красная", "звезда"], "nominative")
    assert not agree(["красный", "звезда"], "nominative")
    assert not agree(["красная", "сердце"], "nominative")
    assert not agree(["красной", "звезду"], "accusative")
    assert not agree(["красная", "звезда"], "genitive")


def test_some_phrases_to_the_letter() -> None:
    star = queries(Scene("star", "blue", "small", (-1, -1), dark=True))
    assert star == [
        "синяя звезда",
        "маленькая синяя звезда",
        "маленькая синяя звезда слева вверху",
        "слева вверху маленькая синяя звезда",
        "синяя звезда в левом верхнем углу",
        "в левом верхнем углу синяя звезда",
        "синяя звезда на тёмном фоне",
        "звезда синего цвета",
        "звезда синего цвета слева вверху",
        "звезда синяя слева вверху",
        "картинка с синей звездой",
        "картинка со звездой синего цвета",
        "рисунок маленькой синей звезды",
        "изображение синей звезды на тёмном фоне",
        "нарисовать синюю звезду",
        "нарисуй маленькую синюю звезду слева вверху",
    ]
    ring = queries(Scene("ring", "light_blue", "medium", (0, 1), dark=False))
    assert ring[1] == "голубое кольцо среднего размера"
    assert ring[12] == "рисунок голубого кольца среднего размера"
    assert class_name("square", "yellow") == "жёлтый квадрат"


def test_with() -> None:
    assert with_("звездой") == "со звездой"
    assert with_("стрелкой") == "со стрелкой"
    assert with_("сердцем") == "с сердцем"
    assert with_("шестиугольником") == "с шестиугольником"
    assert with_("красным кругом") == "с красным кругом"


def test_queries_of_a_scene_differ() -> None:
    assert all(len(set(queries(scene))) == len(queries(scene)) for scene in every_scene())


def test_tables_match() -> None:
    assert len(russian.SHAPES) >= 8
    assert len(russian.COLOURS) >= 8
    assert drawing.COLOURS.keys() == russian.COLOURS.keys()
    assert drawing._OUTLINES.keys() == russian.SHAPES.keys()
    assert russian.COLOURS.keys() > drawing.ON_LIGHT_ONLY


@given(seed=st.integers(0, 10**9), share=st.floats(0.1, 0.5))
@settings(max_examples=50, deadline=None)
def test_pairs_of_train_and_test(seed: int, share: float) -> None:
    shown, held = split_pairs(seed, share)
    assert not set(shown) & set(held)
    assert len(shown) + len(held) == len(russian.SHAPES) * len(russian.COLOURS)
    assert abs(len(held) / 120 - share) <= 0.06
    for pairs in (shown, held):  # every word is known from training, and every word is asked for
        assert {shape for shape, _ in pairs} == set(russian.SHAPES)
    assert {colour for _, colour in shown} == set(russian.COLOURS)


def test_no_word_of_the_test_names_a_pair_of_training() -> None:
    train, test = (Shapes(ShapesSettings(split=split)) for split in ("train", "test"))
    assert not set(train.classes) & set(test.classes)
    assert not set(train.texts()) & set(test.texts())
    assert len(set(test.classes)) == len(test.classes) == 24


def test_seen_is_new_pictures_of_the_pairs_of_training() -> None:
    train, seen = (Shapes(ShapesSettings(split=split)) for split in ("train", "seen"))
    assert train.classes == seen.classes
    assert (train.name, seen.name) == ("shapes", "shapes_seen")
    assert not np.array_equal(train.image(5), seen.image(5))


def test_rows() -> None:
    data = Shapes(ShapesSettings(count=200, queries=8))
    assert len(data) == 200
    for index in range(len(data)):
        row, scene = data.record(index), data.scene(index)
        assert row.label is not None
        assert data.classes[row.label] == row.queries[0] == scene.coloured()
        assert len(set(row.queries)) == 8
    assert len({data.record(i).id for i in range(200)}) == 200
    assert {data.record(i).label for i in range(96)} == set(range(96))
    for outside in (-1, 200):
        for method in (data.record, data.image, data.scene):
            with pytest.raises(IndexError):
                method(outside)


def look(data: Shapes, index: int) -> tuple[object, bytes]:
    return data.record(index), data.image(index).tobytes()


def test_a_pure_function_of_seed_split_and_index() -> None:
    one, other = Shapes(ShapesSettings()), Shapes(ShapesSettings(count=7))
    order = [5, 0, 3, 5]
    first = [look(one, i) for i in order]
    assert first == [look(other, i) for i in order]
    assert first[0] == first[3]
    assert first != [look(Shapes(ShapesSettings(seed=1)), i) for i in order]
    again = pickle.loads(pickle.dumps(one))
    assert first == [look(again, i) for i in order]
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        assert list(pool.map(look, [one] * 4, order)) == first


def test_the_size_changes_no_word() -> None:
    small, large = Shapes(ShapesSettings(size=16)), Shapes(ShapesSettings(size=200))
    assert [small.record(i) for i in range(20)] == [large.record(i) for i in range(20)]
    assert small.image(0).size == (16, 16)
    assert large.image(0).size == (200, 200)


def ink(image: Image.Image, colour: tuple[int, int, int]) -> np.ndarray:
    """Where a picture has about this colour."""
    distance = np.abs(np.asarray(image, int) - np.asarray(colour)).max(axis=2)
    return distance < 36


def test_the_pictures_show_what_the_words_say() -> None:
    """Colour, size and place, measured from the pixels."""
    data = Shapes(ShapesSettings(count=960, size=96))
    radii: dict[str, list[float]] = {size: [] for size in drawing.RADIUS}
    for index in range(0, 960, 5):
        scene = data.scene(index)
        rows, columns = np.nonzero(ink(data.image(index), drawing.COLOURS[scene.colour]))
        assert len(rows) > 30, scene
        centre = (columns.min() + columns.max()) / 2 / 95, (rows.min() + rows.max()) / 2 / 95
        for place, wanted in zip(centre, scene.place, strict=True):
            reach = 0.5 - drawing.RADIUS[scene.size] - 0.06
            assert abs(place - (0.5 + wanted * reach)) < 0.09, (scene, centre)
        radii[scene.size].append(max(np.ptp(columns), np.ptp(rows)) / 2 / 95)
    small, medium, large = (radii[size] for size in ("small", "medium", "large"))
    assert max(small) < min(medium)
    assert max(medium) < min(large)


def test_shapes_differ_from_each_other() -> None:
    """Each outline covers other pixels than every other: no two shapes look alike."""
    import random

    masks = {
        shape: np.asarray(
            drawing._mask(Scene(shape, "red", "large", (0, 0), False), 64, random.Random(0))
        )
        > 127
        for shape in russian.SHAPES
    }
    for (_, one), (_, other) in itertools.combinations(masks.items(), 2):
        assert (one & other).sum() / (one | other).sum() < 0.88


def test_edges_are_smooth() -> None:
    data = Shapes(ShapesSettings(size=128))
    mask = drawing._mask(data.scene(0), 128, __import__("random").Random(0))
    levels = set(np.unique(np.asarray(mask)))
    assert {0, 255} < levels
    assert len(levels) > 10


@pytest.mark.parametrize(
    "wrong",
    [{"split": "val"}, {"count": 0}, {"size": 8}, {"held_out": 0.9}, {"queries": 9}, {"sizes": 3}],
)
def test_bad_settings(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ShapesSettings.model_validate(wrong)
