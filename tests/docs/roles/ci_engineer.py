"""The CI engineer: sizes and limits in seconds, from five small packages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from .statements import ROOT, Role, Statement, World, of

STATEMENTS: list[Statement] = []
FIVE = ("pydantic", "pluggy", "PyYAML", "typer", "rich")


def needed(names: tuple[str, ...]) -> set[str]:
    """These distributions and what pip installs with them, as far as it is installed here."""
    found: set[str] = set()
    left = list(names)
    while left:
        name = re.sub(r"[-_.]+", "-", left.pop()).lower()
        try:
            wants = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        if name not in found:
            found.add(name)
            left += [
                re.split(r"[\s;<>=!~\[(]", each)[0] for each in wants if "extra ==" not in each
            ]
    return found


def light(world: World) -> Path:
    """A folder with Engine and the files of these packages alone; python sees nothing else."""
    folder = world.folder / "light"
    if not folder.exists():
        folder.mkdir()
        own = next((world.environment.folder / "lib").glob("python*/site-packages"))
        for name in ("engine", "engine_plugins"):
            (folder / name).symlink_to(own / name)
        (info,) = own.glob("engine_towers-*.dist-info")
        (folder / info.name).symlink_to(info)
        for name in needed(FIVE):
            for file in distribution(name).files or ():
                top = file.parts[0]
                there = Path(str(distribution(name).locate_file(top)))
                if top != ".." and there.exists() and not (folder / top).exists():
                    (folder / top).symlink_to(there)
    return folder


def engine(world: World, words: str, code: int = 0) -> str:
    """The stdout of an engine command in the light installation."""
    start = (
        f"import sys; sys.path.insert(0, {str(light(world))!r});"
        " from engine.cli.main import run; run()"
    )
    done = subprocess.run(
        ["bash", "-c", f'"$PYTHON" -S -I -c "$START" {words}'],
        env={"PYTHON": sys.executable, "START": start, "PATH": "/usr/bin:/bin", "COLUMNS": "120"},
        cwd=world.folder, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + (done.stderr if code else "")


@of(
    "docs/ci.md",
    STATEMENTS,
    "`engine size` counts bytes without building a model, so a CI needs five small packages and"
    " neither PyTorch nor numpy.",
)
def five_packages(world: World) -> None:
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    assert f"pip install {' '.join(FIVE)}\n" in page
    assert not (light(world) / "torch").exists()
    assert not (light(world) / "numpy").exists()
    engine(world, "size configs/*.yaml configs/tiny/*.yaml --limit 10GB")


@of(
    "docs/ci.md",
    STATEMENTS,
    "`engine plugins`, `engine schema` and `engine check --no-data` work in the same installation.",
)
def others(world: World) -> None:
    assert json.loads(engine(world, "plugins --json"))["broken"] == []
    assert "train" in json.dumps(json.loads(engine(world, "schema")))
    engine(world, "check --no-data configs/tiny/sber.yaml")


@of(
    "docs/ci.md",
    STATEMENTS,
    "the message then names the missing package.",
)
def missing_package(world: World) -> None:
    text = world.text("configs/tiny/organisers_baseline.yaml")
    world.write("unplanned.yaml", text.replace("arch: test_resnet", "arch: test_convnext"))
    said = " ".join(engine(world, "size unplanned.yaml", code=2).split())
    assert "needs the package torch" in said, said


@of(
    "docs/ci.md",
    STATEMENTS,
    "Exit code 0: every limit is kept; 1: one is not, and the message names the heaviest part; 2:"
    " bad input.",
)
def exit_codes(world: World) -> None:
    engine(world, "size configs/tiny/sber.yaml --limit 10MB")
    assert "text" in engine(world, "size configs/tiny/sber.yaml --limit 1MB", code=1)
    engine(world, "size configs/tiny/nowhere.yaml", code=2)


@of(
    "docs/ci.md",
    STATEMENTS,
    "A limit on the command line has a unit (`25MB`, `1GiB`, `800B`): `--limit 5` is refused.",
)
def units(world: World) -> None:
    for limit in ("25MB", "1GiB"):
        engine(world, f"size configs/tiny/sber.yaml --limit {limit}")
    engine(world, "size configs/tiny/sber.yaml --limit 800B", code=1)
    engine(world, "size configs/tiny/sber.yaml --limit 5", code=2)


@of(
    "docs/ci.md",
    STATEMENTS,
    "The Markdown is one table of the models, and a table of the parts that changed.",
)
def pull_request(world: World) -> None:
    world.write("last.json", engine(world, "size configs/tiny/sber.yaml --json"))
    changed = "configs/tiny/sber.yaml --base last.json --set model.embed_dim=64 --format md"
    found = engine(world, f"size {changed}")
    assert len(re.findall(r"^\|[-:| ]+\|$", found, re.MULTILINE)) == 2, found
    assert "text_projection" in found, found
    same = engine(world, "size configs/tiny/sber.yaml --base last.json --format md")
    assert len(re.findall(r"^\|[-:| ]+\|$", same, re.MULTILINE)) == 1, same


@of(
    "docs/ci.md",
    STATEMENTS,
    "each model has `path`, `kind` (`config`, `artifact`, `run` or `export`), `bytes`,"
    " `folder_bytes`, its limits and `base_bytes` (null for a model that is not in the base).",
)
def keys(world: World) -> None:
    both = "configs/tiny/sber.yaml configs/tiny/clip_bpe.yaml"
    found = json.loads(engine(world, f"size {both} --base last.json --json"))["models"]
    assert [each["kind"] for each in found] == ["config", "config"]
    for each in found:
        assert {"path", "kind", "bytes", "folder_bytes", "base_bytes", "limit"} <= set(each), each
    assert found[0]["base_bytes"] == found[0]["bytes"]
    assert found[1]["base_bytes"] is None


@of(
    "docs/ci.md",
    STATEMENTS,
    '`size.json` is what `https://img.shields.io/endpoint?url=...` reads: "model size 19.27 MB of'
    ' 25.00 MB", red where a limit is broken.',
)
def badge(world: World) -> None:
    small = "size configs/tiny/sber.yaml --format badge --limit"
    kept = json.loads(engine(world, f"{small} 10MB"))
    assert kept["schemaVersion"] == 1
    assert re.fullmatch(r"model size [\d.]+ MB of 10\.00 MB", f"{kept['label']} {kept['message']}")
    over = json.loads(engine(world, f"{small} 1MB | cat"))
    assert over["color"] == "red"
    assert kept["color"] != "red"


@of(
    ".github/actions/size/action.yml",
    STATEMENTS,
    "Fails where a model is heavier than its limit; says in the job's summary which part is"
    " largest.",
)
def action(world: World) -> None:
    import yaml

    steps = yaml.safe_load((ROOT / ".github/actions/size/action.yml").read_text())["runs"]["steps"]
    script = "\n".join(line for line in steps[0]["run"].splitlines() if "pip install" not in line)
    for limit, code in (("10MB", 0), ("1MB", 1)):
        done = world.environment.run(
            "env", "MODELS=configs/tiny/sber.yaml configs/tiny/clip_bpe.yaml", f"LIMIT={limit}",
            "BASE=", f"GITHUB_STEP_SUMMARY={world.path('summary.md')}",
            "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script, cwd=world.folder,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
    assert "the largest is `text`" in world.text("summary.md"), world.text("summary.md")


ROLE = Role("ci_engineer", [], STATEMENTS)
