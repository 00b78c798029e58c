"""How a picture becomes the input of a vision tower: the protocol, and the usual way.

A tower brings its own preprocessing by any object with the four members of :class:`Preprocess`;
:class:`SquarePreprocess` is what CLIP and most other towers want. Engine calls it through
:func:`to_pixels` and :func:`to_batch`, which check what it gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from engine.errors import PluginError

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor

Pixels: TypeAlias = NDArray[np.uint8]
"""One picture of ``to_array``, [S, S, 3] uint8. It becomes floats only when the model needs it, a
batch at a time: a quarter of the memory, and one vectorised operation instead of many."""


@runtime_checkable
class Preprocess(Protocol):
    """How a picture becomes a vision tower's pixels, in two steps.

    The first step is taken once for each picture, by threads, and its result is what Engine stores
    and names activations by. The second step is taken whenever the pixels go into the model.
    """

    @property
    def size(self) -> int:
        """Side of the square of pixels, at least 1."""

    def to_array(self, image: Image.Image) -> Pixels:
        """Cut and scale a picture: RGB, upright, any size -> [size, size, 3] uint8.

        It is called from several threads at once, gives the same for the same picture each time,
        and does not change the picture.
        """

    def to_tensor(self, batch: Tensor) -> Tensor:
        """[B, size, size, 3] uint8 -> [B, 3, size, size] float32, on the device of the batch.

        It does not change the batch, and a row does not depend on the other rows.
        """

    def identity(self) -> str:
        """A text that differs wherever the numbers of :meth:`to_tensor` would differ.

        It is part of the name of cached activations, so it is the same in every process: two
        towers of equal settings give equal texts.
        """


@runtime_checkable
class CropPreprocess(Preprocess, Protocol):
    """A :class:`Preprocess` that has its own way for random crops in training (optional)."""

    def crop_to_array(self, image: Image.Image) -> Pixels:
        """As ``to_array``, of a crop that augmentation chose: nothing more is to be cut off it.

        Without this method a crop goes through ``to_array`` as any picture does.
        """


@runtime_checkable
class PortablePreprocess(Preprocess, Protocol):
    """A :class:`Preprocess` that can be written into an ONNX export (optional).

    The export is used without Engine and without PyTorch, so it needs a program in numpy. Engine
    runs that program before anything is written and compares its numbers with those of the model.
    """

    def to_json(self) -> dict[str, Any]:
        """What the program needs to know, in JSON types; the export's ``preprocess.json``."""

    def program(self) -> str:
        """The source of a Python module with ``prepare(image, about)``, without PyTorch.

        ``image`` is an RGB picture of Pillow, ``about`` is :meth:`to_json`, the result is an
        array [3, size, size] of float32. The module may import numpy, Pillow and ``pictures``,
        Engine's own reader of pictures that lies in the export (``pictures.cut.square``).
        """


@dataclass(frozen=True)
class SquarePreprocess:
    """A square out of the picture, then a mean and a deviation for each channel.

    Attributes:
        size: side of the square, in pixels.
        mean: mean of each channel (R, G, B), for values from 0 to 1.
        std: standard deviation of each channel.
        resize: ``"shorter_side"``: the shorter side to ``size``, then the centre is cut out (CLIP);
            ``"crop_first"``: the largest centred square is cut out, then scaled (ruCLIP);
            ``"squash"``: scaled to the square, proportions changed.
        interpolation: the filter of the scaling.
        crop_pct: share of the scaled side that is kept (timm's word): 0.875 with ``size`` 224
            scales to 256 pixels and cuts the centre out, which leaves a margin away.
    """

    size: int
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    resize: Literal["shorter_side", "crop_first", "squash"] = "shorter_side"
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    crop_pct: float = 1.0

    IMAGENET_MEAN: ClassVar[tuple[float, float, float]] = (0.485, 0.456, 0.406)
    IMAGENET_STD: ClassVar[tuple[float, float, float]] = (0.229, 0.224, 0.225)

    def to_array(self, image: Image.Image) -> Pixels:
        """See :func:`engine.contracts.cut.square`."""
        from engine.contracts.cut import square

        return square(image, self)

    def crop_to_array(self, image: Image.Image) -> Pixels:
        """The whole crop, scaled to the square, as torchvision and open_clip do.

        Cutting it once more would keep less than the share of the area that was asked for.
        """
        return replace(self, resize="squash", crop_pct=1.0).to_array(image)

    def to_tensor(self, batch: Tensor) -> Tensor:
        """As torchvision's ToTensor and Normalize give."""
        import torch

        mean = torch.tensor(self.mean, device=batch.device)[:, None, None]
        std = torch.tensor(self.std, device=batch.device)[:, None, None]
        floats = batch.permute(0, 3, 1, 2).to(
            torch.float32, memory_format=torch.contiguous_format, copy=True
        )
        return floats.div_(255).sub_(mean).div_(std)

    def identity(self) -> str:
        """Every attribute."""
        return repr(self)

    def to_json(self) -> dict[str, Any]:
        """Every attribute."""
        return asdict(self)

    def program(self) -> str:
        """The cut of this package, then the same arithmetic in numpy."""
        return _PROGRAM


