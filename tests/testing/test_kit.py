"""The kit itself: what it quotes, what it guesses, what it says, how pytest shows it."""

from __future__ import annotations

import gc
import importlib
import inspect
import os
import subprocess
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest
from PIL import Image

import engine.testing
from engine.contracts import KINDS
from engine.contracts.hooks import Plugin
from engine.errors import PluginError
from engine.testing import CheckFailure, Report, RuleFailure, RuleOutcome, assert_plugin, checks
from engine.testing import check_plugin as check
from engine.testing.core import Rule
from engine.testing.small import NoSettings, Overlay, small_settings
from engine.testing.subject import HINTS_OF, Hints
from engine.testing.suites import rules_of

RIGHT = Plugin("text_encoder", "right", "wrong_towers:RightText", "kit_settings:TextSettings")
WRONG = Plugin("text_encoder", "wrong", "wrong_towers:LiesAboutItsWidth",
               "kit_settings:TextSettings")  # fmt: skip
LIGHT = {"skip": {"settings_without_torch": "takes a process"}}


def every_rule() -> Iterator[Any]:
    for kind in KINDS:
        for rule in rules_of(kind):
            yield pytest.param(kind, rule, id=f"{kind}-{rule.id}")


def home_of(path: str) -> object:
    """What a dotted name stands for: a module, a class, a method."""
    parts = path.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for name in parts[length:]:
            found = getattr(found, name)
        return found
    raise AssertionError(path)


