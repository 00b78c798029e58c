"""Mistakes: the place, the path, what was expected, the nearest right name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.core.config.diagnostics import SHOWN, Diagnostic, Place, config_error

ErrorOf = Callable[..., str]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("embed_dim", "embed_dmi",
         "a.yaml:4:3: model.embed_dmi: unknown key (did you mean `embed_dim`?)"),
        ("side: 4", "side: 4, wdith: 3",
         "a.yaml:5:34: model.vision.wdith: unknown key of vision_tower `square`"
         " (known: `use`, `weights`, `side`)"),
        ("  embed_dim: 8\n", "",
         "a.yaml:4:3: model.embed_dim: missing: width of the joint space"),
        ("use: square, side: 4", "use: square",
         "a.yaml:5:11: model.vision.side: missing: side of the square"),
        ("    vision: {use: plain}\n", "",
         "a.yaml:11:5: model.projection.vision: missing: `{use: NAME, ...}` names a projection"
         " (`engine plugins projection`)"),
        ("use: words", "use: wrods",
         "a.yaml:7:10: model.text.use: unknown text_encoder `wrods` (did you mean `words`?)"),
        ("use: words", "use: plain",
         "a.yaml:7:10: model.text.use: unknown text_encoder `plain`"
         " (there is a projection of that name)"),
        ("use: words", "use: 3",
         "a.yaml:7:10: model.text.use: expected the name of a text_encoder"),
        ("use: square, side: 4", "side: 4",
         "a.yaml:5:11: model.vision: `use:` is missing: it names the vision_tower"
         " (`engine plugins vision_tower` lists them)"),
        ("{use: square, side: 4}", "[1]",
         "a.yaml:5:11: model.vision: expected a mapping `{use: NAME, ...}` that names a"
         " vision_tower, got a list"),
        ("width: 6", "width: six",
         "a.yaml:8:12: model.text.width: expected a whole number, got `six`"),
        ("width: 6", "width: 0", "a.yaml:8:12: model.text.width: expected at least 1, got 0"),
        ("width: 6", "width: 7", "a.yaml:7:5: model.text: width 7 is not a multiple of heads 2"),
        ("width: 6", "pooling: men",
         "a.yaml:8:14: model.text.pooling: expected `first` or `mean`, got `men`"
         " (did you mean `mean`?)"),
        ("{use: spaces}", "{use: spaces, rate: {}}",
         "a.yaml:9:36: model.text.tokenizer.rate: expected a number, got a mapping"),
        ("{use: spaces}", "{use: spaces, from: nowhere}",
         "a.yaml:9:36: model.text.tokenizer.from: expected `hf:<repository>`,"
         " `open_clip:<arch>/<tag>`, `file:<path>`, `artifact:<folder>`,"
         " `package:<distribution>/<path>` or `scratch`"),
        ("of: {use: plain}", "of: {use: plain, bias: maybe}",
         "a.yaml:12:66: model.projection.text.of.of.bias: expected true or false, got `maybe`"),
        ("path: here", "path: [here]",
         "a.yaml:14:32: data.train.path: expected a path, got a list"),
        ("path: here", "path: x, count: some",
         "a.yaml:14:42: data.train.count: expected a whole number or `all`, got `some`"),
        ("path: here", "path: x, notes: {a: 1}",
         "a.yaml:14:46: data.train.notes.a: expected a text, got 1 (put it in quotes)"),
        ("name: mine", "name: 5", "a.yaml:2:7: name: expected a text, got 5 (put it in quotes)"),
        ("name: mine", "name: ../x",
         "a.yaml:2:7: name: expected a text that matches ^[A-Za-z0-9][A-Za-z0-9._-]*$, got `../x`"),
        ("engine: 1", "engine: 2", "a.yaml:1:9: engine: expected 1, got 2"),
        ("name: mine", "name: mine\nlimits: {weights: 1 GBit}",
         "a.yaml:3:19: limits.weights: expected a size such as `300MB`, `1 GB` (10^9) or `1GiB`"
         " (2^30)"),
        ("name: mine", "name: mine\nzero_shot: {templates: []}",
         "a.yaml:3:24: zero_shot.templates: expected at least 1 item(s), got 0"),
        ("vision: {use: plain}", "vision: {use: gone}",
         "a.yaml:11:19: model.projection.vision.use: projection `gone`: cannot import"
         " engine_test_plugins:NotThereSettings: AttributeError: module 'engine_test_plugins' has"
         " no attribute 'NotThereSettings'"),
        ("vision: {use: plain}", "vision: faulty",
         "a.yaml:11:13: model.projection.vision: projection `faulty` failed on these settings, a"
         " fault of its own: KeyError: 'nothing'"),
    ],
)  # fmt: skip
def test_one_mistake(error_of: ErrorOf, old: str, new: str, said: str) -> None:
    assert error_of(old, new) == said


def test_a_default_that_does_not_validate_is_reported_at_its_plugin(error_of: ErrorOf) -> None:
    assert error_of("vision: {use: plain}", "vision: {use: orphan}") == (
        "a.yaml:11:13: model.projection.vision.of: unknown projection `nobody`"
        " (installed: faulty, gone, nested, orphan, plain)"
    )


def test_all_at_once_in_the_order_of_the_file(error_of: ErrorOf, config_text: str) -> None:
    text = (
        config_text.replace("embed_dim: 8", "embed_dim: x\n  seed: 3")
        .replace("use: spaces", "use: space")
        .replace("path: here", "path: here, count: -")
        .replace("name: mine", "name: mine\nname: twice\nlimits: !x {weights: 5}")
    )
    lines = error_of(text=text).splitlines()
    assert lines[0] == "6 diagnostics"
    assert [line.split(": ")[0].strip() for line in lines[1:]] == [
        "a.yaml:3:1", "a.yaml:4:9", "a.yaml:6:14", "a.yaml:7:3", "a.yaml:12:22", "a.yaml:17:45",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ("train: {stages: [{name: a, epochs: 1, batch_size: x}]}", "train.stages.0.batch_size"),
        ("train: {stages: [{name: a, epochs: 1, bath: 3}]}", "train.stages.0.bath"),
        ("train: {stages: [{}, {name: a, epochs: 1}]}", "train.stages.0"),
        ("train: {stages: [5]}", "train.stages.0"),
        ("zero_shot: {templates: [5]}", "zero_shot.templates.0"),
        (
            "train: {stages: [{name: a, epochs: 1, losses: [{use: nothing}]}]}",
            "train.stages.0.losses.0.use",
        ),
    ],
)
def test_a_mistake_in_the_only_item_is_not_a_missing_item(
    error_of: ErrorOf, section: str, path: str
) -> None:
    said = error_of("name: mine", f"name: mine\n{section}")
    assert path in said
    assert "item(s)" not in said


@pytest.mark.parametrize(
    "section", ["train: {stages: []}", "zero_shot: {templates: []}",
                "train: {stages: [{name: a, epochs: 1, losses: []}]}"]
)  # fmt: skip
def test_an_empty_list_is_still_too_short(error_of: ErrorOf, section: str) -> None:
    assert "at least 1 item(s), got 0" in error_of("name: mine", f"name: mine\n{section}")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("embed_dim: 8", "embed_dim: 9e39"),
        ("embed_dim: 8", f"embed_dim: {10**30}"),
        ("embed_dim: 8", "embed_dim: 200000"),
        ("name: mine", f"name: mine\nseed: {10**29}"),
        ("name: mine", "name: mine\nseed: 4294967296"),
        ("name: mine", f"name: mine\nseed: '{10**29}'"),
        ("width: 6", f"width: {2**64}"),
        ("width: 6", f"heads: {10**25}"),
        ("use: words", "use: words\n    vocab_size: 1000000000000000000000"),
        ("path: here", f"path: here, count: {2**63}"),
        ("name: mine", f"name: mine\nlimits: {{weights: {10**22}}}"),
        ("name: mine", f"name: mine\nlimits: {{weights: {10**12} TB}}"),
        ("name: mine", f"name: mine\ntrain: {{stages: [{{name: a, epochs: {10**20}}}]}}"),
        ("name: mine", "name: mine\ntrain: {threads: 99999, stages: [{name: a, epochs: 1}]}"),
    ],
)
def test_numbers_that_no_real_model_has(error_of: ErrorOf, old: str, new: str) -> None:
    said = error_of(old, new)
    assert len(said.splitlines()) == 1 or "diagnostics" in said.splitlines()[0]
    assert "expected" in said
    assert all(len(line) < 200 for line in said.splitlines())


def test_nothing_follows_from_what_was_reported_already(error_of: ErrorOf) -> None:
    assert (
        error_of("vision: {use: square, side: 4}", "vision: !x {use: square}").count("a.yaml") == 1
    )


def test_a_screen_holds_them(error_of: ErrorOf) -> None:
    text = "engine: 1\n" + "".join(f"key{i}: 1\n" for i in range(40))
    lines = error_of(text=text).splitlines()
    assert lines[0] == "42 diagnostics"
    assert len(lines) == SHOWN + 2
    assert lines[-1] == f"  and {42 - SHOWN} more"


def test_a_config_writes_nothing_to_the_terminal_but_text(error_of: ErrorOf) -> None:
    said = error_of("name: mine", 'name: "\\e[31m\\n\\n' + "x" * 5000 + '"')
    assert said.isprintable()
    assert len(said) < 400
    said = error_of("name: mine", 'name: mine\n"\\e[31m\\u202e' + "k" * 900 + '": 3')
    assert said.isprintable()
    assert len(said) < 400


def test_files_first_overrides_last() -> None:
    diagnostics = [
        Diagnostic(Place("--set 1"), "a", "x"), Diagnostic(Place("b.yaml", 1, 1), "a", "x"),
        Diagnostic(Place("a.yaml", 10, 1), "a", "x"), Diagnostic(Place("a.yaml", 9, 1), "a", "x"),
        Diagnostic(Place("a.yaml", 9, 1), "a", "x"),
    ]  # fmt: skip
    assert str(config_error(diagnostics, ["a.yaml", "b.yaml"])).splitlines() == [
        "4 diagnostics", "  a.yaml:9:1: a: x", "  a.yaml:10:1: a: x", "  b.yaml:1:1: a: x",
        "  --set 1: a: x",
    ]  # fmt: skip
