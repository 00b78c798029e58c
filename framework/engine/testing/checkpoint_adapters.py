"""What checkpoint adapters promise."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from engine.core.registry import default_registry
from engine.testing.common import call, shorten
from engine.testing.core import NotApplicable, fault, rule
from engine.testing.subject import Subject

_LAYOUT = "engine.contracts.checkpoint_adapter.CheckpointAdapter"
_PARTS = ("vision.", "text.", "vision_projection.", "text_projection.")
_STRANGE = ("no.such.tensor", "optimizer.state.0")


class LayoutSubject(Subject):
    """A checkpoint adapter."""

    @property
    def keys(self) -> Sequence[str]:
        """Names of a checkpoint.

        Raises:
            NotApplicable: the author gave none.
        """
        keys = self.hints.get("keys")
        if not keys:
            raise NotApplicable("give keys=[...], the names of a checkpoint of this layout")
        return list(keys)

    @cached_property
    def layout(self) -> Any:
        """One."""
        return self.target(self.settings)


SUBJECT = LayoutSubject


@rule(
    contract=f"{_LAYOUT}.matches",
    says="Whether a checkpoint with these names is of this layout.",
    why="`engine import` finds the layout of a file by asking every one of them.",
    needs=("settings_valid",),
)
def matches(it: LayoutSubject) -> None:
    """Its own names match, no names and strange names do not."""
    layout = call(lambda: it.layout, expected=f"{it.target.__name__}(settings) to give a layout")
    for what, keys in (("no names", []), ("strange names", list(_STRANGE))):
        if call(layout.matches, keys, expected=f"matches() to take {what}") is not False:
            fault(f"False for {what}", "True, or no bool")
    if call(layout.matches, it.keys, expected="matches() to take its own names") is not True:
        fault("True for the names of its own checkpoint", f"False for {shorten(it.keys)}")


@rule(
    contract=f"{_LAYOUT}.matches",
    says="No two layouts match one.",
    why="A file that two layouts match cannot be imported without `--adapter`.",
    needs=("matches",),
)
def matches_alone(it: LayoutSubject) -> None:
    """No other installed layout matches its names."""
    for found in default_registry().all("checkpoint_adapter"):
        plugin = found.plugin
        if plugin.target == it.plugin.target:
            continue
        other = plugin.load()(plugin.load_settings()())
        if other.matches(it.keys):
            fault("no other layout to match these names", f"`{plugin.name}` matches them too")


@rule(
    contract=_LAYOUT,
    says="Engine's names: ``vision.<tower's own>``, ``text.<tower's own>``,",
    why="The renamed tensors are loaded by these names.",
    needs=("matches",),
)
def renames(it: LayoutSubject) -> None:
    """Its names become Engine's, each another one."""
    places: dict[str, str] = {}
    for key in it.keys:
        found = call(it.layout.rename, key, expected=f"rename({key!r}) to give a name, or None")
        if found is None:
            continue
        if not isinstance(found, str):
            fault("a name, or None", f"rename({key!r}) is {found!r}")
        if not found.startswith(_PARTS) and found not in ("logit_scale", "logit_bias"):
            fault(f"a name that begins with {', '.join(_PARTS)} (or is logit_scale)",
                  f"rename({key!r}) is {found!r}")  # fmt: skip
        if found in places:
            fault("another name for every tensor", f"{places[found]!r} and {key!r} are {found!r}")
        places[found] = key


@rule(
    contract=f"{_LAYOUT}.rename",
    says="A name that the model does not know is reported to the user, so pass unknown ones"
    " through.",
    why="Half a checkpoint that is passed over silently is half a model of random weights.",
    needs=("settings_valid",),
)
def unknown_names(it: LayoutSubject) -> None:
    """Strange names are passed through (renamed or not), none is dropped."""
    for key in (*_STRANGE, "", "вес", "a" * 5_000):
        found = call(
            it.layout.rename, key, expected=f"rename to take any name, here {shorten(key)}"
        )
        if found is None:
            fault("an unknown name to be passed through", f"rename({shorten(key)}) is None")
        if not isinstance(found, str):
            fault("a name, or None", f"rename({shorten(key)}) is {found!r}")


@rule(
    contract=f"{_LAYOUT}.finish",
    says="What cannot be placed keeps its name, and is reported.",
    why="Half a checkpoint that is passed over silently is half a model of random weights.",
    needs=("settings_valid",),
)
def finishes(it: LayoutSubject) -> None:
    """Unknown tensors come back, whole and unchanged, and what was given stays as it was."""
    import torch

    given = {key: torch.arange(6.0).reshape(2, 3) for key in _STRANGE}
    found = call(it.layout.finish, given, [], expected="finish() to take tensors of any names")
    for key in _STRANGE:
        if key not in found or not torch.equal(found[key], torch.arange(6.0).reshape(2, 3)):
            fault(f"`{key}` to keep its name and numbers", f"finish() gave {sorted(found)}")
        if key not in given or not torch.equal(given[key], torch.arange(6.0).reshape(2, 3)):
            fault("the given tensors to stay as they are", f"finish() changed `{key}`")


RULES = (matches, matches_alone, renames, unknown_names, finishes)
