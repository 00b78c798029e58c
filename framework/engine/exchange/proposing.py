"""Proposing: the config that is the same function as what another program describes."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from engine.contracts.proposal import Proposal
from engine.core.config import load_config
from engine.core.config.schema import EngineConfig
from engine.core.registry import Registry
from engine.core.sources import find_source
from engine.errors import ConfigError, WeightsError
from engine.exchange.foreign import VOCABULARIES, Foreign
from engine.printable import one_line

_KINDS = {"vision": "vision_tower", "text": "text_encoder"}
_CALLED = {"vision_tower": "vision tower", "text_encoder": "text encoder", "tokenizer": "tokenizer"}


def propose_config(
    name: str,
    vision: Foreign,
    text: Foreign,
    logits: Mapping[str, float],
    registry: Registry,
    overrides: Sequence[str] = (),
) -> EngineConfig:
    """The config of a model whose towers other programs describe.

    Args:
        name: of the model.
        vision: the source of the vision tower.
        text: the source of the text encoder and the tokenizer.
        logits: ``logit_scale`` and ``logit_bias``, as far as the sources have them.
        registry: the plugins, each of which is asked.
        overrides: ``key=value`` of the user, set in the result.

    Raises:
        WeightsError: a part is described by neither source, or no installed plugin computes it, or
            a setting cannot be represented; names it.
        ConfigError: an override is wrong.
    """
    found = {part: _tower(part, one, registry) for part, one in
             (("vision", vision), ("text", text))}  # fmt: skip
    widths = {part: proposal.embed_dim for part, (_, proposal) in found.items()}
    if len(set(widths.values())) > 1:
        raise WeightsError(
            f"the joint space of {vision.source} (images) is {widths['vision']} wide, that of"
            f" {text.source} (texts) {widths['text']}: they are not of one model",
            hint="name the model that the texts were trained with by `--vision`",
        )
    model: dict[str, Any] = {"embed_dim": widths["vision"]}
    for part, (use, proposal) in found.items():
        model[part] = {"use": use, **proposal.settings}
    model["text"]["tokenizer"] = _own_tokenizer(model["text"], text) or _tokenizer(text, registry)
    model["projection"] = {part: dict(proposal.projection) for part, (_, proposal) in found.items()}
    return _checked({"engine": 1, "name": name, "model": {**model, **logits}}, text, overrides)


def name_of(source: str) -> str:
    """A name for the model of a source: its own, with what a name cannot hold replaced."""
    scheme, _, rest = source.partition(":")
    own = rest if scheme == "open_clip" else rest.partition("@")[0].rstrip("/").rpartition("/")[2]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", own or Path.cwd().name).strip("-._")
    return name or "imported"


def _tower(part: str, foreign: Foreign, registry: Registry) -> tuple[str, Proposal]:
    """The plugin that computes a tower, by name, and its settings."""
    description = foreign.main.get(part)
    if description is None:
        raise WeightsError(
            f"{foreign.source} describes no {_CALLED[_KINDS[part]]}",
            hint=f"name a source that has one with `--{part}`",
        )
    kind, aside = _KINDS[part], [*foreign.aside.get(part, ())]
    if part == "text":
        aside += foreign.vocabulary()
    found: dict[str, Proposal] = {}
    for name in registry.names(kind):
        try:
            settings: Any = registry.get(kind, name).load_settings()
            proposal = settings.propose(description, aside)
        except ValueError as error:
            raise WeightsError(
                f"{description.place}: {one_line(str(error))}",
                hint="a setting that Engine has no form of cannot be imported",
            ) from error
        if proposal is not None:
            found[name] = proposal
    what = f"a `{one_line(str(description.kind))}` of {description.program}"
    return _only(found, kind, f"{description.place} describes {what}")


def _only(found: Mapping[str, Any], kind: str, what: str) -> tuple[str, Any]:
    if len(found) == 1:
        return next(iter(found.items()))
    called = _CALLED[kind]
    if found:
        raise WeightsError(
            f"{what}, which more than one {called} computes: {', '.join(found)}",
            hint="choose one: write the config, and import with `--config`",
        )
    raise WeightsError(
        f"{what}, which no installed {called} computes",
        hint=f"`engine plugins {kind}` lists what is installed; a plugin can be added",
    )


def _own_tokenizer(settings: Mapping[str, Any], text: Foreign) -> dict[str, Any] | None:
    """The tokenizer that the text encoder's own proposal names; its files are the source's."""
    named = settings.get("tokenizer")
    if not isinstance(named, Mapping):
        return None
    source = {} if text.tokenizer is None else {"from": text.tokenizer}
    return {**source, **named}


def _tokenizer(foreign: Foreign, registry: Registry) -> dict[str, Any]:
    """The tokenizer that gives the ids of the source's own.

    Raises:
        UnreachableError: it lies on the hub, which cannot be reached from here.
        WeightsError: it is missing, or no installed plugin, or more than one, gives its ids.
    """
    beside = foreign.vocabulary()
    named = foreign.tokenizer is not None  # else open_clip's own description may say enough
    if not beside or (named and len(beside) == len(foreign.own_vocabulary())):
        _refuse_without_files(foreign)
    found: dict[str, Mapping[str, Any]] = {}
    for name in registry.names("tokenizer"):
        try:
            plugin: Any = registry.get("tokenizer", name).load_settings()
            settings = plugin.propose(beside)
        except ValueError as error:
            raise WeightsError(
                f"the tokenizer of {foreign.source}: {one_line(str(error))}",
                hint="a setting that Engine has no form of cannot be imported",
            ) from error
        if settings is not None:
            found[name] = settings
    where = foreign.tokenizer or foreign.source
    kinds = sorted({f"`{one_line(one.kind)}`" for one in beside if one.kind})
    which = f" ({', '.join(kinds)})" if kinds else ""
    name, settings = _only(found, "tokenizer", f"{where} has the texts' tokenizer{which}")
    source = {} if foreign.tokenizer is None else {"from": foreign.tokenizer}
    return {"use": name, **source, **settings}


def _refuse_without_files(foreign: Foreign) -> None:
    """Say of a source without a file of its tokenizer what is missing, or cannot be reached."""
    wanted = ("tokenizer.json", *VOCABULARIES)
    if foreign.tokenizer is not None:
        find_source(foreign.tokenizer, wanted)
        return
    raise WeightsError(
        f"{foreign.source} has no tokenizer: none of {', '.join(wanted)} is there",
        hint="copy the model's own tokenizer beside its weights",
    )


def _checked(data: dict[str, Any], text: Foreign, overrides: Sequence[str]) -> EngineConfig:
    """The config by the usual way, so that overrides and messages are the usual ones."""
    with tempfile.TemporaryDirectory(prefix="engine-import-") as folder:
        path = Path(folder) / f"{data['name']}.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")
        try:
            return load_config(path, overrides)
        except ConfigError as error:
            where = f"the config that follows from {text.source}"
            raise ConfigError(error.message.replace(str(path), where), hint=error.hint) from error
