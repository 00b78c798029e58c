"""What projections promise."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from engine.contracts.plan import Plan
from engine.contracts.state import State
from engine.errors import ConfigError, PluginError
from engine.testing import modules
from engine.testing.common import call, must_raise
from engine.testing.core import NotApplicable, fault, rule
from engine.testing.modules import ModuleSubject, error_of

_PROJECTION = "engine.contracts.projection.Projection"
_FORWARD = f"{_PROJECTION}.forward"
_ROWS, _TOKENS = 24, 6


class ProjectionSubject(ModuleSubject):
    """A projection."""

    output = "embedding"

    @cached_property
    def widths(self) -> tuple[int, int, int]:
        """Of the features, of the joint space, of token embeddings.

        Different from each other, so that a mix-up shows; unless the projection keeps the width.
        """
        wide = self.hints.get("in_width", 12)
        joint = self.hints.get("out_width", 8)
        tokens = self.hints.get("embedding_width", 16)
        if not {"in_width", "out_width"} & self.hints.keys():
            try:
                self._create(wide, joint, tokens)
            except (ConfigError, PluginError):  # `identity` takes equal widths only
                joint = wide
            except Exception:  # `build` tells
                pass
        return wide, joint, tokens

    def _create(self, wide: int, joint: int, tokens: int | None) -> Any:
        return self.target(self.settings, wide, joint, embedding_width=tokens)

    def create(self) -> Any:
        """A new projection of the hinted widths."""
        return self._create(*self.widths)

    def own_plan(self) -> Plan | None:
        """The plan that its settings give without torch."""
        found: Plan | None = self.settings.plan(*self.widths)
        return found

    def feed(self, dtype: torch.dtype = torch.float32, seed: int = 0) -> State:
        """A state with pooled vectors and token embeddings of texts of several lengths."""
        wide, _, tokens = self.widths
        generator = torch.Generator().manual_seed(seed)
        lengths = torch.arange(_ROWS) % _TOKENS + 1
        state: State = {
            "pooled": torch.randn(_ROWS, wide, generator=generator).to(dtype),
            "mask": torch.arange(_TOKENS) < lengths[:, None],
            "ids": torch.randint(50, (_ROWS, _TOKENS), generator=generator),
        }
        if "token_embeddings" in self.target.reads:
            random = torch.randn(_ROWS, _TOKENS, tokens, generator=generator)
            state["token_embeddings"] = random.to(dtype)
        return {"pooled": state["pooled"], **{k: state[k] for k in self.target.reads & state.keys()}}  # noqa: E501  # fmt: skip


SUBJECT = ProjectionSubject


@rule(
    contract=_PROJECTION,
    says="Features [B, in_width] to embedding [B, out_width].",
    why="Engine builds each modality's projection as Class(settings, in_width, out_width,"
    " embedding_width=...), for the widths of the model's towers.",
    needs=("settings_valid",),
)
def build(it: ProjectionSubject) -> None:
    """It is built for texts; for images too, unless it reads token embeddings."""
    modules.check_weight(it)
    wide, joint, tokens = it.widths
    call(it.make, expected=f"{it.target.__name__}(settings, {wide}, {joint},"
         f" embedding_width={tokens}) to give a projection")  # fmt: skip
    without = (wide, joint, None)
    if "token_embeddings" in it.target.reads:
        must_raise(PluginError, it._create, *without, expected="a PluginError behind a vision tower"
                   ", which has no token embeddings (Projection.__init__ raises it)")  # fmt: skip
    else:
        call(it._create, *without, expected="to be built for images (embedding_width=None)")


@rule(
    contract=_FORWARD,
    says="Return the state with ``embedding`` [B, out_width] added (not normalised).",
    why="The embedding is what images and texts are compared by.",
    needs=("build", "initialisation"),
)
def forward(it: ProjectionSubject) -> None:
    """An embedding is added; what was in the state stays."""
    state = it.feed()
    with torch.no_grad():
        out = call(
            it.module, state, expected=f"to run on a state with {_names(state)}"
            " (name what else it needs in `reads`)",
        )  # fmt: skip
    found = out.get("embedding") if isinstance(out, dict) else None
    if not isinstance(found, Tensor):
        fault("a dictionary with the tensor `embedding`", type(out).__name__)
    if found.dim() != 2 or len(found) != _ROWS:
        fault(f"embedding of shape [B, out_width], here [{_ROWS}, {it.widths[1]}]",
              f"shape {list(found.shape)}")  # fmt: skip
    if lost := sorted(state.keys() - out.keys()):
        fault("the state with `embedding` added", f"`{lost[0]}` is gone")
    if not found.isfinite().all():
        fault("a finite embedding", "NaN or infinity")


def _names(state: State) -> str:
    return ", ".join(f"`{name}`" for name in sorted(state))


@rule(
    contract=_FORWARD,
    says="Return the state with ``embedding`` [B, out_width] added (not normalised).",
    why="Both modalities meet in a space of `out_width` numbers.",
    needs=("forward",),
)
def width(it: ProjectionSubject) -> None:
    """The embedding is as wide as was asked for."""
    wide, asked = it.plain.shape[1], it.widths[1]
    if wide != asked:
        fault(f"an embedding of out_width, {asked}", f"it is {wide} wide")


determinism = rule(
    contract=_PROJECTION,
    says="In eval mode the same state gives the same embedding",
    why="Predictions are to be repeatable.",
    needs=("forward",),
)(modules.determinism)


@rule(
    contract=_PROJECTION,
    says="a row's does not depend on the other rows, nor on padding.",
    why="Images and texts are embedded in whatever batches suit, and compared afterwards.",
    needs=("determinism",),
)
def batch_independence(it: ProjectionSubject) -> None:
    """A row alone, in another order, or beside others in training mode, keeps its embedding."""
    state, together = it.feed(), it.plain
    for what, rows in (("in another order", list(range(_ROWS))[::-1]), ("row 0 alone", [0]),
                       (f"row {_ROWS - 1} alone", [_ROWS - 1])):  # fmt: skip
        some = {name: tensor[rows].clone() for name, tensor in state.items()}
        found = call(it.out, some, expected=f"to run on a batch {what}")
        error = error_of(found, together[rows])
        if error > it.tolerance:
            fault(f"{what} to give the same embedding as in the batch of {_ROWS}",
                  f"they differ by {error:.2g}: a row sees its neighbours (batch norm that is"
                  " not in eval mode? a mean over dimension 0?)")  # fmt: skip
    modules.rows_apart(it)


@rule(
    contract=_PROJECTION,
    says="a row's does not depend on the other rows, nor on padding.",
    why="A text is padded to the longest of its batch, which is another one each time.",
    needs=("batch_independence",),
)
def padding_independence(it: ProjectionSubject) -> None:
    """What stands under padding makes no difference."""
    state = it.feed()
    if not {"token_embeddings", "mask"} <= state.keys():
        raise NotApplicable("it does not read the tokens")
    noise = torch.randn(state["token_embeddings"].shape)
    mask = state["mask"].unsqueeze(-1)
    other = {**state, "token_embeddings": torch.where(mask, state["token_embeddings"], noise)}
    if (error := error_of(it.out(other), it.plain)) > it.tolerance:
        fault("other embeddings under padding to make no difference",
              f"the embedding differs by {error:.2g}: use state['mask']")  # fmt: skip


@rule(
    contract="engine.contracts.state",
    says="It never changes a state in place: it returns a new dictionary.",
    why="The tower's state is used again after the projection.",
    needs=("forward",),
)
def state_unchanged(it: ProjectionSubject) -> None:
    """The state that it is given stays as it is."""
    state = it.feed()
    before = {name: tensor.clone() for name, tensor in state.items()}
    it.out(state)
    if state.keys() != before.keys():
        changed = sorted(state.keys() ^ before.keys())
        fault("the state to stay as it is: return {**state, ...}", f"`{changed[0]}` came or went")
    for name, tensor in before.items():
        if not torch.equal(state[name], tensor):
            fault("the state to stay as it is", f"state[{name!r}] holds other numbers afterwards")


@rule(
    contract=_PROJECTION,
    says="In training every parameter gets a gradient from some batch, and so do the features.",
    why="A parameter without a gradient keeps its random start and takes bytes all the same;"
    " features without one leave the tower untrained.",
    needs=("determinism",),
)
def gradients(it: ProjectionSubject) -> None:
    """Over some batches every parameter gets a gradient, and the features always do."""
    module = it.make().train()
    for seed in range(8):  # a router may choose some experts rarely
        generator = torch.Generator().manual_seed(seed)
        state = it.feed()
        state["pooled"] = torch.randn(state["pooled"].shape, generator=generator)
        if "token_embeddings" in state:
            shape = state["token_embeddings"].shape
            state["token_embeddings"] = torch.randn(shape, generator=generator)
        state["pooled"].requires_grad_()
        found = call(module, state, expected="to run in training mode")["embedding"]
        weights = torch.randn(found.shape, generator=generator)
        call((found * weights).sum().backward, expected="an embedding that can be differentiated")
        grad = state["pooled"].grad
        if grad is None or not grad.any():
            fault("a gradient at the features", "none: detach() or no_grad inside?")
    without = [name for name, p in module.named_parameters() if p.grad is None]
    if without:
        fault("a gradient for every parameter over 8 batches of 24 rows",
              f"none reaches {', '.join(f'`{name}`' for name in without[:5])}")  # fmt: skip


@rule(
    contract=_PROJECTION,
    says="Frozen, its parameters stay and the features still get their gradient.",
    why="A stage may train a tower behind a frozen projection.",
    needs=("gradients",),
)
def freezing(it: ProjectionSubject) -> None:
    """Frozen, nothing of it moves."""
    module = it.make().eval().requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    state = it.feed()
    state["pooled"].requires_grad_()
    module(state)["embedding"].square().sum().backward()
    if state["pooled"].grad is None:
        fault("a gradient at the features behind a frozen projection", "none")
    for name, tensor in module.state_dict().items():
        if not torch.equal(tensor, before[name]):
            fault("a frozen projection to keep its numbers", f"`{name}` changed")
    if moved := [name for name, p in module.named_parameters() if p.grad is not None]:
        fault("no gradient for a frozen parameter", f"`{moved[0]}` has one")


@rule(
    contract=_PROJECTION,
    says="Moved to another floating dtype, or under autocast, it computes there",
    why="Training runs in bfloat16 or float16 where the device has it.",
    needs=("forward",),
)
def dtypes(it: ProjectionSubject) -> None:
    """See modules."""
    modules.dtypes(it)


initialisation = rule(
    contract=_PROJECTION,
    says="initialises its weights from torch's own random generator",
    why="A config's `seed` is to give the same model on every machine.",
    needs=("build",),
)(modules.initialisation)

tensors_registered = rule(
    contract=_PROJECTION,
    says="Every tensor it keeps is a parameter or a buffer.",
    why="What is neither is missing from the artifact and from its size, and stays behind when the"
    " model moves to a GPU or to another dtype.",
    needs=("build",),
)(modules.tensors_registered)

meta_build = rule(
    contract=_PROJECTION,
    says="it also builds on the meta device",
    why="`engine size` counts the bytes of a model of any size without its memory.",
    needs=("build",),
)(modules.meta_build)

plan = rule(
    contract="engine.contracts.plan",
    says="a plugin whose parameters follow from its settings says so in a plan",
    why="`engine size` and the limit on bytes trust the plan.",
    needs=("build",),
)(modules.plan)

save_and_load = rule(
    contract=_PROJECTION,
    says="Every tensor it keeps is a parameter or a buffer.",
    why="An artifact is the state dict in a safetensors file.",
    needs=("determinism", "tensors_registered", "meta_build"),
)(modules.save_and_load)

RULES = (
    build,
    initialisation,
    forward,
    width,
    determinism,
    batch_independence,
    padding_independence,
    state_unchanged,
    gradients,
    freezing,
    tensors_registered,
    meta_build,
    plan,
    save_and_load,
    dtypes,
)
