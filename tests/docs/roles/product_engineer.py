"""The product engineer: a model in a program, behind HTTP, under a limit."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from .statements import Role, Statement, World, of

STATEMENTS: list[Statement] = []


@of("README.md", STATEMENTS, "float32 [1, embed_dim], rows of length 1")
def in_a_program(world: World) -> None:
    world.write("program.py", """
import engine, numpy as np
from PIL import Image
model = engine.load("runs/photos")
vectors = model.encode_texts(["рыжий кот"])
assert vectors.dtype == np.float32 and vectors.ndim == 2 and len(vectors) == 1
assert vectors.shape[1] == model.config.model.embed_dim
assert abs(np.linalg.norm(vectors[0]) - 1) < 1e-5
path = "data/test/shapes/img/0.jpg"
with open(path, "rb") as file:
    found = [model.classify([each], ["красный круг", "синяя звезда"])[0][0] for each in
             (path, Image.open(path), file.read(), np.asarray(Image.open(path).convert("RGB")))]
assert len({each.name for each in found}) == 1, found
""")  # fmt: skip
    world.ok("python program.py")


@of(
    "docs/search.md",
    STATEMENTS,
    "A file that was moved, renamed or copied is recognised by its bytes and costs no computation.",
)
def moved(world: World) -> None:
    folder = next(p for p in world.path("data/test").rglob("img") if p.is_dir())
    first = next(iter(sorted(folder.iterdir())))
    first.rename(folder / "renamed.jpg")
    report = world.json("engine index data/test -o my.index")
    (folder / "renamed.jpg").rename(first)
    assert report["encoded"] == 0, report
    world.ok("engine index data/test -o my.index")


@contextlib.contextmanager
def service(world: World) -> Iterator[str]:
    """A service on a free port, ended by SIGTERM."""
    command = ["engine", "serve", "runs/photos", "--index", "my.index", "--port", "0"]
    process = subprocess.Popen(
        command, cwd=world.folder, env=dict(world.environment.variables), text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                break
        else:
            raise AssertionError("engine serve ended without an address")
        yield found[0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode in (0, 143), process.returncode


def post(url: str, body: Any) -> Any:
    """What the service answers."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


@of(
    "docs/serve.md",
    STATEMENTS,
    "A picture that cannot be read does not fail the others of a `classify` request: its entry has"
    " an `error` instead of answers.",
)
def served(world: World) -> None:
    picture = world.path("data/test/shapes/img/0.jpg").read_bytes()
    good = f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
    bad = f"data:image/jpeg;base64,{base64.b64encode(picture[:40]).decode()}"
    with service(world) as url:
        with urllib.request.urlopen(url, timeout=60) as answer:
            assert "<title>" in answer.read().decode()
        rows = post(f"{url}/v1/classify", {"images": [good, bad], "classes": ["круг", "звезда"]})
        assert "answers" in rows["data"][0], rows
        assert "error" in rows["data"][1], rows
        found = post(f"{url}/v1/search", {"texts": ["красный круг"]})
        assert found["data"], found
        vectors = post(f"{url}/v1/embeddings", {"input": ["a"], "dimensions": 4})
        assert len(vectors["data"][0]["embedding"]) == 4
        assert vectors["warnings"], "`dimensions` says nothing"
        for path in ("health", "ready", "metrics", "openapi.json", "v1/models"):
            with urllib.request.urlopen(f"{url}/{path}", timeout=60) as answer:
                assert answer.status == 200


@of(
    "docs/serve.md",
    STATEMENTS,
    "only called as localhost, so that no web page reaches it by a name of its own",
)
def only_localhost(world: World) -> None:
    with service(world) as url:
        request = urllib.request.Request(f"{url}/v1/models", headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match=r"40[03]|421"):
            urllib.request.urlopen(request, timeout=60)


@of(
    "docs/fit.md",
    STATEMENTS,
    "The result is never above the limit. The same command gives the same file.",
)
def fitted(world: World) -> None:
    whole = world.json("engine size runs/photos")["models"][0]["bytes"]
    limit = int(whole * 0.4)
    world.write("queries.txt", "красный круг\nсиняя звезда\nзелёный квадрат\n" * 10)
    command = f"engine fit runs/photos/model --limit {limit}B --texts queries.txt --budget 20"
    for name in ("one", "two"):
        world.ok(f"{command} -o build/{name}")
    one, two = (
        world.path(f"build/{name}/model.safetensors").read_bytes() for name in ("one", "two")
    )
    assert len(one) <= limit
    assert one == two
    world.ok(f"engine size build/one --limit {limit}B")


@of(
    "docs/fit.md",
    STATEMENTS,
    "A limit that cannot be met ends with exit code 1 and the smallest possible size",
)
def cannot_fit(world: World) -> None:
    said = world.fails(1, "engine fit runs/photos/model --limit 2kB --texts queries.txt --plan")
    assert re.search(r"smallest is [\d,]+ bytes", said), said


@of(
    "docs/int8.md",
    STATEMENTS,
    "An export is accepted wherever a model is (`engine predict`, `eval`, `index -m`, `serve`,"
    " `engine.load`, an `artifact:` of a bench's suite), with the same preprocessing, tokenizer,"
    " templates and answers.",
)
def exported(world: World) -> None:
    world.ok("engine export runs/photos --to onnx -o build/onnx")
    for name, model in (("torch", "runs/photos"), ("onnx", "build/onnx")):
        world.ok(f"engine predict {model} data/test -o {name}.json")
    assert json.loads(world.text("torch.json")) == json.loads(world.text("onnx.json"))
    world.ok("engine index data/test -m build/onnx -o onnx.index")
    assert world.json("engine search onnx.index круг --top 3")["hits"]


ROLE = Role("product_engineer", ["search.md"], STATEMENTS)
