"""The newcomer's walk: from nothing to a trained model that uses a text encoder of one's own.

    python tests/scaffold/walk.py [FOLDER]

In a clean environment: a package is scaffolded, its encoder becomes a newcomer's own (at most 25
lines, counted here), it is installed, tested, listed, built, trained and tried. Every command is
printed before it runs; one that fails ends the walk.
"""

from __future__ import annotations

import difflib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

if __package__:
    from .environment import Environment, make
else:
    from environment import Environment, make

MAX_LINES = 25
NAME = "engine-my-encoder"
CODE = Path("src", "engine_my_encoder", "encoder.py")

REPLACED = (
    # What the scaffold wrote, and what the newcomer writes in its place: words that look at each
    # other and know their places, where there was a mean of words alone.
    (
        "from torch import Tensor, nn\n",
        """\
import torch
from torch import Tensor, nn
from torch.nn import functional
""",
    ),
    (
        "class MyEncoder(TextEncoder):\n",
        """\
class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.asks = nn.Linear(width, 3 * width)
        self.tells = nn.Linear(width, width)

    def forward(self, words: Tensor, mask: Tensor) -> Tensor:
        query, key, value = self.asks(words).chunk(3, dim=2)
        found = functional.scaled_dot_product_attention(query, key, value, mask.mT)
        return words + self.tells(found)


class MyEncoder(TextEncoder):
""",
    ),
    (
        """\
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, width), nn.GELU()) for _ in range(settings.layers)
        )
""",
        """\
        self.places = nn.Parameter(0.02 * torch.randn(settings.max_tokens, width))
        self.blocks = nn.ModuleList(Attention(width) for _ in range(settings.layers))
""",
    ),
    (
        "segments_of([self.embedding], list",
        "segments_of([self.embedding, self.places], list",
    ),
    (
        """\
        for index in range(start, stop):
            if index == 0:
                mask = state["mask"].unsqueeze(2)  # [B, L, 1], False on padding
                words = (self.embed(state["ids"]) * mask).sum(dim=1)
                state["hidden"] = words / mask.sum(dim=1)
            elif index <= len(self.blocks):
                state["hidden"] = state["hidden"] + self.blocks[index - 1](state["hidden"])
            else:
                state["pooled"] = self.norm(take(state, "hidden", keep))  # [B, width]
""",
        """\
        mask = state["mask"].unsqueeze(2)  # [B, L, 1], False on padding
        for index in range(start, stop):
            if index == 0:
                words = self.embed(state["ids"])
                state["hidden"] = words + self.places[: words.shape[1]]
            elif index <= len(self.blocks):
                state["hidden"] = self.blocks[index - 1](state["hidden"], mask)
            else:
                words = (take(state, "hidden", keep) * mask).sum(dim=1)
                state["pooled"] = self.norm(words / mask.sum(dim=1))
""",
    ),
)


@dataclass(frozen=True)
class Walk:
    """What came of it.

    Attributes:
        lines: lines of code that the newcomer wrote.
        seconds: all commands together.
        package: the package's folder.
        accuracy: of the trained model, in percent, on pictures that training never showed.
    """

    lines: int
    seconds: float
    package: Path
    accuracy: float


def walk(environment: Environment, folder: Path, say: Callable[[str], None]) -> Walk:
    """Do it in an empty folder.

    Raises:
        AssertionError: a command failed, or the newcomer had to write too much.
    """
    begun = time.monotonic()

    def run(command: str, where: Path) -> str:
        say(f"$ {command}")
        out = environment.done("bash", "-c", command, cwd=where)
        say("\n".join(f"  {line}" for line in out.splitlines()[-12:]))
        return out

    output = run(f"engine plugin new {NAME} --kind text_encoder --json", folder)
    package = folder / NAME
    say(f"$ cd {NAME}")
    lines = write_own(package / CODE)
    say(f"(the newcomer writes {lines} lines into {CODE})")
    assert 0 < lines <= MAX_LINES, f"{lines} lines are more than {MAX_LINES}"
    for command in json.loads(output)["commands"]:
        run(command, package)
    scored = run("engine eval --predictions predictions.json --truth data/test/gt.json --json",
                 package)  # fmt: skip
    accuracy = float(json.loads(scored)["metrics"]["accuracy"]["value"])
    return Walk(lines, time.monotonic() - begun, package, accuracy)


def write_own(path: Path) -> int:
    """Put the newcomer's code in place of the scaffold's; how many lines are the newcomer's."""
    before = path.read_text(encoding="utf-8")
    after = before
    for old, new in REPLACED:
        assert after.count(old) == 1, f"the scaffold no longer has\n{old}"
        after = after.replace(old, new)
    path.write_text(after, encoding="utf-8")
    changes = difflib.ndiff(before.splitlines(), after.splitlines())
    return sum(1 for line in changes if line.startswith("+ ") and line[2:].strip())


def main() -> None:
    """Walk in the folder that is named, or in a temporary one."""
    with tempfile.TemporaryDirectory(prefix="engine-walk-") as temporary:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        print(f"a clean environment in {folder / 'venv'} ...", flush=True)
        environment = make(folder / "venv")
        done = walk(environment, folder, lambda line: print(line, flush=True))
    print(
        f"\n{done.lines} lines of the newcomer's own (at most {MAX_LINES}), {done.seconds:.0f}"
        f" seconds, {done.accuracy:.1f} % of pictures right whose shape and colour training never"
        " showed together"
    )


if __name__ == "__main__":
    main()