_PROGRAM = '''\
"""How a picture becomes the input of `vision.onnx`."""

from types import SimpleNamespace

import numpy as np
from pictures.cut import square


def prepare(image, about):
    """An RGB picture of any size, and preprocess.json -> [3, S, S] float32."""
    values = square(image, SimpleNamespace(**about)).astype(np.float32) / 255
    values = (values - np.float32(about["mean"])) / np.float32(about["std"])
    return values.transpose(2, 0, 1)
'''


def to_pixels(image: Image.Image, preprocess: Preprocess, *, crop: bool = False) -> Pixels:
    """The pixels of a picture, checked.

    Args:
        image: RGB, upright, any size.
        preprocess: the vision tower's.
        crop: the picture is a crop that augmentation chose (see :class:`CropPreprocess`).

    Raises:
        PluginError: what the tower's preprocessing gives are not such pixels.
    """
    own = crop and isinstance(preprocess, CropPreprocess)
    found = preprocess.crop_to_array(image) if own else preprocess.to_array(image)  # type: ignore[attr-defined]
    side = preprocess.size
    if not isinstance(found, np.ndarray) or found.dtype != np.uint8 or found.shape != (
        side, side, 3
    ):  # fmt: skip
        raise PluginError(
            f"{_name(preprocess)}.{'crop_to_array' if own else 'to_array'} gives {_form(found)};"
            f" an array [{side}, {side}, 3] of uint8 is expected",
            hint="a fault of the vision tower's plugin: see engine.contracts.Preprocess",
        )
    return found


def to_batch(
    pixels: Sequence[Pixels], preprocess: Preprocess, device: torch.device | str = "cpu"
) -> Tensor:
    """B pictures of :func:`to_pixels` -> [B, 3, S, S] float32 on a device, checked.

    Raises:
        PluginError: what the tower's preprocessing gives is not such a tensor.
    """
    import torch

    return to_floats(torch.from_numpy(np.stack(pixels)).to(device), preprocess)


def to_floats(batch: Tensor, preprocess: Preprocess) -> Tensor:
    """[B, S, S, 3] uint8 -> [B, 3, S, S] float32 on the same device, checked.

    Raises:
        PluginError: what the tower's preprocessing gives is not such a tensor.
    """
    import torch

    found = preprocess.to_tensor(batch)
    side = preprocess.size
    if (
        not isinstance(found, torch.Tensor)
        or not found.is_floating_point()
        or found.shape != (len(batch), 3, side, side)
        or found.device != batch.device
    ):
        raise PluginError(
            f"{_name(preprocess)}.to_tensor gives {_form(found)}; a tensor"
            f" [{len(batch)}, 3, {side}, {side}] of floats on {batch.device} is expected",
            hint="a fault of the vision tower's plugin: see engine.contracts.Preprocess",
        )
    return found


def wanted_side(preprocess: Preprocess) -> int:
    """How long the shorter side of a picture must be so that nothing is scaled up, in pixels."""
    if isinstance(preprocess, SquarePreprocess):
        from engine.contracts.cut import scaled_side

        return scaled_side(preprocess)
    return 2 * preprocess.size  # another one may cut something off


def _name(preprocess: Preprocess) -> str:
    return type(preprocess).__qualname__


def _form(found: Any) -> str:
    shape, dtype = getattr(found, "shape", None), getattr(found, "dtype", None)
    if shape is None:
        return f"a {type(found).__name__}"
    where = f" on {found.device}" if hasattr(found, "device") else ""
    return f"{type(found).__name__} {list(shape)} of {str(dtype).removeprefix('torch.')}{where}"
