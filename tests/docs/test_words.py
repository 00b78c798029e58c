"""Engine's texts are plain, modern English with the words of the field.

Names, comments, docstrings, messages, pages and documents are searched for words that a reader
would have to guess at, and for names that the design replaced. A word with a real use stands in
``ALLOWED`` with its reason.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("framework", "plugins", "configs", "docs")
SUFFIXES = {".py", ".js", ".css", ".html", ".j2", ".md", ".yaml", ".yml", ".toml", ".svg"}

FORBIDDEN = {
    r"anew": "again",
    r"likewise": "too, also, the same",
    r"(?<!ai-)for ?ever": "permanently, without end",
    r"untold": "unreported, very many",
    r"strangers?": "anybody, somebody else; unknown",
    r"told": "reported, received, given; distinguished",
    r"(?:weigh|weighs|weighed|weighing)": "has so many bytes",
    r"(?:judge[sd]?|judging|judgements?)": "evaluate",
    r"boards?": "leaderboard",
    r"born": "started_at",
    r"stretch(?:es)?": "range, part, frozen prefix, chunk",
    r"(?:thrice|whilst|lest|betwixt|amongst|hitherto|whence|thereof|therein|naught|aught)": "",
    r"(?:of late|amid|beneath|kin)": "recently, among, under, similar",
    r"(?<!there )(?<!must )(?<!There )(?:is|was) no (?!longer|more|larger|better|worse|different"
    r"|slower|faster|smaller|greater|other)[a-z`]+": "is not a ...",
    r"joint_(?:width|dim)": "embed_dim",
    r"(?:key_layout|KeyLayout)": "checkpoint_adapter",
    r"(?:feature_store|FeatureStore)": "activation cache",
    r"OfKind": "PluginField",
    r"_?(?:MOST|LEAST)_[A-Z_]+": "MAX_, MIN_",
    r"mean_per_class_recall": "mean_recall",
    r"(?:text|image|vision)[ _-]sides?": "modality, tower",
    r"(?-i:Old[A-Z]\w+)": "what it is, not when it was made",
}
"""A pattern between word boundaries, and what to write instead."""

ALLOWED: dict[tuple[str, str], str] = {}
"""(word, start of the path): why it may stand there."""

PATTERN = re.compile("|".join(rf"\b(?:{each})\b" for each in FORBIDDEN), re.IGNORECASE)


def hits_of(text: str) -> list[tuple[int, str]]:
    """Forbidden words of a text: line, word. ``_MOST_BYTES`` counts where it is upper case only."""
    found = []
    for match in PATTERN.finditer(text):
        word = match[0]
        if word.lstrip("_").lower().startswith(("most_", "least_")) and word != word.upper():
            continue
        found.append((text.count("\n", 0, match.start()) + 1, word))
    return found


@pytest.mark.parametrize(
    "text",
    ["trained anew", "a file\nthat is no artifact", "a Stranger's file", "MOST_ROWS = 3",
     "the user is told", "what it weighs", "joint_width: 3", "x = key_layout", "for ever",
     "the text side", "image_sides"],
)  # fmt: skip
def test_forbidden_words_are_found(text: str) -> None:
    assert len(hits_of(text)) == 1


@pytest.mark.parametrize(
    "text",
    ["there is no artifact", "is no longer so", "weights and weighted", "the leaderboard",
     "at most 3", "most_frequent", "there must be no network", "unfolded", "stubborn"],
)  # fmt: skip
def test_plain_words_are_not(text: str) -> None:
    assert hits_of(text) == []


def test_no_forbidden_word() -> None:
    found, used = [], set()
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix not in SUFFIXES or not path.is_file() or "egg-info" in str(path):
                continue
            place = path.relative_to(ROOT).as_posix()
            for line, word in hits_of(path.read_text(encoding="utf-8")):
                for allowed, start in ALLOWED:
                    if word.lower() == allowed and place.startswith(start):
                        used.add((allowed, start))
                        break
                else:
                    found.append(f"{place}:{line}: {word!r}")
    assert not found, "words to replace (see FORBIDDEN):\n" + "\n".join(found)
    unused = ALLOWED.keys() - used
    assert not unused, f"exceptions without a use: {sorted(unused)}"
