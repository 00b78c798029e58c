"""Pixels bit for bit as torchvision and open_clip give them; order kept, broken ones reported."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from engine.contracts import Dataset, SquarePreprocess
from engine.contracts.preprocess import to_batch, to_pixels
from engine.data.pictures import open_image, rgb
from engine.errors import BrokenImageError
from engine.evaluate.images import read_batches

sizes = st.tuples(st.integers(1, 90), st.integers(1, 90)).filter(lambda s: max(s) < 16 * min(s))
MODES = {
    "bicubic": transforms.InterpolationMode.BICUBIC,
    "bilinear": transforms.InterpolationMode.BILINEAR,
}


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    width, height = size
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def theirs(preprocess: SquarePreprocess) -> transforms.Compose:
    """torchvision's own steps for CLIP's transform."""
    size = preprocess.size
    squashed = preprocess.resize == "squash"
    return transforms.Compose(
        [
            transforms.Resize((size, size) if squashed else size, MODES[preprocess.interpolation]),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(preprocess.mean, preprocess.std),
        ]
    )


@settings(deadline=None)
@given(sizes, st.integers(1, 40), st.sampled_from(["shorter_side", "squash"]),
       st.sampled_from(["bicubic", "bilinear"]))  # fmt: skip
def test_equals_torchvision_bit_for_bit(
    shape: tuple[int, int], size: int, resize: str, interpolation: str
) -> None:
    preprocess = SquarePreprocess(size, resize=resize, interpolation=interpolation)  # type: ignore[arg-type]
    image = noise(shape)
    ours = to_batch([to_pixels(image, preprocess)], preprocess)[0]
    assert torch.equal(ours, theirs(preprocess)(image))


@settings(deadline=None)
@given(sizes, st.integers(8, 40), st.sampled_from(["shorter_side", "squash"]),
       st.sampled_from([0.5, 0.875, 0.9, 0.95, 1.0]))  # fmt: skip
def test_a_margin_equals_timm_bit_for_bit(
    shape: tuple[int, int], size: int, resize: str, crop_pct: float
) -> None:
    from timm.data.transforms_factory import transforms_imagenet_eval

    preprocess = SquarePreprocess(size, resize=resize, crop_pct=crop_pct)  # type: ignore[arg-type]
    mode = "squash" if resize == "squash" else "center"
    theirs = transforms_imagenet_eval(
        size, crop_pct=crop_pct, crop_mode=mode, interpolation="bicubic",
        mean=preprocess.mean, std=preprocess.std,
    )  # fmt: skip
    image = noise(shape)
    assert torch.equal(to_batch([to_pixels(image, preprocess)], preprocess)[0], theirs(image))


@settings(deadline=None)
@given(sizes, st.integers(1, 40))
def test_crop_first_equals_torchvisions_fallback(shape: tuple[int, int], size: int) -> None:
    preprocess = SquarePreprocess(size, resize="crop_first", interpolation="bilinear")
    image = noise(shape)
    short = min(shape)
    # torchvision looks for a square of the picture's own area first; where there is room for one
    # (up to rounding), its place is random. Elsewhere it takes the centre, as we always do.
    if round((shape[0] * shape[1]) ** 0.5) <= short and shape[0] != shape[1]:
        return
    crop = transforms.RandomResizedCrop(
        size, scale=(1.0, 1.0), ratio=(1.0, 1.0), interpolation=MODES["bilinear"]
    )
    np.testing.assert_array_equal(to_pixels(image, preprocess), np.asarray(crop(image)))


def test_equals_open_clip_on_photographs(contest_sample: Path) -> None:
    from open_clip.transform import image_transform

    transform = image_transform(224, is_train=False)
    preprocess = SquarePreprocess(224)
    paths = sorted((contest_sample / "caltech101" / "img").iterdir())[::25]
    images = [open_image(path) for path in paths]
    ours = to_batch([to_pixels(image, preprocess) for image in images], preprocess)
    assert torch.equal(ours, torch.stack([transform(Image.open(path)) for path in paths]))
    assert ours.dtype == torch.float32
    assert ours.is_contiguous()


@pytest.mark.parametrize("shape", [(1, 30_000), (30_000, 1), (2, 4001)])
def test_a_sliver_needs_no_gigabytes(shape: tuple[int, int]) -> None:
    image, preprocess = noise(shape), SquarePreprocess(224)
    assert to_pixels(image, preprocess).shape == (224, 224, 3)


def test_long_pictures_are_cut_as_others_are() -> None:
    image, preprocess = noise((800, 40)), SquarePreprocess(32)
    expected = transforms.CenterCrop(32)(transforms.Resize(32, MODES["bicubic"])(image))
    difference = to_pixels(image, preprocess).astype(int) - np.asarray(expected).astype(int)
    assert abs(difference).max() <= 1


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "RGB", "YCbCr"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = noise((30, 20)).convert(mode)
    expected = to_pixels(image.convert("RGB"), SquarePreprocess(8))
    np.testing.assert_array_equal(to_pixels(rgb(image), SquarePreprocess(8)), expected)


def level(index: int) -> Image.Image:
    return Image.new("RGB", (8, 8), (index, 0, 0))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 40), st.integers(1, 9), st.integers(1, 4), st.data())
def test_rows_come_once_in_order_and_broken_ones_too(
    count: int, batch_size: int, workers: int, data: st.DataObject
) -> None:
    broken = data.draw(st.sets(st.integers(0, max(count - 1, 0))))
    limit = data.draw(st.none() | st.integers(0, 50))

    class Rows(Dataset):
        name = "rows"

        def __len__(self) -> int:
            return count

        def record(self, index: int):  # type: ignore[no-untyped-def]
            from engine.contracts import Record

            return Record(f"row {index}")

        def image(self, index: int) -> Image.Image:
            if index in broken:
                raise BrokenImageError(f"no {index}")
            return level(index)

    batches = list(
        read_batches(
            Rows(), SquarePreprocess(4), batch_size=batch_size, workers=workers, limit=limit
        )
    )
    total = count if limit is None else min(limit, count)
    assert [len(b) for b in batches[:-1]] == [batch_size] * (len(batches) - 1)
    read = [each for batch in batches for each in batch.read]
    lost = [each for batch in batches for each in batch.broken]
    assert [each.index for each in read] == [i for i in range(total) if i not in broken]
    assert [int(each.pixels[0, 0, 0]) for each in read] == [each.index for each in read]
    assert [each.record.id for each in read] == [f"row {each.index}" for each in read]
    assert [(each.index, each.id, each.reason) for each in lost] == [
        (i, f"row {i}", f"no {i}") for i in sorted(broken) if i < total
    ]


def test_memory_is_bounded(pictures: Callable[..., Dataset]) -> None:
    asked: list[int] = []
    rows = pictures("d", (), [(str(i), level(0), None) for i in range(500)])
    original = rows.image
    rows.image = lambda index: (asked.append(index), original(index))[1]  # type: ignore[method-assign]
    reader = read_batches(rows, SquarePreprocess(4), batch_size=10, workers=2)
    next(reader)
    time.sleep(0.05)
    assert len(asked) <= 30
    reader.close()


def test_leaving_early_leaves_no_thread_and_reads_no_more(
    pictures: Callable[..., Dataset],
) -> None:
    rows = pictures("d", (), [(str(i), level(0), None) for i in range(100)])
    with pytest.raises(KeyboardInterrupt):
        for _ in read_batches(rows, SquarePreprocess(4), batch_size=5, workers=3):
            raise KeyboardInterrupt
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("images")]


def test_a_reader_of_a_third_party_may_raise_anything(pictures: Callable[..., Dataset]) -> None:
    rows = pictures(
        "d", (), [("a", level(1), None), ("b", KeyError("oh"), None), ("c", level(2), None)]
    )
    (batch,) = read_batches(rows, SquarePreprocess(4))
    assert [each.record.id for each in batch.read] == ["a", "c"]
    assert [(each.id, each.reason) for each in batch.broken] == [("b", "KeyError: 'oh'")]
