"""Fit: the best model under a limit.

1. Lossless steps (unused positions, tokens that the languages cannot spell); then those that leave
   the function as it is (batch norms folded).
2. Storages, tensor by tensor: the loss of each choice is measured (``losses.py``), and the frontier
   of bytes and loss (``frontier.py``) gives the best combination under any limit.
3. Losses do not add up exactly, so the best combinations are measured as a whole, and the best of
   these is taken.
4. Its numbers are rounded once more, by what they are multiplied with (``rounding.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.compress.answer import FittedModel
from engine.compress.choices import fixed_bytes, items_of, needed
from engine.compress.choosing import Choosing, Scorer, impossible, probes_for, smallest
from engine.compress.folding import fold
from engine.compress.repair import OriginalOutputs, measure_trained, trained_towers
from engine.compress.steps import (
    compress,
    facts_of,
    planned_steps,
    recorded,
    without_limit,
)
from engine.compress.trained import distil_nearest, fitting_bytes
from engine.core.build import Built
from engine.core.progress import Progress, silent
from engine.core.registry import Registry, default_registry
from engine.core.size import plan_of_module, size_of_plan


def fit(
    built: Built,
    limit: int,
    *,
    texts: Sequence[str] = (),
    pictures: Sequence[np.ndarray] = (),
    languages: Sequence[str] = (),
    scorer: Scorer | None = None,
    targets: OriginalOutputs | None = None,
    budget: float = 300.0,
    state: Path | None = None,
    registry: Registry | None = None,
    progress: Progress = silent,
) -> FittedModel:
    """The best model under a limit.

    Args:
        built: the model, with decoded weights; it becomes the answer.
        limit: bytes of the file of weights.
        texts: calibration texts, as the model will be asked.
        pictures: calibration pictures of ``to_pixels``, uint8 [S, S, 3]; without any, the image
            side is compared on drawn ones.
        languages: whose letters the vocabulary must be able to spell; without any, the scripts of
            the texts.
        scorer: says which images of the user's data a model answers rightly; the combination with
            the highest accuracy is then taken.
        targets: the model's own answers, for training: where no storages meet the limit, a step
            that must be trained is done, and its result learns these answers.
        budget: seconds for measuring, by counted operations.
        state: a file in which measured losses are kept until the fit is done.
        registry: the plugins.
        progress: receives how far it is.

    Raises:
        LimitError: the limit cannot be met; names the smallest possible size.
        DataError: there is no text.
    """
    registry = registry or default_registry()
    built.config = without_limit(built.config)
    built.model.merge()
    plan = plan_of_module(built.model)
    before = size_of_plan(plan, built.config, None)
    if before.total <= limit:
        note = f"it has {before.total:,} bytes already, so nothing is done"
        return FittedModel(built, before.total, before, [], notes=[note])
    original = scorer(built) if scorer else None
    facts = facts_of(built.config, built.tokenizer, texts, languages)
    steps, notes = planned_steps(built.config, facts, registry=registry)
    for planned in steps:
        progress(planned.step.summary)
        compress(built, planned)
    plan = plan_of_module(built.model)
    size = size_of_plan(plan, built.config, None)
    if steps:
        notes.append(
            f"lossless steps: {before.total:,} bytes became {size.total:,}"
            + ("" if size.total <= limit else ", still above the limit, so storages change too")
        )
    if size.total > limit:
        steps += fold(built, texts, languages, registry)
        plan = plan_of_module(built.model)
        size = size_of_plan(plan, built.config, None)
    if size.total <= limit:
        built.manifest = recorded(built.manifest, [one.to_json() for one in steps])
        return FittedModel(built, before.total, size, steps, notes=notes)
    fits, distilled, originals = fitting_bytes(limit, registry), None, None
    if targets is not None and not fits(built):
        probes, _ = probes_for(built, texts, pictures)
        originals = {name: probe.reference for name, probe in probes.items()}
        del probes
        distilled = distil_nearest(built, targets, fits, texts=texts, languages=languages,
                                   registry=registry, progress=progress)  # fmt: skip
        if distilled is not None:
            steps.append(distilled.planned)
            notes.append(distilled.said)
            plan = plan_of_module(built.model)
            size = size_of_plan(plan, built.config, None)
    items = needed(items_of(plan, built.config, registry), limit - fixed_bytes(plan))
    least = smallest(items, plan)
    if least > limit:
        raise impossible(built.config.name, limit, least, before.total)
    fitted = FittedModel(built, before.total, size, steps, items=items, notes=notes)
    work = Choosing(fitted, limit, texts, pictures, budget, state, registry, progress, originals)
    work.choose(scorer, original)
    if distilled is not None and targets is not None:
        measure_trained(fitted, trained_towers(fitted.built, targets))
        assert fitted.quality is not None
        last = fitted.built.manifest["compression"]["steps"][-1]
        last["measured"] = fitted.quality.to_json()
    return fitted
