"""Image models of timm without their classifiers.

Source: github.com/huggingface/pytorch-image-models. timm is imported when a tower is built: it
takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from engine.contracts import (
    Output,
    Segment,
    SquarePreprocess,
    State,
    VisionTower,
    segments_of,
    take,
)
from engine.contracts.description import Description, Difference, Table
from engine.contracts.proposal import ratio
from engine.errors import ConfigError, did_you_mean
from engine_plugins.checkpoint_adapters.siglip_names import is_siglip, vision_part
from engine_plugins.vision.efficientnet_names import is_efficientnet_pytorch, to_timm_names
from engine_plugins.vision.folded_plans import norm_eps, norms_in
from engine_plugins.vision.folding import fold_modules, folded_tensors
from engine_plugins.vision.settings import TimmVisionSettings, VitSizes
from engine_plugins.vision.timm_described import OTHERS, timm_differences


class TimmVision(VisionTower):
    """Pixels -> the model's pooled features, as ``timm.create_model(arch, num_classes=0)`` gives.

    Segments: ResNets by their four layers, vision transformers by block, ConvNeXt, EfficientNet and
    FastViT (MobileCLIP) by stage; any other model is one block between an empty stem and an empty
    head. The picture is prepared as timm's own record of the weights says (size, means, filter,
    the margin around the centre), except for what the settings name. Weights may have timm's
    names, those of transformers' SigLIP, or, of an EfficientNet, those of the package
    EfficientNet-PyTorch.

    Raises:
        ConfigError: timm has no such model, or cannot build it at this size.
    """

    settings: TimmVisionSettings
    outputs: ClassVar[Mapping[str, Output]] = {
        **VisionTower.outputs,
        "hidden": Output("the last block, before the head: the model's own map", "[B, ...]"),
    }
    described: ClassVar[tuple[Table, ...]] = (Table("timm", (), (), strict=False), *OTHERS)

    def __init__(self, settings: TimmVisionSettings) -> None:
        super().__init__(settings)
        self.model = _create(settings)
        if settings.fold_norms:
            fold_modules(self.model, norm_eps(settings.arch))
        norms = (isinstance(m, nn.modules.batchnorm._BatchNorm) for m in self.model.modules())
        self.mixes_rows = "batch_norm" if any(norms) else False
        # Some models widen after their last stage: `num_features` is the width before that.
        widths = (getattr(self.model, n, None) for n in ("head_hidden_size", "num_features"))
        self.width = next(width for width in widths if isinstance(width, int) and width > 0)
        self.preprocess = _preprocess(settings, self.model)

    def segments(self) -> list[Segment]:
        """See the class."""
        cut = _cut(self.model)
        return segments_of(cut.stem_parts, cut.blocks, cut.head_parts)

    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        """See the contract. ``state["hidden"]`` is the model's own map or sequence."""
        cut = _cut(self.model)
        state = dict(state)
        for index in range(start, stop):
            if index == 0:
                state["hidden"] = cut.stem(state.pop("pixels"))
            elif index == len(cut.blocks) + 1:
                state["pooled"] = cut.head(take(state, "hidden", keep))
            else:
                state["hidden"] = cut.blocks[index - 1](state["hidden"])
        return state

    def described_by(self, description: Description) -> list[Difference]:
        """See the contract. timm's records say which weights want QuickGELU."""
        arch, record = self.settings.arch.partition(".")[0], _record(self.settings, self.model)
        size = self.preprocess.size
        own = timm_differences(arch, size, self.model, record, description)
        return super().described_by(description) + own

    def adapt(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """timm's names get ``model.`` in front; its classifier is left out.

        Of a whole CLIP checkpoint the vision part is taken: open_clip's (``visual.trunk.``), or
        that of transformers' SigLIP.
        """
        own = self.state_dict()
        weights = _own_part(weights)
        if all(name.startswith("model.") for name in weights):
            return self._folded(dict(weights)) if self.settings.fold_norms else dict(weights)
        if is_efficientnet_pytorch(weights):
            weights = to_timm_names(weights, self.model)
        dropped = tuple(f"{name}." for name in self._classifiers())
        fitted = {
            f"model.{name}": tensor
            for name, tensor in weights.items()
            if f"model.{name}" in own or not name.startswith(dropped)
        }
        for name in own:  # files from before PyTorch 0.4.1 lack the counters of BatchNorm
            if name.endswith(".num_batches_tracked"):
                fitted.setdefault(name, torch.tensor(0))
        return self._folded(fitted) if self.settings.fold_norms else fitted

    def _folded(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights with their batch norms folded; those that are folded already, as they are."""
        if not norms_in(weights):
            return weights
        with torch.device("meta"):
            whole = _create(self.settings)
        order = {f"model.{name}": place for place, name in enumerate(whole.state_dict())}
        names = sorted(weights, key=lambda name: order.get(name, len(order)))
        eps = norm_eps(self.settings.arch)
        assert eps is not None  # checked when the tower was made
        return folded_tensors({name: weights[name] for name in names}, eps)

    def classifier(self, weights: Mapping[str, Tensor]) -> Tensor | None:
        """The rows of the classifier that the tower itself leaves out, [classes, width].

        Args:
            weights: as :meth:`adapt` receives them.

        Returns:
            ``None`` where the weights have none, or one of another width.
        """
        if is_efficientnet_pytorch(weights):
            weights = to_timm_names(weights, self.model)
        for name in self._classifiers():
            rows = weights.get(f"{name}.weight", weights.get(f"model.{name}.weight"))
            if rows is not None and rows.numel() == len(rows) * self.width:
                return rows.reshape(len(rows), self.width).float()
        return None

    def classifier_place(self) -> str | None:
        """timm's name of the classifier, as one linear layer behind the pooling; ``None``: none."""
        found = self._classifiers()
        return found[0] if len(found) == 1 else None

    def _classifiers(self) -> tuple[str, ...]:
        found = _record(self.settings, self.model).get("classifier") or ()
        return (found,) if isinstance(found, str) else tuple(found)


def _own_part(weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """timm's own names of a whole CLIP checkpoint; of any other the names that it has."""
    if is_siglip(weights) and any(name.startswith("vision_model.") for name in weights):
        return vision_part(weights)
    for prefix in ("visual.trunk.", "trunk."):
        if any(name.startswith(prefix) for name in weights):
            return {n[len(prefix) :]: t for n, t in weights.items() if n.startswith(prefix)}
    return weights


Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _Cut:
    """Where a model is cut into segments, and how each runs."""

    stem: Step
    stem_parts: Sequence[nn.Module | nn.Parameter]
    blocks: Sequence[nn.Module]
    head: Step
    head_parts: Sequence[nn.Module | nn.Parameter]


def _cut(model: Any) -> _Cut:
    """Cut a model by its family: the class whose own ``forward_features`` it runs.

    A subclass that overrides that method runs something else, so it counts as another family.
    """
    from timm.models.convnext import ConvNeXt
    from timm.models.efficientnet import EfficientNet
    from timm.models.fastvit import FastVit
    from timm.models.resnet import ResNet
    from timm.models.vision_transformer import VisionTransformer

    for family, cut in (
        (ResNet, _cut_resnet),
        (VisionTransformer, _cut_vit),
        (ConvNeXt, _cut_convnext),
        (EfficientNet, _cut_efficientnet),
        (FastVit, _cut_fastvit),
    ):
        same = ("forward_features", "forward_head", "forward")
        if all(getattr(type(model), m, None) is getattr(family, m) for m in same):
            return cut(model)
    return _Cut(_same, (), (model,), _same, ())


def _same(x: Tensor) -> Tensor:
    return x


def _in_turn(*steps: Step) -> Step:
    def run(x: Tensor) -> Tensor:
        for step in steps:
            x = step(x)
        return x

    return run


def _rest(model: nn.Module, *taken: Sequence[nn.Module | nn.Parameter]) -> list[Any]:
    """Children and own parameters of a model that belong to no other segment."""
    seen = {id(part) for some in taken for part in some}
    own = [*model.children(), *model.parameters(recurse=False)]
    return [part for part in own if id(part) not in seen]


def _cut_resnet(model: Any) -> _Cut:
    stem = [model.conv1, model.bn1, model.act1, model.maxpool]
    blocks = [model.layer1, model.layer2, model.layer3, model.layer4]
    return _Cut(_in_turn(*stem), stem, blocks, model.forward_head, _rest(model, stem, blocks))


def _cut_vit(model: Any) -> _Cut:
    head = [model.norm, model.fc_norm, model.head]
    if model.attn_pool is not None:
        head.append(model.attn_pool)
    return _Cut(
        _in_turn(model.patch_embed, model._pos_embed, model.patch_drop, model.norm_pre),
        _rest(model, [model.blocks], head),
        list(model.blocks),
        _in_turn(model.norm, model.forward_head),
        head,
    )


def _cut_convnext(model: Any) -> _Cut:
    blocks = list(model.stages)
    return _Cut(
        model.stem,
        [model.stem],
        blocks,
        _in_turn(model.norm_pre, model.forward_head),
        _rest(model, [model.stem, model.stages]),
    )


def _cut_efficientnet(model: Any) -> _Cut:
    stem = [model.conv_stem, model.bn1]
    return _Cut(
        _in_turn(*stem),
        stem,
        list(model.blocks),
        _in_turn(model.conv_head, model.bn2, model.forward_head),
        _rest(model, stem, [model.blocks]),
    )


def _cut_fastvit(model: Any) -> _Cut:
    if model.fork_feat:  # gives the maps of four stages, for other work than ours
        return _Cut(_same, (), (model,), _same, ())
    blocks = list(model.stages)
    return _Cut(
        model.stem,
        [model.stem],
        blocks,
        _in_turn(model.final_conv, model.forward_head),
        _rest(model, [model.stem, model.stages]),
    )


def _create(settings: TimmVisionSettings) -> nn.Module:
    import timm

    name = settings.arch.partition(".")[0]
    if not timm.is_model(name):
        raise ConfigError(
            f"timm has no model `{name}`{did_you_mean(name, timm.list_models())}",
            hint="`python -c 'import timm; print(timm.list_models())'` lists them",
        )
    if "naflex" in name:
        raise ConfigError(
            f"`{name}` is a NaFlex model: it takes patches of pictures of any proportions, and"
            " Engine's vision towers take square pictures",
            hint="use a model of a fixed size: `vit_base_patch16_siglip_256`, for example",
        )
    chosen: dict[str, Any] = {}
    usual = timm.get_pretrained_cfg(name)
    if settings.image_size is not None and usual is not None and usual.fixed_input_size:
        chosen["img_size"] = settings.image_size  # one that takes any size knows no such argument
    if settings.activation is not None:
        chosen["act_layer"] = settings.activation
    if settings.vit is not None:
        chosen |= _vit_sizes(settings.vit)
    try:
        model: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, **chosen)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(f"timm cannot build `{name}` with {chosen}: {error}") from error
    if settings.image_size is not None:
        _try_size(model, name, settings.image_size)
    return model


def _vit_sizes(vit: VitSizes) -> dict[str, Any]:
    """Arguments of timm's vision transformers."""
    return {
        "patch_size": vit.patch_size,
        "embed_dim": vit.width,
        "depth": vit.layers,
        "num_heads": vit.heads,
        "mlp_ratio": ratio(vit.width, vit.mlp_width),
    }


def _try_size(model: nn.Module, name: str, size: int) -> None:
    """Whether a model takes pictures of this size shows only in a run: one, on the meta device.

    Every build plans its size on that device first. On a real one the run would cost time.
    """
    if any(parameter.device.type != "meta" for parameter in model.parameters()):
        return
    try:
        with torch.no_grad():
            model.eval()(torch.empty(1, 3, size, size, device="meta"))
    except NotImplementedError:  # an operation that this device lacks says nothing of the size
        pass
    except (AssertionError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"`{name}` of timm takes no pictures of {size} x {size} pixels: {error}",
            hint="choose another image_size, or leave it out for the model's own",
        ) from error
    finally:
        model.train()


def _record(settings: TimmVisionSettings, model: nn.Module) -> dict[str, Any]:
    """timm's record of the weights that the config names, else of the model's usual ones."""
    import timm

    own = settings.arch.partition(".")[0]
    hub = settings.weights.from_.rpartition("hf:timm/")[2].partition("@")[0]
    for name in (settings.arch, hub):
        arch, _, tag = name.partition(".")
        if arch != own or not tag:
            continue
        try:
            return dict(timm.get_pretrained_cfg(name, allow_unregistered=False).to_dict())
        except RuntimeError as error:  # no such tag
            if name == settings.arch:
                raise ConfigError(f"timm knows no weights `{tag}` of `{arch}`") from error
    usual: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    return dict(usual)


def _preprocess(settings: TimmVisionSettings, model: nn.Module) -> SquarePreprocess:
    record = _record(settings, model)
    size = settings.image_size or int(record["input_size"][-1])
    mean, std = (tuple(float(v) for v in record[key]) for key in ("mean", "std"))
    bilinear = record.get("interpolation", "bicubic") == "bilinear"
    squash = record.get("crop_mode") == "squash"
    return SquarePreprocess(
        size,
        mean=settings.mean or mean,  # type: ignore[arg-type]
        std=settings.std or std,  # type: ignore[arg-type]
        resize=settings.resize or ("squash" if squash else "shorter_side"),
        interpolation=settings.interpolation or ("bilinear" if bilinear else "bicubic"),
        crop_pct=settings.crop_pct or float(record.get("crop_pct") or 0.875),
    )
