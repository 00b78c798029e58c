"""The resolved config: every default filled in, and equal when it is loaded again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.core.config import EngineConfig, dump_config, load_config
from engine.core.registry import Registry

Load = Callable[..., EngineConfig]

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    ["1e-4", "1E5", ".5", "no", "on", "0o17", "0x1f", "017", "1_000", "2024-01-01", "1:30", "~", "",
     "null", "true", "<<", "=", "- a", "a: b", "# a", "!x", "&a", "*a", ".inf", ".NaN", "+1", "5."]
)  # fmt: skip


def test_every_default_is_filled_in(load: Load) -> None:
    plain = yaml.safe_load(dump_config(load()))
    assert plain["model"]["text"] == {
        "use": "words", "weights": {"from": "scratch", "otherwise": None},
        "tokenizer": {"use": "spaces", "from": "scratch", "otherwise": None, "lower": True,
                      "rate": 0.5},
        "vocab_size": 100, "max_tokens": 15, "width": 6, "heads": 2, "pooling": "mean",
    }  # fmt: skip
    nested = plain["model"]["projection"]["text"]
    assert nested["of"]["of"] == {"use": "plain", "bias": False}
    assert plain["data"] == {
        "train": {"use": "pictures", "path": "here", "count": "all", "notes": {}}, "evaluate": [],
        "prepared": None,
    }  # fmt: skip
    assert plain["storage"] == {"default": None, "rules": [], "keep": [], "keep_as": None}
    assert plain["limits"] == {"weights": None, "folder": None}


def test_the_order_is_the_schemas(load: Load) -> None:
    plain = yaml.safe_load(dump_config(load()))
    assert list(plain) == list(EngineConfig.model_fields)
    assert next(iter(plain["model"]["vision"])) == "use"


def test_extends_and_overrides_are_written_out(load: Load, config_text: str) -> None:
    load()
    Path("base.yaml").write_text(config_text, encoding="utf-8")
    config = load("limits.weights=1 GB", text="extends: base.yaml\nseed: 3\n")
    text = dump_config(config)
    assert "extends" not in text
    assert yaml.safe_load(text)["limits"] == {"weights": 10**9, "folder": None}
    assert load(text=text) == config


@given(
    template=TEXTS,
    notes=st.dictionaries(TEXTS, TEXTS, max_size=4),
    rate=st.floats(allow_nan=False),
    scale=st.floats(allow_nan=False, allow_infinity=False),
    path=TEXTS,
    count=st.integers(-(2**63) + 1, 2**63 - 1) | st.just("all"),
    lower=st.booleans(),
    of=st.sampled_from(["plain", {"use": "plain", "bias": True}, "nested"]),
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_is_dumped_loads_to_the_same(
    tmp_path: Path,
    registry: Registry,
    config_text: str,
    template: str,
    notes: dict[str, str],
    rate: float,
    scale: float,
    path: str,
    count: int | str,
    lower: bool,
    of: Any,
) -> None:
    plain = yaml.safe_load(config_text)
    plain["model"]["text"]["tokenizer"] = {"use": "spaces", "rate": rate, "lower": lower}
    plain["model"]["logit_scale"] = scale
    plain["model"]["projection"]["vision"] = {"use": "nested", "of": of}
    plain["data"]["train"] |= {"path": path, "count": count, "notes": notes}
    plain["zero_shot"] = {"templates": [template.replace("{}", "") + "{}"]}
    config = EngineConfig.model_validate(plain, context={"registry": registry})
    text = dump_config(config)
    assert text == dump_config(config)
    file = tmp_path / "a.yaml"
    file.write_text(text, encoding="utf-8")
    again = load_config(file, registry=registry)
    assert again == config
    assert dump_config(again) == text
