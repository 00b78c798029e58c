"""Checkpoints: where a run goes on. Whole or not at all, checked when read, no pickle.

::

    RUN/checkpoints/step-00000120/state.json           position, scores, sha256 of the tensors
                                  tensors.safetensors  what training changes: weights, moments
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from engine.core.artifact import sha256
from engine.core.files import replacing_folder
from engine.core.files import steps as lasting
from engine.errors import TrainingError, WriteError

FORMAT = 3
"""Of `state.json`. Those before lack some of it and cannot be gone on from."""
_NAME = re.compile(r"step-([0-9]{8,})")
_STATE, _TENSORS = "state.json", "tensors.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint, read.

    Attributes:
        step: of the whole run.
        state: JSON types: what the loop saved.
        tensors: by name.
    """

    step: int
    state: dict[str, Any]
    tensors: dict[str, Tensor]


class Checkpoints:
    """The checkpoints of a run.

    Args:
        folder: ``RUN/checkpoints``.
        keep: how many of the last are kept, beside the best.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self._keep = folder, keep

    def steps(self) -> list[int]:
        """Steps with a checkpoint, whole or not, in order."""
        if not self.folder.is_dir():
            return []
        found = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def path(self, step: int) -> Path:
        """The folder of a step's checkpoint."""
        return self.folder / f"step-{step:08}"

    def save(
        self, step: int, state: dict[str, Any], tensors: dict[str, Tensor], best: int | None
    ) -> Path:
        """Write a checkpoint, whole or not at all (``engine.core.files``); then remove the oldest.

        Args:
            step: of the run; a checkpoint of that step is replaced.
            state: JSON types.
            tensors: on any device.
            best: the step of the best checkpoint, which is kept.

        Raises:
            TrainingError: the disk is full, say; the checkpoints before are untouched.
        """
        from safetensors.torch import save_file

        final = self.path(step)
        plain = {n: t.detach().to("cpu", copy=True).contiguous() for n, t in tensors.items()}
        try:
            with replacing_folder(final, error=TrainingError) as temporary:
                save_file(plain, temporary / _TENSORS)
                digest = sha256(temporary / _TENSORS)
                whole = {"format": FORMAT, "step": step, "sha256": digest, **state}
                text = json.dumps(whole, ensure_ascii=False, indent=1)
                (temporary / _STATE).write_text(text + "\n", encoding="utf-8")
        except (OSError, WriteError) as error:
            last = self.steps()
            kept = f"the checkpoint of step {last[-1]} is whole" if last else "there is none yet"
            raise TrainingError(
                f"the checkpoint of step {step} cannot be written: {_why(error)}; {kept}",
                hint="make room on the disk, then go on with `--resume`",
            ) from error
        self._prune(best)
        return final

    def _prune(self, best: int | None) -> None:
        for step in self.steps()[: -self._keep]:
            if step != best:
                lasting.remove_tree(self.path(step))

    def last(self, say: Callable[[str], None]) -> Checkpoint | None:
        """The last checkpoint that is whole; those after it are reported, and removed.

        Raises:
            TrainingError: there are some, and none is whole.
        """
        steps = self.steps()
        damaged = []
        for step in reversed(steps):
            try:
                found = read(self.path(step))
            except TrainingError as error:
                damaged.append(self.path(step))
                say(f"{error.message}; falling back to the checkpoint before")
                continue
            for path in damaged:
                lasting.remove_tree(path)
            return found
        if steps:
            raise TrainingError(
                f"not one of {len(steps)} checkpoints in {self.folder} is whole",
                hint="`--force` starts the run again from the beginning",
            )
        return None


def read(folder: Path) -> Checkpoint:
    """Read a checkpoint, every byte checked.

    Raises:
        TrainingError: it is damaged, and how.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        step, digest, newest = int(state["step"]), str(state["sha256"]), int(state["format"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise TrainingError(f"{folder / _STATE} is damaged ({type(error).__name__})") from error
    if newest > FORMAT:
        raise TrainingError(f"{folder} is of checkpoint format {newest}, newer than this Engine")
    path = folder / _TENSORS
    try:
        if sha256(path) != digest:
            raise TrainingError(f"{path} is damaged (its sha256 differs)")
        return Checkpoint(step, state, load_file(path))
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{path} is damaged ({error})") from error


def _why(error: OSError | WriteError) -> str:
    return error.message if isinstance(error, WriteError) else str(error)