def plain(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(("kind", "rule"), every_rule())
def test_every_promise_is_quoted_word_for_word(kind: str, rule: Rule) -> None:
    home = home_of(rule.contract)
    if isinstance(home, (type, FunctionType)):
        written = inspect.getdoc(home) or ""
    else:  # a module, or an attribute with a docstring below it
        module = home if isinstance(home, ModuleType) else home_of(rule.contract.rsplit(".", 2)[0])
        written = inspect.getsource(module)  # type: ignore[arg-type]
    assert plain(rule.says) in plain(written), f"{rule.contract} does not say so"
    assert rule.why.endswith(".")
    assert plain(rule.why) == rule.why


@pytest.mark.parametrize("kind", KINDS)
def test_the_rules_of_a_kind(kind: str) -> None:
    ids = [rule.id for rule in rules_of(kind)]
    assert len(ids) == len(set(ids))
    known = {rule.id for other in KINDS for rule in rules_of(other)}
    for rule in rules_of(kind):
        assert set(rule.needs) <= known, rule.id
    assert len(ids) > 8
    assert set(HINTS_OF) == set(KINDS)
    assert {hint for hints in HINTS_OF.values() for hint in hints} | {"skip"} == set(
        Hints.__annotations__
    )


def test_a_good_plugin_without_an_installation() -> None:
    report = assert_plugin("text_encoder", RIGHT, {"width": 16}, **LIGHT)
    assert report.ok
    assert not report.failures
    passed = len(rules_of("text_encoder")) - 1
    said = f"text_encoder `right` (wrong_towers:RightText): {passed} passed, 1 skipped"
    assert said in str(report)
    assert "settings_without_torch: takes a process" in str(report)


def test_a_bad_plugin_says_what_where_and_why() -> None:
    report = check("text_encoder", WRONG, {"width": 16}, **LIGHT)
    assert not report.ok
    (failure,) = report.failures
    assert failure.check == "width"
    assert failure.contract == "engine.contracts.tower.Tower"
    text = str(report)
    passed = len(rules_of("text_encoder")) - 3
    for words in (
        "text_encoder `wrong` (wrong_towers:LiesAboutItsWidth):"
        f" 1 failed, {passed} passed, 1 blocked, 1 skipped",
        "expected   features [B, 17], as tower.width says",
        "found      features are 16 wide",
        "why        The projection behind the tower",
        "contract   engine.contracts.tower.Tower",
        '"width: the width of the features,',
    ):
        assert words in text
    assert max(map(len, text.splitlines())) <= 110
    with pytest.raises(AssertionError, match="features are 16 wide"):
        assert_plugin("text_encoder", WRONG, {"width": 16}, **LIGHT)


def test_checks_are_called_one_by_one_in_any_order() -> None:
    found = {one.id: one for one in checks("text_encoder", WRONG, {"width": 16})}
    found["determinism"]()  # runs what it needs by itself
    with pytest.raises(CheckFailure, match="features are 16 wide") as error:
        found["width"]()
    assert error.value.failure.check == "width"
    assert isinstance(error.value, AssertionError)
    with pytest.raises(CheckFailure):
        found["width"]()  # and again


def test_what_cannot_be_checked_is_skipped_with_the_reason() -> None:
    broken = Plugin("text_encoder", "gone", "no_such_module:Class", "kit_settings:TextSettings")
    found = {one.id: one for one in checks("text_encoder", broken)}
    with pytest.raises(unittest.SkipTest, match="`registration` failed, mend that first"):
        found["batch_independence"]()
    with pytest.raises(CheckFailure, match="no_such_module"):
        found["registration"]()


def test_nothing_is_imported_while_tests_are_collected() -> None:
    assert len(checks("text_encoder", "there_is_none_of_that_name")) > 20
    report = check("text_encoder", "bag_of_token")
    assert report.failed == ["registration"]
    assert "did you mean `bag_of_tokens`?" in str(report)


def test_what_a_caller_can_do_wrong() -> None:
    with pytest.raises(PluginError, match="unknown kind `text_encodr`"):
        checks("text_encodr", "x")
    with pytest.raises(PluginError, match="is registered as a text_encoder, checked as a loss"):
        checks("loss", RIGHT)
    with pytest.raises(TypeError, match="a loss has no hint `texts`"):
        checks("loss", "contrastive", texts=["a"])
    with pytest.raises(TypeError, match="has no check `batch_indep`"):
        checks("loss", "contrastive", skip={"batch_indep": "because"})


def test_a_plugin_that_raises_anything_is_reported_with_its_own_line() -> None:
    report = check(
        "text_encoder", Plugin("text_encoder", "x", "wrong_towers:ReadsInItsConstructor",
                               "kit_settings:TextSettings"), **LIGHT,
    )  # fmt: skip
    (failure,) = report.failures
    assert "wrong_towers.py" in failure.found
    assert "in __init__: if float(self.table.weight.detach().abs().max()) > 100:" in plain(
        failure.found
    )


def test_small_settings_are_guessed() -> None:
    plugin = Overlay(None)

    def guess(kind: str, name: str, given: dict[str, Any] | None = None) -> Any:
        return small_settings(kind, plugin.get(kind, name).load_settings(), given, plugin)

    gpt = guess("text_encoder", "gpt3small")
    assert (gpt.width, gpt.layers, gpt.heads, gpt.vocab_size, gpt.n_positions) == (32, 2, 4, 61, 16)
    assert guess("text_encoder", "gpt3small", {"width": 48}).layers == 12  # the author's own
    assert guess("clusterer", "kmeans").count == 3
    assert guess("dataset", "shapes").count == 24
    with pytest.raises(NoSettings, match="path: Field required"):
        guess("dataset", "click_log")
    with pytest.raises(NoSettings, match="width 30 is not a multiple of heads 4"):
        guess("text_encoder", "gpt3small", {"width": 30, "heads": 4})


def test_settings_may_be_a_function_that_writes_the_files() -> None:
    """It is called once, for all checks, and its folder is gone with them."""
    folders: list[Path] = []

    def files(folder: Path) -> dict[str, object]:
        folders.append(folder)
        (folder / "img").mkdir()
        (folder / "classes.json").write_text('["чёрный", "белый"]', encoding="utf-8")
        for name, colour in (("a", 0), ("b", 255)):
            Image.new("RGB", (9, 8), (colour,) * 3).save(folder / "img" / f"{name}.png")
        return {"path": str(folder)}

    report = check("dataset", "zero_shot_folder", files, **LIGHT)
    assert report.ok, str(report)
    assert len(folders) == 1
    del report
    gc.collect()
    assert not folders[0].exists()


@pytest.mark.parametrize(("settings", "words"), [
    (lambda folder: (folder / "nothing" / "rows.csv").read_text(), "FileNotFoundError"),
    (lambda folder: str(folder), "not a mapping"),
])  # fmt: skip
def test_a_function_of_settings_that_fails_is_said(settings: Any, words: str) -> None:
    report = check("dataset", "zero_shot_folder", settings)
    assert report.failed == ["settings_valid"]
    assert words in str(report)


def test_random_numbers_of_the_caller_are_left_alone() -> None:
    import random

    import numpy as np
    import torch

    def draw() -> list[float]:
        return [float(torch.rand(())), random.random(), float(np.random.rand())]

    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    expected = draw()
    torch.manual_seed(5)
    random.seed(5)
    np.random.seed(5)
    threads = torch.get_num_threads()
    check("projection", "linear", **LIGHT)
    assert draw() == expected
    assert torch.get_num_threads() == threads


def test_a_report_in_words() -> None:
    failure = RuleFailure(
        "width", "a plugin", "a\nb", "word " * 60, "Because.", "engine.x", "It is so."
    )
    report = Report("a plugin", (
        RuleOutcome("one", "passed"), RuleOutcome("width", "failed", failure=failure),
        RuleOutcome("two", "blocked", "`width` failed, mend that first"),
    ))  # fmt: skip
    assert report.passed == ["one"]
    assert report.failed == ["width"]
    text = str(report)
    assert text.startswith("a plugin: 1 failed, 1 passed, 1 blocked\n\nwidth: a plugin\n")
    assert "  expected   a\n             b\n" in text
    assert "Not checked yet:\n  two: `width` failed, mend that first" in text
    assert all(len(line) <= 100 for line in text.splitlines())


def test_importing_the_kit_is_light() -> None:
    code = "import sys, engine.testing; assert 'torch' not in sys.modules; engine.testing.Report"
    subprocess.run([sys.executable, "-c", code], check=True)
    for name in engine.testing.__all__:
        assert getattr(engine.testing, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = engine.testing.nothing


TEST_FILE = """\
from engine.contracts.hooks import Plugin
from engine.testing import plugin_checks

THEIRS = Plugin("sampler", "theirs", "wrong_parts:{name}",
                "engine.contracts.training_settings:SamplerSettings")

@plugin_checks("sampler", THEIRS)
def test_contract(check):
    check()
"""


def test_pytest_shows_one_test_a_check(tmp_path: Path) -> None:
    def run(name: str) -> str:
        (tmp_path / "test_theirs.py").write_text(TEST_FILE.format(name=name), encoding="utf-8")
        path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "--rootdir", tmp_path,
             "-c", "/dev/null", tmp_path / "test_theirs.py", "-v"],
            capture_output=True, text=True, cwd=tmp_path,
            env={"PATH": "", "PYTHONPATH": path, "COLUMNS": "200"},
        )  # fmt: skip
        return done.stdout

    said = run("RightSampler")
    assert "test_contract[once_an_epoch] PASSED" in said
    assert "10 passed" in said
    said = run("RepeatsRows")
    assert "test_contract[once_an_epoch] FAILED" in said
    assert "every row at most once in an epoch" in said
    assert "1 failed, 9 passed" in said
    assert "core.py" not in said  # none of the kit's own frames
