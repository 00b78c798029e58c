"""What both sides of evaluation.py get: photographs, names, templates, weights."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from evaluation_jobs import ARCH
from measure import ROOT, engine_command

SAMPLE = ROOT.parent / "shared" / "data" / "contest_sample" / "caltech101"


def photographs(folder: Path) -> tuple[list[str], dict[str, int], Path]:
    """570 of them: class names, ``{image id: class}``, and the folder of ``<id>.jpg``."""
    if SAMPLE.is_dir():
        names = json.loads((SAMPLE / "classes.json").read_text(encoding="utf-8"))
        truth = json.loads((SAMPLE.parent / "gt.json").read_text(encoding="utf-8"))
        return names, truth[SAMPLE.name], SAMPLE / "img"
    return made_up(folder / "made_up")


def made_up(folder: Path) -> tuple[list[str], dict[str, int], Path]:
    """Coarse noise of many colours, of the sample's number and sizes."""
    import numpy as np
    from PIL import Image

    folder.mkdir()
    rng, truth = np.random.default_rng(0), {}
    for number in range(570):
        size = (300, int(rng.integers(170, 301)))
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:03}.jpg", quality=90)
        truth[f"{number:03}"] = number % 19
    return class_names()[:19], truth, folder


def class_names() -> list[str]:
    """ImageNet's 1,000, as open_clip carries them; two that come twice by their other name."""
    import open_clip

    other = {"missile": "projectile", "sunglasses": "dark glasses"}
    found: list[str] = []
    for name in open_clip.IMAGENET_CLASSNAMES:
        found.append(other[name] if name in found else name)
    assert len(set(found)) == 1000
    return found


def templates() -> list[str]:
    """open_clip's seven."""
    import open_clip

    return [template("{}") for template in open_clip.SIMPLE_IMAGENET_TEMPLATES]


def write_weights(path: Path, pictures: Sequence[Path], texts: Sequence[str]) -> None:
    """open_clip's random weights with both towers' last biases such that features average to 0."""
    import open_clip
    import torch
    from PIL import Image
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model, _, transform = open_clip.create_model_and_transforms(ARCH, pretrained=None)
    model.eval()
    seen: dict[str, torch.Tensor] = {}
    norms = {"image": model.visual.ln_post, "text": model.ln_final}
    for name, norm in norms.items():
        norm.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
    tokens = open_clip.get_tokenizer(ARCH)(list(texts))
    with torch.inference_mode():
        images = torch.stack([transform(Image.open(each).convert("RGB")) for each in pictures])
        model.encode_image(images)
        model.encode_text(tokens)
    with torch.no_grad():
        image, text = seen["image"], seen["text"]
        image = image[:, 0] if image.dim() == 3 else image
        text = text[torch.arange(len(text)), tokens.argmax(dim=-1)]
        norms["image"].bias -= image.mean(dim=0)
        norms["text"].bias -= text.mean(dim=0)
    save_file(model.state_dict(), path)


def write_case(
    folder: Path, names: Sequence[str], words: Sequence[str], truth: dict[str, int], source: Path
) -> None:
    """The same pictures (links) and names in both tools' layouts."""
    ours, theirs = folder / "ours" / "photographs", folder / "theirs" / "val"
    (ours / "img").mkdir(parents=True)
    write_json(ours / "classes.json", names)
    write_json(folder / "gt.json", {ours.name: truth})
    write_json(folder / "names.json", {"imagenet1k-unverified": names})
    braced = [word.replace("{}", "{c}") for word in words]
    write_json(folder / "templates.json", {"imagenet1k-unverified": braced})
    for image, label in truth.items():
        file = source / f"{image}.jpg"
        (ours / "img" / file.name).symlink_to(file)
        (theirs / f"{label:03}").mkdir(parents=True, exist_ok=True)
        (theirs / f"{label:03}" / file.name).symlink_to(file)


def write_artifact(path: Path, weights: Path, words: Sequence[str]) -> None:
    """`configs/clip_openai.yaml` with these weights and templates."""
    source = f"file:{weights}"
    settings = {
        "model.vision.weights": {"from": source},
        "model.text.weights": {"from": source},
        "zero_shot.templates": list(words),
    }
    given = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    command = [
        engine_command(),
        "build",
        str(ROOT / "configs" / "clip_openai.yaml"),
        "-o",
        str(path),
    ]
    done = subprocess.run(
        [*command, *(part for each in given for part in ("--set", each))],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"benchmark: {' '.join(command)} failed:\n{done.stderr}")


def write_json(path: Path, value: object) -> None:
    """As UTF-8."""
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
