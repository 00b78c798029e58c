"""A small text encoder taught by all-MiniLM-L6-v2, from texts alone (`benchmarks/teach.yaml`).

- lexicon: entries held out of the lexicon, Russian to English among 5,000. A student taught by
  `distill` and `teacher_logits` against `distill` alone, against one of the same shape that is
  trained contrastively on the same pairs without a teacher, and against look-ups in the lexicon;
  paired tests (McNemar).
- sentences: generated from templates with the lexicon's phrases, and CLDR's names. The student of
  at most 6 MB against its teacher on sentences never shown: of phrases that were shown in others,
  and of phrases never shown.
- speed: `engine train` against sentence-transformers' recipe for teaching over languages (MSELoss
  on the teacher's vectors) with the same pairs, teacher, student and epochs. Whole processes, one
  thread, the teacher included, an empty cache; once more with the teacher in bfloat16, which the
  processor should compute in. ``--share 0.2`` takes that share of the 70,000 pairs for all. The
  recipe lets its student read both languages; here it reads the Russian alone, half of that work.

Each part alone: ``--only lexicon``. What was trained stays in ``--work`` and is not trained twice.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from measure import ROOT, arguments, finish
from rich.console import Console
from rich.table import Table
from teach_lexicon import held_out_lexicon
from teach_sentences import sentences
from teach_speed import speed

PARTS = ("lexicon", "sentences", "speed")


def main() -> None:
    """Run the parts and print what came of them."""
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=PARTS, help="one part (all)")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "teach")
    parser.add_argument("--share", type=float, default=1.0, help="speed: of the pairs (1.0)")
    parser.set_defaults(rounds=1)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    if options.only in (None, "lexicon"):
        found["lexicon"] = held_out_lexicon(options.work)
    if options.only in (None, "sentences"):
        found["sentences"] = sentences(options.work)
    if options.only in (None, "speed"):
        found["speed"] = speed(options.work, options.share, options.rounds)
    table = Table("what", "figure")
    for part, figures in found.items():
        for name, value in figures.items():
            shown = f"{value:,.3g}" if isinstance(value, float) else str(value)
            table.add_row(f"{part}: {name}", shown)
    Console(stderr=options.json).print(table)
    finish(options.json, found)


if __name__ == "__main__":
    main()
