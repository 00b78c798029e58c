"""Encoding 1,000 English class names: Engine's `openai_clip` against open_clip's own model.

Same architecture (ViT-B-32-quickgelu), same random weights, same threads, same texts, tokenising
included on both sides; open_clip gets the best of several batch sizes (it pads every text to 77
tokens, so one choice serves both lists). The figures are medians over
rounds taken in turn: `ratio` for the bare names (target: at least 10), `ratio_templates` for the
names inside CLIP's six-word templates (target: at least 5), and `largest_difference` between the
vectors of both (target: at most 1e-5).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import open_clip
import torch
from measure import ROOT, arguments, finish, in_turn, median_ratio
from rich.console import Console
from rich.table import Table
from torch import Tensor

from engine.core.build import make_tokenizer
from engine.core.config import load_config
from engine.core.making import make_model
from engine.evaluate.texts import encode_texts

ARCH = "ViT-B-32-quickgelu"
TEMPLATES = ("a bad photo of a {}.", "a good photo of the {}.", "a blurry photo of a {}.")
BATCHES = (64, 250, 1000)


def names(count: int) -> list[str]:
    """English class names: the first of ImageNet's 1,000, as open_clip carries them."""
    found = list(open_clip.IMAGENET_CLASSNAMES)
    assert len(found) == 1000
    return found[:count]


def peer(texts: list[str], model: torch.nn.Module, batch: int) -> Tensor:
    """open_clip's own way: every text padded to 77 tokens."""
    tokenizer = open_clip.get_tokenizer(ARCH)
    with torch.inference_mode():
        return torch.cat(
            [
                model.encode_text(tokenizer(texts[i : i + batch]), normalize=True)  # type: ignore[operator]
                for i in range(0, len(texts), batch)
            ]
        )


def timed(job: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--texts", type=int, default=1000, help="the first so many names (1000)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    theirs = open_clip.create_model(ARCH, pretrained=None).eval()
    config = load_config(ROOT / "configs" / "clip_openai.yaml")
    ours = make_model(config).eval()
    ours.text.load_weights(theirs.state_dict(), "open_clip's model")
    tokenizer = make_tokenizer(config)
    plain = names(options.texts)
    jobs = {"names": plain, "templates": [TEMPLATES[i % 3].format(n) for i, n in enumerate(plain)]}
    few = plain[: max(BATCHES[1], len(plain) // 4)]  # warms both up, too
    encode_texts(ours, tokenizer, few)
    batch = min(BATCHES, key=lambda size: timed(lambda: peer(few, theirs, size)))
    table = Table(title=f"{len(plain):,} texts, {options.threads} threads, medians")
    for column in (
        "texts",
        "tokens a text",
        "open_clip s",
        "batch",
        "Engine s",
        "ratio",
        "largest",
    ):
        table.add_column(column, justify="left" if column == "texts" else "right")
    figures: dict[str, float] = {}
    largest = 0.0
    for job, texts in jobs.items():
        vectors: dict[str, Tensor] = {}

        def open_clip_way(texts: list[str] = texts, vectors: dict[str, Tensor] = vectors) -> None:
            vectors["open_clip"] = peer(texts, theirs, batch)

        def our_way(texts: list[str] = texts, vectors: dict[str, Tensor] = vectors) -> None:
            vectors["Engine"] = encode_texts(ours, tokenizer, texts)

        slow, fast = in_turn(
            options.rounds,
            lambda way=open_clip_way: timed(way),  # type: ignore[misc]
            lambda way=our_way: timed(way),  # type: ignore[misc]
            warm_up=False,
        )
        difference = float((vectors["Engine"] - vectors["open_clip"]).abs().max())
        figures[job] = median_ratio(slow, fast)
        largest = max(largest, difference)
        length = statistics.mean(map(len, tokenizer.encode(texts, 77)))
        seconds = [f"{statistics.median(some):.2f}" for some in (slow, fast)]
        ratio = f"{figures[job]:.1f}"
        row = [job, f"{length:.1f}", seconds[0], str(batch), seconds[1], ratio, f"{difference:.1e}"]
        table.add_row(*row)
    Console().print(table)
    finish(
        options.json,
        {
            "ratio": figures["names"],
            "ratio_templates": figures["templates"],
            "largest_difference": largest,
        },
    )


if __name__ == "__main__":
    main()
