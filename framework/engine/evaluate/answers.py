"""Answers to pictures: classes with their probabilities, and how a notebook shows them."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from engine.printable import visible

_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Answer:
    """One class that an image may show.

    Attributes:
        index: of the class among the given ones, from 0.
        name: of the class.
        probability: 0..1.
    """

    index: int
    name: str
    probability: float


class ImageAnswers(list[list[Answer]]):
    """The answers to several images: an ordinary list, which a notebook shows as a table."""

    def _repr_html_(self) -> str:
        """A table, one row for each of the first images."""
        rows = [
            f"<tr><td>{number}</td><td>{'<br>'.join(_shown(each) for each in answers)}</td></tr>"
            for number, answers in enumerate(self[:_SHOWN])
        ]
        more = len(self) - _SHOWN
        foot = f"<p>and {more:,} more images</p>" if more > 0 else ""
        head = "<tr><th>image</th><th>answers</th></tr>"
        return f"<table>{head}{''.join(rows)}</table>{foot}"


def _shown(answer: Answer) -> str:
    return (
        f"{escape(visible(answer.name))} <meter value='{answer.probability:.4f}'></meter>"
        f" {100 * answer.probability:.1f} %"
    )
