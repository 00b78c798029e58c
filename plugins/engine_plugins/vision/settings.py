"""Settings of the built-in vision towers. Nothing here imports torch or timm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from engine.contracts.description import Description
from engine.contracts.limits import MAX_HEADS, MAX_IMAGE_SIDE, MAX_LAYERS, MAX_WIDTH
from engine.contracts.plan import Plan, TowerPlan
from engine.contracts.proposal import Proposal
from engine.contracts.settings import Settings
from engine.contracts.tower_settings import VisionTowerSettings
from engine_plugins import plans, ruclip_archs
from engine_plugins.clip_archs import (
    DEFAULT_ARCH,
    OPEN_CLIP_FILES,
    picture_settings,
    quick_gelu,
    vision_numbers,
)
from engine_plugins.clip_proposed import clip_vision
from engine_plugins.siglip_proposed import timm_vision
from engine_plugins.text.clip_settings import fill_ruclip, source_of
from engine_plugins.vision.folded_plans import folded_plan, norm_eps
from engine_plugins.vision.timm_plans import timm_plan

Channels = tuple[float, float, float]
Resize = Literal["shorter_side", "crop_first", "squash"]
Interpolation = Literal["bicubic", "bilinear"]
CLIP_MEAN: Channels = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Channels = (0.26862954, 0.26130258, 0.27577711)


def _positive(std: Channels) -> Channels:
    if min(std) <= 0:
        raise ValueError("a standard deviation must be above 0")
    return std


class PlainClipVisionSettings(VisionTowerSettings):
    """The numbers of CLIP's vision transformer; the defaults are ViT-B/32's."""

    # A repository of timm's keeps an image model under the usual names, and CLIP beside it.
    preferred_files: ClassVar[tuple[str, ...]] = OPEN_CLIP_FILES

    image_size: int = Field(224, ge=1, le=4096, description="side of the square image, in pixels")
    patch_size: int = Field(32, ge=1, le=MAX_IMAGE_SIDE, description="side of a patch, in pixels")
    width: int = Field(
        768, ge=1, le=MAX_WIDTH, description="width of the transformer, a multiple of heads"
    )
    layers: int = Field(12, ge=1, le=MAX_LAYERS, description="number of blocks")
    heads: int = Field(12, ge=1, le=MAX_HEADS, description="attention heads of a block")
    mlp_ratio: float = Field(
        4.0, gt=0, le=64, description="hidden width of a block's MLP, as a multiple of width"
    )
    embed_width: int = Field(
        512, ge=1, le=MAX_WIDTH, description="width that CLIP's own projection gives"
    )
    project: bool = Field(
        True,
        description="keep CLIP's own projection `proj`; false: the features are what stands before"
        " it, `width` wide",
    )
    quick_gelu: bool = Field(True, description="QuickGELU (OpenAI's weights), else GELU")
    mean: Channels = Field(CLIP_MEAN, description="mean of each channel, of values from 0 to 1")
    std: Channels = Field(CLIP_STD, description="standard deviation of each channel")
    resize: Resize = Field("shorter_side", description="how a picture becomes square")
    interpolation: Interpolation = Field("bicubic", description="the filter of the scaling")

    _std = field_validator("std")(_positive)

    @model_validator(mode="after")
    def _numbers_fit(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.patch_size > self.image_size:
            raise ValueError(
                f"patch_size {self.patch_size} is larger than image_size {self.image_size}"
            )
        return self

    @property
    def mlp_width(self) -> int:
        """Hidden width of a block's MLP."""
        return int(self.width * self.mlp_ratio)

    @property
    def places(self) -> int:
        """Length of the sequence: the class token and a token a patch."""
        return (self.image_size // self.patch_size) ** 2 + 1

    def plan(self) -> TowerPlan:
        """The tensors of ``engine_plugins.vision.clip.ClipVision``."""
        width, patch = self.width, self.patch_size
        tensors: Plan = {
            **plans.tensor("class_embedding", width),
            **plans.tensor("positional_embedding", self.places, width),
            **plans.tensor("conv1.weight", width, 3, patch, patch),
            **plans.norm("ln_pre", width),
            **plans.norm("ln_post", width),
        }
        for i in range(self.layers):
            tensors |= plans.clip_block(f"transformer.resblocks.{i}", width, self.mlp_width)
        if not self.project:
            return TowerPlan(width, tensors)
        return TowerPlan(self.embed_width, tensors | plans.tensor("proj", width, self.embed_width))


class ClipVisionSettings(PlainClipVisionSettings):
    """OpenAI CLIP's vision transformer.

    ``arch`` fills in the numbers that a config does not give itself. The activation, and how a
    picture is prepared, follow from the weights where open_clip has them.
    """

    arch: str = Field(
        DEFAULT_ARCH, description="one of open_clip's architectures: fills in the other numbers"
    )

    @classmethod
    def propose(cls, description: Description, aside: Sequence[Description]) -> Proposal | None:
        """See the contract."""
        return clip_vision(description, aside)

    @field_validator("arch")
    @classmethod
    def _plain_arch(cls, arch: str) -> str:
        vision_numbers(arch)
        return arch

    @model_validator(mode="before")
    @classmethod
    def _fill_from_arch(cls, data: Any) -> Any:
        if not isinstance(data, Mapping) or not isinstance(data.get("arch", ""), str):
            return data
        arch, source = data.get("arch", DEFAULT_ARCH), source_of(data)
        try:
            numbers = vision_numbers(arch)
            if "quick_gelu" not in data:
                numbers["quick_gelu"] = quick_gelu(arch, source)
        except ValueError:
            return dict(data)  # reported where it belongs, at `arch`
        return {**numbers, **picture_settings(source), **data}


class RuClipVisionSettings(PlainClipVisionSettings):
    """ruCLIP's vision transformer.

    The numbers that a config does not give itself are those of ``arch``; where it names none,
    those of the model that the weights are of; else ruclip-vit-base-patch32-224's.
    """

    arch: ruclip_archs.RuClipArch | None = Field(
        None, description="one of the published models: fills in the other numbers"
    )
    resize: Resize = Field("crop_first", description="how a picture becomes square")
    interpolation: Interpolation = Field("bilinear", description="the filter of the scaling")

    @classmethod
    def propose(cls, description: Description, aside: Sequence[Description]) -> Proposal | None:
        """See the contract."""
        return ruclip_archs.proposal(description, ruclip_archs.vision_numbers)

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        return fill_ruclip(data, ruclip_archs.vision_numbers)


class VitSizes(Settings):
    """Sizes of a vision transformer of timm that has no name there."""

    patch_size: int = Field(ge=1, le=1024, description="side of a patch in pixels")
    width: int = Field(ge=1, le=MAX_WIDTH, description="width of the transformer")
    layers: int = Field(ge=1, le=MAX_LAYERS, description="number of blocks")
    heads: int = Field(ge=1, le=MAX_HEADS, description="attention heads of a block")
    mlp_width: int = Field(ge=1, le=64 * MAX_WIDTH, description="hidden width of a block's MLP")

    @model_validator(mode="after")
    def _numbers_fit(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self


class TimmVisionSettings(VisionTowerSettings):
    """An image model of timm without its classifier."""

    arch: str = Field(
        min_length=1,
        description="timm's name of the model: `convnext_tiny`, `vit_small_patch16_224`; with the"
        " tag of its weights after a dot where the picture is to be prepared as they want it",
    )
    image_size: int | None = Field(
        None, ge=1, le=4096, description="side of the square image; by default the model's own"
    )
    activation: Literal["gelu", "gelu_tanh", "quick_gelu"] | None = Field(
        None,
        description="of the model's blocks, where it is not timm's own choice: transformers'"
        " SigLIP computes with `gelu_tanh`",
    )
    vit: VitSizes | None = Field(
        None, description="other sizes than those of `arch`, which is then a vision transformer"
    )
    mean: Channels | None = Field(
        None, description="mean of each channel, of values from 0 to 1; by default as timm records"
    )
    std: Channels | None = Field(
        None, description="standard deviation of each channel; by default as timm records"
    )
    resize: Resize | None = Field(
        None, description="how a picture becomes square; by default as timm records"
    )
    interpolation: Interpolation | None = Field(
        None, description="the filter of the scaling; by default as timm records"
    )
    crop_pct: float | None = Field(
        None,
        ge=0.1,
        le=1,
        description="share of the scaled side that is kept, the centre; by default as timm records",
    )
    fold_norms: bool = Field(
        False,
        description="each batch norm is folded into the convolution before it and is a bias alone,"
        " as `engine fit` makes it; for ResNets and EfficientNets",
    )

    @classmethod
    def propose(cls, description: Description, aside: Sequence[Description]) -> Proposal | None:
        """See the contract."""
        return timm_vision(description, aside)

    @field_validator("std")
    @classmethod
    def _positive_std(cls, std: Channels | None) -> Channels | None:
        return std if std is None else _positive(std)

    def plan(self) -> TowerPlan | None:
        """The tensors of a ResNet, an EfficientNet-Lite, a SigLIP or a FastViT of MobileCLIP.

        ``None`` for other models, which the meta device then builds.
        """
        if self.vit is not None:
            return None
        found = timm_plan(self.arch.partition(".")[0], self.image_size)
        if found is None or not self.fold_norms:
            return found
        return TowerPlan(found.width, folded_plan(found.tensors))

    @property
    def foldable_norms(self) -> float | None:
        """See the contract."""
        return None if self.fold_norms else norm_eps(self.arch)


class ResNet50Settings(TimmVisionSettings):
    """ResNet-50, the organisers' baseline."""

    arch: Literal["resnet50"] = Field("resnet50", description="timm's name of the model")

    @classmethod
    def propose(cls, description: Description, aside: Sequence[Description]) -> Proposal | None:
        """None: `timm` proposes every model of timm."""
        return None


class SmallVitSettings(VisionTowerSettings):
    """A small vision transformer over a convolutional stem, quick to train on a processor."""

    image_size: int = Field(
        64, ge=1, le=1024, description="side of the square image, a multiple of 2**convolutions"
    )
    convolutions: int = Field(
        4, ge=1, le=6, description="convolutions of the stem, each halves the image's side"
    )
    width: int = Field(
        128, ge=1, le=MAX_WIDTH, description="width of the transformer, a multiple of heads"
    )
    layers: int = Field(4, ge=1, le=MAX_LAYERS, description="number of blocks")
    heads: int = Field(4, ge=1, le=MAX_HEADS, description="attention heads of a block")
    mlp_ratio: float = Field(
        4.0, gt=0, le=64, description="hidden width of a block's MLP, as a multiple of width"
    )
    mean: Channels = Field((0.5, 0.5, 0.5), description="mean of each channel")
    std: Channels = Field((0.5, 0.5, 0.5), description="standard deviation of each channel")

    _std = field_validator("std")(_positive)

    @model_validator(mode="after")
    def _numbers_fit(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.image_size % 2**self.convolutions:
            raise ValueError(
                f"image_size {self.image_size} cannot be halved {self.convolutions} times:"
                f" expected a multiple of {2**self.convolutions}"
            )
        return self

    @property
    def mlp_width(self) -> int:
        """Hidden width of a block's MLP."""
        return int(self.width * self.mlp_ratio)

    @property
    def channels(self) -> list[int]:
        """Channels after each convolution: they double up to ``width``."""
        return [max(1, self.width >> i) for i in range(self.convolutions - 1, -1, -1)]

    @property
    def places(self) -> int:
        """Length of the sequence."""
        return (self.image_size >> self.convolutions) ** 2

    def plan(self) -> TowerPlan:
        """The tensors of ``engine_plugins.vision.small_vit.SmallVit``."""
        tensors: Plan = plans.tensor("positional_embedding", self.places, self.width)
        previous = 3
        for i, channels in enumerate(self.channels):
            tensors |= plans.tensor(f"stem.{i}.conv.weight", channels, previous, 3, 3)
            tensors |= plans.norm(f"stem.{i}.norm", channels)
            previous = channels
        for i in range(self.layers):
            tensors |= plans.clip_block(f"blocks.{i}", self.width, self.mlp_width)
        return TowerPlan(self.width, tensors | plans.norm("norm", self.width))
