"""What a fit did, as lines, JSON and a page. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine.compress.choices import REST

if TYPE_CHECKING:
    from engine.compress.answer import Candidate, FittedModel, Quality
    from engine.evaluate.statistics import PairedDifference


def percent(share: float) -> str:
    """A share as percent with two digits."""
    return f"{100 * share:.2f} %"


def cost(fitted: FittedModel) -> str:
    """The cost of the chosen model in a sentence."""
    if not fitted.candidates:
        if any(one.compressor.same_function for one in fitted.steps):
            return "no loss but the rounding of float32: no storage had to change"
        done = "lossless steps alone" if fitted.steps else "nothing had to be done"
        return f"no loss: {done}"
    quality = fitted.quality or fitted.candidates[0].quality
    cosines = ", ".join(f"{name} {value:.5f}" for name, value in quality.cosine.items())
    said = f"mean cosine to the original's embeddings: {cosines}"
    if fitted.tested:
        called = {"text": "texts", "vision": "pictures"}
        inputs = " and ".join(f"{count:,} {called[name]}" for name, count in fitted.tested.items())
        said += f" (measured on {inputs} that neither trained nor decided)"
    if fitted.difference is not None:
        said += f"; {accuracy_cost(fitted.difference, fitted.images)}"
    return said


def accuracy_cost(difference: PairedDifference, images: int) -> str:
    """The change of accuracy, with the paired test's interval."""
    interval = (
        f"{difference.value:+.2f} points, 95 % {difference.low:+.2f} to {difference.high:+.2f},"
        f" p = {difference.p:.2g}"
    )
    measurable = difference.p < 0.05
    if not measurable:
        return f"no measurable loss of accuracy on {images:,} images: {interval}"
    return f"accuracy on {images:,} images changed measurably: {interval}"


def tensor_rows(fitted: FittedModel) -> list[list[str]]:
    """What was done to which tensor: name, storage, bytes, loss."""
    rows = []
    for item, number in zip(fitted.items, fitted.chosen, strict=True):
        choice = item.choices[number]
        loss = fitted.losses[item.name][choice.name]
        name = f"{REST} ({len(item.tensors)})" if item.name == REST else item.name
        lost = "-" if loss is None else f"{loss.value:.2e}" + ("" if loss.measured else " (est.)")
        rows.append([name, choice.name, f"{choice.bytes:,}", lost])
    return rows


def candidate_rows(fitted: FittedModel) -> list[list[str]]:
    """The combinations that were measured as a whole, the chosen one first."""
    return [
        [
            f"{one.bytes:,}",
            *(f"{one.quality.cosine[name]:.6f}" for name in one.quality.cosine),
            *(percent(one.quality.kept[name]) for name in one.quality.kept),
            *([] if one.quality.answers is None else [percent(one.quality.answers)]),
            *([] if one.accuracy is None else [f"{one.accuracy:.2f} %"]),
        ]
        for one in fitted.candidates
    ]


def candidate_heads(fitted: FittedModel) -> list[str]:
    """The heads of :func:`candidate_rows`."""
    first = fitted.candidates[0]
    quality: Quality = first.quality
    return [
        "bytes",
        *(f"cosine, {name}" for name in quality.cosine),
        *(f"neighbours kept, {name}" for name in quality.kept),
        *([] if quality.answers is None else ["answers kept"]),
        *([] if first.accuracy is None else [_accuracy_head(fitted.chance)]),
    ]


def to_json(fitted: FittedModel, limit: int) -> dict[str, Any]:
    """For ``--json``."""
    difference = fitted.difference
    return {
        "name": fitted.built.config.name,
        "limit": limit,
        "bytes_before": fitted.original,
        "bytes": fitted.size.total,
        "steps": [one.to_json() for one in fitted.steps],
        "tensors": [
            {"name": name, "storage": storage, "bytes": int(size.replace(",", ""))}
            for name, storage, size, _ in tensor_rows(fitted)
        ],
        "candidates": [_candidate(one) for one in fitted.candidates],
        "quality": None if fitted.quality is None else fitted.quality.to_json(),
        "tested": dict(fitted.tested),
        "images": fitted.images,
        "accuracy_before": fitted.accuracy,
        "chance": fitted.chance,
        "difference": None
        if difference is None
        else {"value": difference.value, "low": difference.low, "high": difference.high,
              "p": difference.p},
        "cost": cost(fitted),
        "notes": fitted.notes,
    }  # fmt: skip


def _accuracy_head(chance: float | None) -> str:
    return "accuracy" if chance is None else f"accuracy (chance {chance:.1f} %)"


def _candidate(one: Candidate) -> dict[str, Any]:
    return {"bytes": one.bytes, "loss": one.quality.loss, "accuracy": one.accuracy,
            **one.quality.to_json()}  # fmt: skip


def page_of(fitted: FittedModel, limit: int, inputs: Sequence[str]) -> str:
    """The page: bytes against quality, and what was done to which tensor."""
    from engine.report import about, render, size, table

    facts = [
        ("before", size(fitted.original)),
        ("now", size(fitted.size.total)),
        ("limit", size(limit)),
        ("cost", cost(fitted)),
        *([] if fitted.chance is None else [("chance", f"{fitted.chance:.1f} %")]),
    ]
    notes = [
        "A tensor's own loss is the mean of 1 - cosine between the embeddings of the model after"
        " these steps and of the model in which that tensor alone is stored as said. What is"
        " measured as a whole is compared with the original.",
    ]
    measured = bool(fitted.candidates)
    return render(
        "engine.compress/fit.html",
        title=f"{fitted.built.config.name} under {size(limit)}",
        kind="fit",
        facts=facts,
        warnings=fitted.notes,
        about=about(data=list(inputs), packages=["torch", "numpy"], notes=notes),
        steps=[{"summary": one.step.summary, "answers": one.answers, "saved": one.saved}
               for one in fitted.steps],
        chart=_chart(fitted, limit) if measured else None,
        candidates=table(candidate_heads(fitted), candidate_rows(fitted), left=0)
        if measured else None,
        tensors=table(["tensor", "storage", "bytes", "its own loss"], tensor_rows(fitted), left=2),
    )  # fmt: skip


def _chart(fitted: FittedModel, limit: int) -> Any:
    from engine.report.charts import Border, Dots, scatter_chart

    assert fitted.front is not None
    points = [p for p in fitted.front.points if p.loss > 0]
    step = max(1, len(points) // 200)
    line = [(p.bytes / 1e6, p.loss) for p in points[::step]]
    dots = [(one.bytes / 1e6, max(one.quality.loss, 1e-9)) for one in fitted.candidates]
    titles = [f"{one.bytes:,} bytes, loss {one.quality.loss:.2e}" for one in fitted.candidates]
    return scatter_chart(
        [Dots("chosen", dots[:1], titles[:1]), Dots("also measured", dots[1:], titles[1:])],
        label="loss against megabytes: the line is the sum of the tensors' own losses, the dots"
        " are models measured as a whole",
        x="weights (MB)",
        y="1 - cosine",
        scale="log",
        line=line,
        borders=[Border(limit / 1e6, "limit")],
        width=640,
    )
