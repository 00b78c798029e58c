"""The example program of an export: ``python classify.py PICTURE.jpg NAME NAME ...``.

It reads pictures with Engine's own code (``pictures.zip``, ``preprocess.py``), puts the names into
the model's templates, cuts texts where Engine cuts them and prints Engine's probabilities. What
computes the two towers is the library that the export is for.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.contracts.preprocess import PortablePreprocess, Preprocess
from engine.exchange.preparation import write_preparation

PROGRAM = "classify.py"

_ONNX = """\
import onnxruntime
from tokenizers import Tokenizer
"""
_ONNX_TOWERS = """\
vision = onnxruntime.InferenceSession("vision.onnx", providers=["CPUExecutionProvider"])
text = onnxruntime.InferenceSession("text.onnx", providers=["CPUExecutionProvider"])
tokenizer = Tokenizer.from_file("tokenizer.json")
tokenizer.encode_special_tokens = True  # a mark that a text spells out is text


def encode_image(pixels):
    \"\"\"[1, 3, S, S] float32 -> [1, J], a row of length 1.\"\"\"
    return vision.run(None, {"pixels": pixels})[0]


def encode_texts(texts):
    \"\"\"[N] texts -> [N, J]$LENGTH.\"\"\"
    rows = tokenizer.encode_batch(texts)
    ids = np.array([row.ids for row in rows], dtype=np.int64)
    mask = np.array([row.attention_mask for row in rows], dtype=bool)
    outputs = text.run(None, {"ids": ids, "mask": mask})
    return $RESULT
"""
_TRANSFORMERS = """\
import torch
import transformers
"""
_TRANSFORMERS_TOWERS = """\
model = transformers.$CLASS.from_pretrained(".", local_files_only=True).eval()
tokenizer = transformers.AutoTokenizer.from_pretrained(".", local_files_only=True)


def encode_image(pixels):
    \"\"\"[1, 3, S, S] float32 -> [1, J], a row of length 1.\"\"\"
    with torch.no_grad():
        found = model.get_image_features(pixel_values=torch.from_numpy(pixels)).pooler_output
    return unit(found.numpy())


def encode_texts(texts):
    \"\"\"[N] texts -> [N, J]$LENGTH.\"\"\"
    inputs = tokenizer(texts, padding=$PADDING, truncation=True, return_tensors="pt")
    with torch.no_grad():
        found = model.get_text_features(**inputs).pooler_output
    return $RESULT
"""
_OPEN_CLIP = """\
import open_clip
import torch
"""
_OPEN_CLIP_TOWERS = """\
model = open_clip.create_model("local-dir:.").eval()
tokenizer = open_clip.get_tokenizer("local-dir:.")


def encode_image(pixels):
    \"\"\"[1, 3, S, S] float32 -> [1, J], a row of length 1.\"\"\"
    with torch.no_grad():
        return unit(model.encode_image(torch.from_numpy(pixels)).numpy())


def encode_texts(texts):
    \"\"\"[N] texts -> [N, J]$LENGTH.\"\"\"
    with torch.no_grad():
        found = model.encode_text(tokenizer(texts))
    return $RESULT
"""
_WHOLE = '''\
import json
import os
import sys

import numpy as np
$IMPORTS
start = os.getcwd()
os.chdir(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.abspath("pictures.zip"), os.getcwd()]
from pictures.reader import decode
from preprocess import prepare

about = json.load(open("export.json", encoding="utf-8"))
picture = json.load(open("preprocess.json", encoding="utf-8"))


def unit(rows):
    """[N, J] -> the same, rows of length 1."""
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


$TOWERS

def class_vectors(names):
    """Names of classes -> [C, J]: the mean over the templates."""
    templates = about["zero_shot"]["templates"]
    if about["zero_shot"]["lower"]:
        names = [name.lower().strip() for name in names]
    found = encode_texts([t.replace("{}", name) for name in names for t in templates])
    return unit(found.reshape(len(names), len(templates), -1).mean(axis=1))


names = sys.argv[2:]
with open(os.path.join(start, sys.argv[1]), "rb") as file:
    pixels = prepare(decode(file.read()).image, picture)[None]
logits = about["scale"] * encode_image(pixels) @ class_vectors(names).T
chances = np.exp(logits - logits.max(axis=-1, keepdims=True))
chances /= chances.sum(axis=-1, keepdims=True)
for name, chance in zip(names, chances[0]):
    print(f"{chance:.4f} {name}")
'''


def program(manifest: Mapping[str, Any]) -> str:
    """The program of an export.

    Args:
        manifest: of the export: what it is for, the class of the model, the mean over templates.
    """
    raw = manifest["zero_shot"]["average"] == "raw"
    if manifest["to"] == "onnx":
        imports, towers = _ONNX, _ONNX_TOWERS
        result = "outputs[0] * outputs[1][:, None]" if raw else "outputs[0]"
    else:
        for_open_clip = manifest["to"] == "open_clip"
        imports, towers = (
            (_OPEN_CLIP, _OPEN_CLIP_TOWERS) if for_open_clip
            else (_TRANSFORMERS, _TRANSFORMERS_TOWERS)
        )  # fmt: skip
        result = "found.numpy()" if raw else "unit(found.numpy())"
    length = ", as long as the model made them" if raw else ", rows of length 1"
    towers = towers.replace("$RESULT", result).replace("$LENGTH", length)
    towers = towers.replace("$CLASS", str(manifest.get("class")))
    towers = towers.replace("$PADDING", repr(manifest.get("padding")))
    return _WHOLE.replace("$IMPORTS", imports).replace("$TOWERS", towers)


def write_program(preprocess: Preprocess, folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Write the program and what it reads pictures with.

    Returns:
        ``False``, and nothing is written, where the tower's preparation of pictures has no program
        or the tokenizer is one that only Engine reads.

    Raises:
        WeightsError: the preparation's program gives other numbers than the tower's own.
    """
    if not isinstance(preprocess, PortablePreprocess) or manifest["tokenizer"]["library"] is None:
        return False
    write_preparation(preprocess, folder)
    (folder / PROGRAM).write_text(program(manifest), encoding="utf-8")
    return True
