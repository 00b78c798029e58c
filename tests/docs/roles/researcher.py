"""The researcher: trainings that can be repeated, differences that are real, a paper's table."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import time

from .statements import Role, Statement, World, of

STATEMENTS: list[Statement] = []


def weights(world: World, model: str) -> str:
    """The digest of a model's weights."""
    return hashlib.sha256(world.path(f"{model}/model.safetensors").read_bytes()).hexdigest()


@of(
    "docs/results.md",
    STATEMENTS,
    "On the same machine with the same number of threads the numbers are equal.",
)
def repeated(world: World) -> None:
    assert weights(world, "runs/one/model") == weights(world, "runs/again/model")


@of(
    "docs/results.md",
    STATEMENTS,
    "`--json` holds them as `metrics: {name: {value, low, high}}`, by data set and over all.",
)
def as_json(world: World) -> None:
    found = world.json("engine eval --predictions one.json --truth data/test/gt.json")
    for held in (found, *found["datasets"]):
        for value in held["metrics"].values():
            assert {"value", "low", "high"} <= set(value), value


@of(
    "docs/results.md",
    STATEMENTS,
    "What was measured is not measured again, as long as everything that it follows from is the"
    " same",
)
def kept(world: World) -> None:
    before = {p: p.stat().st_mtime_ns for p in world.path("build/bench/mine/results").iterdir()}
    world.ok("engine bench suite.yaml -o paper.tex -o paper.csv --figures figures")
    after = {p: p.stat().st_mtime_ns for p in world.path("build/bench/mine/results").iterdir()}
    assert before == after
    assert r"\toprule" in world.text("paper.tex")
    assert world.text("paper.csv").count("\n") >= 4


@of(
    "docs/results.md",
    STATEMENTS,
    "`--figures DIR` writes the figures of a paper, each as SVG and PDF",
)
def figures(world: World) -> None:
    names = {path.name for path in world.path("figures").iterdir()}
    assert {"bytes.svg", "bytes.pdf"} <= names, names
    for path in world.path("figures").iterdir():
        assert path.read_bytes()[:4] in (b"%PDF", b"<?xm"), path


@of(
    "docs/results.md",
    STATEMENTS,
    "A killed run goes on; an entry that fails is a row with its error.",
)
def failing(world: World) -> None:
    suite = world.text("suite.yaml").replace("name: mine", "name: failing")
    entry = "  - {name: gone, artifact: nowhere}\n"
    suite = suite.replace("entries:\n", f"entries:\n{entry}")
    kept = [line for line in suite.splitlines() if "config:" not in line]
    world.write("failing.yaml", "\n".join(kept) + "\n")
    quick = "--set measure.speed=false"
    found = world.json(f"engine bench failing.yaml {quick}")
    rows = {row["entry"]: row for row in found["rows"]}
    assert rows["gone"]["failed"], rows["gone"]
    assert rows["one"]["metrics"]["accuracy"]
    world.fails(1, f"engine bench failing.yaml --strict {quick}")


@of(
    "docs/training.md",
    STATEMENTS,
    "Wherever a command, a suite, a config or Python takes a model, it takes a run and any of its"
    " checkpoints by name:",
)
def checkpoints(world: World) -> None:
    world.ok("engine size runs/one@last")
    world.ok("engine predict runs/one@last data/test -o last.json")
    assert json.loads(world.text("last.json")) == json.loads(world.text("one.json"))
    world.ok("""python -c 'import engine; engine.load("runs/one@last")'""")
    said = world.fails(2, "engine size runs/one@9999")
    assert "last" in said, said


@of(
    "docs/training.md",
    STATEMENTS,
    "`engine train CONFIG -o runs/a --resume` goes on to the same weights, bit for bit, that an"
    " undisturbed run has.",
)
def resumed(world: World) -> None:
    given = "configs/tiny/clip_bpe.yaml --set train.stages.0.epochs=30 --set data.train.count=400"
    world.ok(f"engine train {given} -o runs/whole")
    command = ["engine", "train", *given.split(), "-o", "runs/stopped"]
    process = subprocess.Popen(
        command, cwd=world.folder, env=dict(world.environment.variables),
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    history = world.path("runs/stopped/history.jsonl")
    while process.poll() is None:
        if history.is_file() and history.read_text().count('"loss"') >= 2:
            process.send_signal(signal.SIGTERM)
            break
        time.sleep(0.05)
    said = process.communicate()[1]
    assert process.returncode == 143, f"{process.returncode}: {said}"
    assert "--resume" in said, said
    world.ok(f"engine train {given} -o runs/stopped --resume")
    assert weights(world, "runs/whole/model") == weights(world, "runs/stopped/model")


SWEEP = """
engine: 1
name: rates
config: configs/tiny/clip_bpe.yaml
set: {train.stages.0.epochs: 3, data.train.count: 200}
keys:
  train.stages.0.optimizer.lr: [1.0e-9, 2.0e-3]
  model.embed_dim: [32, 4096]
limit: 5 MB
halving: {rungs: 2, factor: 2, finalists: 1}
"""


@of(
    "docs/training.md",
    STATEMENTS,
    "A trial over the limit is refused by its exact bytes, before anything is trained.",
)
def swept(world: World) -> None:
    world.write("sweep.yaml", SWEEP)
    planned = world.json("engine sweep sweep.yaml --plan")["trials"]
    assert [row["status"] for row in planned].count("refused") == 2, planned
    assert not world.path("build/sweeps/rates/trials").exists()
    found = world.json("engine sweep sweep.yaml")
    assert found["trained_steps"] < found["steps_of_all"], found
    trained = [path.name for path in world.path("build/sweeps/rates/trials").iterdir()]
    assert len(trained) == 2, trained
    world.ok("engine size build/sweeps/rates/best.yaml --limit 5MB")


@of(
    "docs/training.md",
    STATEMENTS,
    "everything that was measured; `engine show runs/a` draws it",
)
def shown(world: World) -> None:
    world.ok("engine show runs/one runs/two --html curves.html")
    page = world.text("curves.html")
    assert "chance" in page
    assert "<svg" in page


ROLE = Role("researcher", ["results.md"], STATEMENTS)
