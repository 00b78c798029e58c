"""``engine export`` and ``engine import`` as a user meets them, there and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from engine.core.build import read_artifact

Engine = Callable[..., tuple[int, str, str]]

NUMBERS = {"width": 24, "layers": 1, "heads": 4, "embed_width": 16}
CONFIG: dict[str, Any] = {
    "engine": 1,
    "name": "small",
    "model": {
        "embed_dim": 16,
        "vision": {"use": "openai_clip", "image_size": 16, "patch_size": 8, **NUMBERS},
        "text": {
            "use": "openai_clip", "vocab_size": 700, "max_tokens": 12, **NUMBERS,
            "tokenizer": {"use": "clip_bpe", "from": "scratch"},
        },
        "projection": {"vision": {"use": "identity"}, "text": {"use": "identity"}},
    },
    "data": {"train": {"use": "shapes", "size": 64}},
}  # fmt: skip


def write_config(**changes: Any) -> None:
    Path("small.yaml").write_text(yaml.safe_dump({**CONFIG, **changes}), encoding="utf-8")


@pytest.fixture
def built(engine: Engine) -> Engine:
    """An artifact in build/small."""
    write_config()
    code, _, err = engine("build", "small.yaml")
    assert code == 0, err
    return engine


def tensors(folder: str) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


@pytest.mark.slow
def test_onnx(built: Engine) -> None:
    pytest.importorskip("onnxruntime")
    code, out, err = built("export", "build/small", "--to", "onnx", "-o", "small-onnx")
    assert code == 0, err
    assert "vision: largest difference" in out
    assert "text: largest difference" in out
    assert "(1e-04 allowed)" in out
    assert out.endswith("written to small-onnx\n")
    assert "tokenizer.json gives other ids than Engine to 1 of the texts tried" in err
    names = {path.name for path in Path("small-onnx").iterdir()}
    assert names == {
        "vision.onnx", "text.onnx", "tokenizer.json", "preprocess.json", "preprocess.py",
        "export.json", "README.md",
        "pictures.zip", "classify.py", "engine_config.yaml", "engine_tokenizer.bin",
    }  # fmt: skip


@pytest.mark.slow
def test_int8_and_the_backend(built: Engine, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    gate = ("--min-cosine", "0.9", "--min-agreement", "0.1")
    export = ("export", "build/small", "--to", "onnx", "--int8")
    code, out, err = built(*export, *gate, "-o", "small-int8")
    assert code == 0, err
    assert "matrices in int8, mean cosine 0.9" in out
    code, out, err = built(*export, "--min-cosine", "1", "-o", "small-worse")
    assert code == 2, out
    assert "rounding hurts most in" in " ".join(err.split())
    assert not Path("small-worse").exists()
    Path("photos").mkdir()
    for number in range(3):
        Image.new("RGB", (20, 30), (80 * number, 200, 9)).save(f"photos/{number}.png")
    answers = {}
    for name, more in {
        "torch": ["build/small"],
        "float32": ["build/small", "--backend", "onnxruntime"],
        "int8": ["small-int8", "--threads", "1"],
    }.items():
        asked = (*more, "photos", "--classes", "кошка,собака", "-o", f"{name}.json")
        code, _, err = built("predict", *asked)
        assert code == 0, err
        answers[name] = json.loads(Path(f"{name}.json").read_text(encoding="utf-8"))
    assert Path("build/small-onnx/export.json").is_file()
    assert [len(each) for each in answers.values()] == [len(answers["torch"])] * 3
    code, out, err = built("index", "photos", "-m", "small-int8", "-o", "my.index", "--json")
    assert code == 0, err
    assert json.loads(out)["encoded"] == 3
    code, out, err = built("search", "my.index", "кошка", "--json")
    assert code == 0, err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--to", "clip", "--int8"], "`--int8` is for `--to onnx`"),
        (["--to", "onnx", "--per-tensor"], "add `--int8`"),
        (["--to", "onnx", "--texts", "t.txt"], "add `--int8`"),
        (["--to", "onnx", "--pictures", "photos"], "add `--int8`"),
    ],
)
def test_options_of_int8_that_have_no_meaning(
    engine: Engine, options: list[str], words: str
) -> None:
    code, _, err = engine("export", "nothing", *options)
    assert code == 2
    assert words in err


@pytest.mark.slow
def test_transformers_there_and_back(built: Engine) -> None:
    code, out, err = built("export", "build/small", "--to", "transformers", "--json")
    assert code == 0, err
    loaded = json.loads(out)
    assert loaded["class"] == "VisionTextDualEncoderModel"
    assert loaded["check"]["text"]["largest_difference"] < 1e-4
    folder = Path(loaded["folder"])
    assert folder == Path("build/small-transformers").absolute()
    code, _, err = built("import", folder, "--config", "small.yaml", "-o", "again")
    assert code == 0, err
    before, after = tensors("build/small"), tensors("again")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_refusal_says_what_to_do_instead(engine: Engine) -> None:
    projection = {"vision": {"use": "identity"}, "text": {"use": "residual"}}
    write_config(model={**CONFIG["model"], "projection": projection})
    assert engine("build", "small.yaml")[0] == 0
    code, out, err = engine("export", "build/small", "--to", "transformers", "-o", "out")
    assert (code, out) == (2, "")
    assert "the text projection (Residual) is not one matrix" in err
    assert "hint: `engine export --to onnx`" in err
    assert sorted(path.name for path in Path().iterdir()) == ["build", "small.yaml"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nothing", "--to", "clip", "-o", "out"], "nothing: no such folder"),
        (["build/small", "--to", "clip", "-o", "build/small"], "is an artifact, so it is not over"),
        (["build/small", "--to", "torch"], "'torch' is not one of"),
    ],
)
def test_bad_input(built: Engine, arguments: list[str], reason: str) -> None:
    code, _, err = built("export", *arguments)
    assert code == 2
    assert reason in err
    assert [path.name for path in Path("build").iterdir()] == ["small"]


def open_clips_own() -> Any:
    """A small model of open_clip, its weights at no special value."""
    torch.manual_seed(0)
    vision = {"width": 24, "layers": 1, "head_width": 6, "patch_size": 8, "image_size": 16}
    text = {"width": 24, "layers": 1, "heads": 4, "context_length": 12, "vocab_size": 700}
    model = open_clip.CLIP(16, vision, text, quick_gelu=True)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model.eval()


@pytest.mark.parametrize("file", ["epoch_3.pt", "hub/open_clip_model.safetensors"])
def test_open_clips_checkpoints(engine: Engine, file: str) -> None:
    """As its training writes one, and as a folder from the hub holds one."""
    write_config()
    model, path = open_clips_own(), Path(file)
    if path.suffix == ".pt":
        optimizer = torch.optim.AdamW(model.parameters())
        torch.save({"epoch": 3, "name": "small", "state_dict": model.state_dict(),
                    "optimizer": optimizer.state_dict()}, path)  # fmt: skip
    else:
        path.parent.mkdir()
        save_file({n: t.clone() for n, t in model.state_dict().items()}, path)
    what = path if path.suffix == ".pt" else path.parent
    code, out, err = engine("import", what, "--config", "small.yaml", "-o", "imported")
    assert code == 0, err
    assert "written to imported" in out
    ours = read_artifact("imported").model
    pixels = torch.randn(3, 3, 16, 16)
    ids = torch.randint(1, 698, (4, 12))
    ids[range(4), [11, 5, 8, 2]] = 699  # open_clip pools at the largest id
    mask = torch.arange(12) <= torch.tensor([[11], [5], [8], [2]])
    with torch.no_grad():
        images, texts = (model.encode_image(pixels, normalize=True),
                         model.encode_text(ids, normalize=True))  # fmt: skip
        torch.testing.assert_close(ours.encode_image(pixels), images, rtol=0, atol=1e-5)
        torch.testing.assert_close(ours.encode_text(ids, mask), texts, rtol=0, atol=1e-5)


def test_a_checkpoint_with_code_in_it_is_refused(engine: Engine) -> None:
    write_config()
    torch.save({"state_dict": open_clips_own().state_dict(), "run": print}, "epoch_3.pt")
    code, _, err = engine("import", "epoch_3.pt", "--config", "small.yaml", "-o", "imported")
    assert code == 2
    assert "could run code; refused" in err
    assert not Path("imported").exists()
