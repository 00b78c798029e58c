"""Importing by one name: a source's own description becomes the config, its tensors the weights.

Everything that the source says of itself is held against the model that was made of it: what is
not the same function is refused, and the message names the setting.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from engine.contracts.checkpoint_adapter import CheckpointAdapter
from engine.contracts.description import Difference
from engine.contracts.tokenizer import Tokenizer
from engine.core.build import Built, Origin, make_tokenizer
from engine.core.descriptions import (
    PICTURES,
    TOKENIZER,
    check,
    differences,
    picture_differences,
    text_end,
    tokenizer_differences,
)
from engine.core.making import make_model
from engine.core.model import DualEncoder
from engine.core.progress import Progress, silent
from engine.core.registry import Registry, default_registry
from engine.core.size import config_size
from engine.exchange.foreign import TOWERS, Foreign, find_foreign
from engine.exchange.importing import LOGITS, Fitted, fill_model, find_adapter, finish, rename
from engine.exchange.proposing import name_of, propose_config


@dataclass(frozen=True)
class _Piece:
    """One source of a model: what it gives, its tensors under Engine's names."""

    foreign: Foreign
    adapter: str
    layout: CheckpointAdapter
    tensors: Mapping[str, Tensor]
    towers: Sequence[str]


def import_source(
    source: str,
    *,
    vision: str | None = None,
    text: str | None = None,
    overrides: Sequence[str] = (),
    registry: Registry | None = None,
    progress: Progress = silent,
) -> Built:
    """Build a model from a source of another program alone.

    Args:
        source: ``open_clip:<arch>/<tag>``, ``hf:<owner>/<name>`` or ``file:<folder>``.
        vision: another source for the vision tower, where ``source`` has none or is not to give it.
        text: another source for the text encoder and its tokenizer.
        overrides: ``key=value``, set in the config that follows from the sources.
        registry: where plugins are looked up.
        progress: receives lines of progress.

    Raises:
        UnreachableError: a source is not there, or cannot be reached from here.
        WeightsError: a source does not describe a model that installed plugins compute exactly.
        LimitError: it would be over a limit that the overrides set.
    """
    registry = registry or default_registry()
    named = {"vision": vision or source, "text": text or source}
    foreign = {name: find_foreign(name) for name in dict.fromkeys([*named.values(), source])}
    # Before the weights, which may be gigabytes, everything that can be refused without them.
    config = propose_config(
        name_of(source), foreign[named["vision"]], foreign[named["text"]], {}, registry, overrides
    )
    config_size(config).check()
    tokenizer = make_tokenizer(config)
    pieces = []
    for name in dict.fromkeys(named.values()):
        progress(f"reading {name}")
        towers = [tower for tower in TOWERS if named[tower] == name]
        pieces.append(_read(foreign[name], towers, registry, progress))
    logits = _logits(pieces, source)
    config = propose_config(
        name_of(source), foreign[named["vision"]], foreign[named["text"]],
        {name: float(value) for name, value in logits.items()}, registry, overrides,
    )  # fmt: skip
    model = make_model(config)
    tensors: dict[str, Tensor] = dict(logits)
    for piece in pieces:
        tensors |= _own(finish(piece.layout, piece.tensors, model, piece.foreign.source), piece)
    where = " and ".join(piece.foreign.source for piece in pieces)
    warnings = _hold(model, foreign[named["vision"]], foreign[named["text"]], tokenizer)
    notes = _without_scale(tensors, model, where)
    origins: dict[str, Origin] = {}
    for piece in pieces:
        for tower in piece.towers:
            origin = Origin(f"{piece.foreign.source} (layout {piece.adapter})", "loaded")
            own = (*warnings.get(f"model.{tower}", []), *(notes if tower == "text" else []))
            origins |= {tower: replace(origin, warnings=own), f"{tower}_projection": origin}
    fitted = Fitted(tensors, origins, warnings.get(TOKENIZER, []))
    return fill_model(config, model, tokenizer, fitted, where)


def _read(
    foreign: Foreign, towers: Sequence[str], registry: Registry, progress: Progress
) -> _Piece:
    tensors = foreign.read()
    name, layout = find_adapter(tensors, None, registry, foreign.source)
    renamed = rename(tensors, layout, foreign.source)
    progress(f"layout {name}: {len(renamed)} tensors")
    return _Piece(foreign, name, layout, renamed, towers)


def _logits(pieces: Iterable[_Piece], source: str) -> dict[str, Tensor]:
    """The scale and the bias: the main source's own, else another's."""
    found: dict[str, Tensor] = {}
    for piece in sorted(pieces, key=lambda piece: piece.foreign.source != source):
        own = {name: piece.tensors[name] for name in LOGITS if name in piece.tensors}
        found = found or {name: tensor.reshape(()) for name, tensor in own.items()
                          if tensor.numel() == 1}  # fmt: skip
    return found


def _own(tensors: Mapping[str, Tensor], piece: _Piece) -> dict[str, Tensor]:
    """What a source gives of a model: its towers, of the scale and the bias nothing.

    Of a source that gives both towers, names that are none of Engine's stay, to be reported.
    """
    begins = tuple(f"{tower}{what}" for tower in piece.towers for what in (".", "_projection."))
    whole = len(piece.towers) == len(TOWERS)
    return {
        name: tensor
        for name, tensor in tensors.items()
        if name not in LOGITS and (whole or name.startswith(begins))
    }


def _without_scale(tensors: dict[str, Tensor], model: DualEncoder, where: str) -> list[str]:
    """Where no source has a scale (a sentence encoder has none), keep the config's and say so."""
    if "logit_scale" in tensors:
        return []
    tensors["logit_scale"] = model.logit_scale.detach()
    return [
        f"model: {where} has no logit_scale: the factor on the cosines is"
        f" {float(model.logit_scale.detach().exp()):.4g}, the config's, so that probabilities mean"
        " little; which class is best does not depend on it"
    ]


def _hold(
    model: DualEncoder, vision: Foreign, text: Foreign, tokenizer: Tokenizer
) -> dict[str, list[str]]:
    """Hold the model against everything that its sources say; give the warnings.

    Raises:
        WeightsError: it is another function; names every setting that differs.
    """
    longest = model.text.settings.max_tokens
    end = text_end(tokenizer, longest)
    found: dict[str, list[Difference]] = {}
    for part, foreign in (("vision", vision), ("text", text)):
        everything = [foreign.main[part], *foreign.aside.get(part, ())]
        own = [one for one in everything if not one.program.endswith(PICTURES)]
        found[f"model.{part}"] = differences(getattr(model, part), own, end)
    for one in vision.aside.get("vision", ()):
        if one.program.endswith(PICTURES):
            # A picture that is prepared otherwise gives other numbers: not the same function.
            different = picture_differences(model.vision.preprocess, one)
            found["model.vision"] += [replace(each, refuse=True) for each in different]
    if text.tokenizer is not None:
        beside = tokenizer_differences(tokenizer, text.tokenizer, longest)
        found = {place: [*found.get(place, []), *beside.get(place, [])]
                 for place in {**found, **beside}}  # fmt: skip
    for one in text.own_vocabulary():
        found.setdefault(TOKENIZER, []).extend(tokenizer.described_by(one))
    return check(found, " and ".join(dict.fromkeys((vision.source, text.source))))
