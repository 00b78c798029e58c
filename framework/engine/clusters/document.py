"""``clusters.json``: what was fitted and how, as a document whose every value has its bounds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

MAX_WIDTH = 1 << 20
"""Numbers of an embedder's vector, at most; those of large language models have some 8,000."""

_Count = Annotated[int, Field(ge=0, lt=1 << 53)]


def _use_mapping(mapping: dict[str, Any]) -> dict[str, Any]:
    """The mapping of a config that names a plugin."""
    if not isinstance(mapping.get("use"), str):
        raise ValueError("expected a mapping with `use`, the name of a plugin")
    return mapping


_UseMapping = Annotated[dict[str, Any], AfterValidator(_use_mapping)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class EmbedderOrigin(_Strict):
    """Which embedder made the vectors.

    Attributes:
        used: the mapping of a config.
        asked: the one that could not be reached, where ``used`` stands in for it.
        reason: why it could not.
    """

    used: _UseMapping
    asked: _UseMapping | None = None
    reason: str = ""


class Cluster(_Strict):
    """One cluster.

    Attributes:
        name: for people: its most telling terms.
        terms: those, and more.
        typical: n-grams nearest to its middle.
        size: how many different n-grams it has.
        occurrences: how often they occur.
    """

    name: str
    terms: list[str]
    typical: list[str]
    size: Annotated[_Count, Field(ge=1)]
    occurrences: _Count


class Document(_Strict):
    """What ``clusters.json`` holds; numbers of the fit as in the config and in ``NGrams``.

    Attributes:
        unknown: n-grams that the embedder knows nothing of, which were left out.
        unnamed: clusters so small that the classifier puts all their own n-grams into others.
        scores: of each number of clusters that was tried.
    """

    format: Literal[1] = 1
    ngram: Annotated[_Count, Field(ge=1)]
    most_frequent: Annotated[_Count, Field(ge=1)]
    held_out: float = Field(ge=0, lt=1)
    embedder: EmbedderOrigin
    clusterer: _UseMapping
    width: int = Field(ge=1, le=MAX_WIDTH)
    read: _Count
    distinct: _Count
    missed: _Count
    unknown: _Count
    unnamed: list[_Count]
    scores: dict[Annotated[str, Field(pattern=r"\A[0-9]{1,9}\z")], float]
    clusters: list[Cluster] = Field(min_length=1)
    texts: list[str]
