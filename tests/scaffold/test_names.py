"""Names of a new package: what follows from the author's, and what is refused."""

from __future__ import annotations

import keyword

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.contracts import KINDS
from engine.core.registry import Registry, default_registry
from engine.errors import PluginError
from engine.scaffold import Names


def test_all_names_follow_from_one() -> None:
    names = Names.of("engine-my-encoder", "text_encoder")
    assert (names.distribution, names.module) == ("engine-my-encoder", "engine_my_encoder")
    assert (names.plugin, names.class_name) == ("my_encoder", "MyEncoder")
    other = Names.of("flags2-of-countries", "dataset")
    assert (other.module, other.plugin) == ("flags2_of_countries", "flags2_of_countries")
    assert other.class_name == "Flags2OfCountries"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Engine My Encoder", "did you mean `engine-my-encoder`?"),
        ("engine_my_encoder", "did you mean `engine-my-encoder`?"),
        ("engine--my", "did you mean `engine-my`?"),
        ("../engine-my", "did you mean `engine-my`?"),
        ("кодировщик", "`кодировщик` is not a name for a package"),
        ("", "`` is not a name for a package"),
        ("engine-", "did you mean `engine`?"),
        ("engine-x\n", "is not a name for a package"),
        ('engine-x"', "is not a name for a package"),
        ("e" * 41, "at most 40"),
        ("engine-class", "`class`, which Python does not allow"),
        ("engine-3d", "`3d`, which Python does not allow"),
        ("engine-none", "`None`, which Python does not allow"),
        ("import", "`import`, which Python does not allow"),
    ],
)
def test_a_bad_name(name: str, words: str) -> None:
    with pytest.raises(PluginError) as error:
        Names.of(name, "loss")
    assert words in str(error.value)
    assert error.value.hint


def test_a_bad_kind() -> None:
    with pytest.raises(PluginError, match=r"did you mean `text_encoder`\?") as error:
        Names.of("engine-my-encoder", "text-encoder")
    assert all(kind in str(error.value) for kind in KINDS)


@given(st.text(max_size=50), st.sampled_from(sorted(KINDS)))
def test_any_text_is_refused_or_gives_good_names(name: str, kind: str) -> None:
    try:
        names = Names.of(name, kind)
    except PluginError:
        return
    for word in (names.module, names.plugin, names.class_name):
        assert word.isidentifier()
        assert not keyword.iskeyword(word)


@given(st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,8}){0,3}", fullmatch=True))
def test_only_keywords_and_digits_stand_in_the_way_of_a_plain_name(name: str) -> None:
    own = name.removeprefix("engine-")
    taken = keyword.iskeyword(own) or keyword.iskeyword(own.capitalize()) or own[0].isdigit()
    if taken or len(name) > 40:
        with pytest.raises(PluginError):
            Names.of(name, "dataset")
    else:
        assert Names.of(name, "dataset").distribution == name


def test_a_name_that_is_taken() -> None:
    with pytest.raises(PluginError, match="there is a loss `contrastive` already, from engine-tow"):
        Names.of("engine-contrastive", "loss").check_free(default_registry())
    Names.of("engine-contrastive", "sampler").check_free(default_registry())
    for module in ("torch", "engine", "json"):
        with pytest.raises(PluginError, match=f"a Python module `{module}` is installed already"):
            Names.of(module, "loss").check_free(Registry([]))
