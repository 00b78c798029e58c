"""Settings as rows for a person."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field
from pydantic.errors import PydanticUserError

from engine.contracts.refs import ProjectionRef
from engine.contracts.settings import Settings
from engine.contracts.values import Bytes
from engine.core.config.settings_table import settings_table


class Inner(Settings):
    """What is inside."""

    depth: Annotated[int, Field(ge=1, lt=9)] = 2
    must: str = "yes"


class Everything(Settings):
    """All types."""

    count: int = Field(ge=1, description="how\n  many")
    rate: float | None = Field(None, gt=0)
    mode: Literal["a", "b"] = "a"
    pair: tuple[float, int] = (1.0, 2)
    names: tuple[str, ...] = ()
    folder: Path = Path("x")
    size: Bytes = 5
    from_: str = Field("here", alias="from")
    of: ProjectionRef | None = None
    inner: Inner = Inner(depth=5)
    asked: Inner = Field(description="must be given")


def test_rows() -> None:
    rows = {row.name: row for row in settings_table(Everything)}
    assert {name: row.type for name, row in rows.items()} == {
        "count": "whole number ≥ 1",
        "rate": "number > 0 or null",
        "mode": "`a` or `b`",
        "pair": "[number, whole number]",
        "names": "list of text",
        "folder": "path",
        "size": "whole number ≥ 0 or text",
        "from": "text",
        "of": "projection or null",
        "inner.depth": "whole number ≥ 1, < 9",
        "inner.must": "text",
        "asked.depth": "whole number ≥ 1, < 9",
        "asked.must": "text",
    }
    assert [row.name for row in rows.values() if row.required] == ["count"]
    assert rows["count"].description == "how many"
    assert rows["inner.depth"].default == 5  # the whole's default goes before the part's own
    assert rows["asked.depth"].default == 2
    assert rows["from"].default == "here"
    assert rows["pair"].to_json()["default"] == [1.0, 2]


def test_a_plugin_without_settings() -> None:
    assert settings_table(Settings) == []


def test_types_without_a_schema_are_reported() -> None:
    class Odd(Settings):
        model_config = {"arbitrary_types_allowed": True}
        slot: slice = slice(1)

    with pytest.raises(PydanticUserError, match="slice"):
        settings_table(Odd)
