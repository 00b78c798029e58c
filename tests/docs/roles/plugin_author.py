"""The plugin author: a package of one's own, at home in Engine."""

from __future__ import annotations

import re

from .statements import ROOT, Role, Statement, World, of

STATEMENTS: list[Statement] = []


@of(
    "docs/write-a-plugin.md",
    STATEMENTS,
    "Built-in plugins come in by the same door as yours. The kinds:",
)
def kinds(world: World) -> None:
    page = (ROOT / "docs" / "write-a-plugin.md").read_text(encoding="utf-8")
    table = page.partition("The kinds:")[2].partition("\n## ")[0]
    named = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    known = world.ok('python -c "from engine.contracts import KINDS; print(*KINDS)"').split()
    assert named == set(known), named ^ set(known)


@of(
    "docs/write-a-config.md",
    STATEMENTS,
    "All of them are reported at once, each with file, line, column and the nearest right name:",
)
def mistakes(world: World) -> None:
    world.write(
        "wrong.yaml",
        "engine: 1\nname: wrong\nmodel:\n  embed_dim: 0\n  vision: {use: small_vitt}\n"
        "  text: {use: bpe_transformer, vocabsize: 1000}\n"
        "  projection: {vision: linear, text: linear}\n",
    )
    found = world.fails(2, "engine size wrong.yaml", "small_vit", "vocab_size")
    for place in ("wrong.yaml:4:", "wrong.yaml:5:", "wrong.yaml:6:"):
        assert place in found, found


@of("docs/write-a-config.md", STATEMENTS, "Nothing in a config is ever imported or run")
def nothing_runs(world: World) -> None:
    world.write(
        "hostile.yaml",
        "engine: 1\nname: hostile\nmodel:\n  embed_dim: 8\n"
        "  vision: {use: !!python/object/apply:os.system ['touch ran']}\n"
        "  text: {use: os.system}\n  projection: {vision: linear, text: linear}\n",
    )
    world.fails(2, "engine size hostile.yaml")
    assert not world.path("ran").exists()


@of(
    "docs/write-a-plugin.md",
    STATEMENTS,
    "`engine --help` lists it by the summary that it is registered with",
)
def command(world: World) -> None:
    world.ok("engine plugin new engine-my-report --kind command")
    world.ok("pip install ./engine-my-report")
    listed = world.ok("engine --help")
    line = next(line for line in listed.splitlines() if line.strip().startswith("my_report"))
    module = world.text("engine-my-report/src/engine_my_report/__init__.py")
    summary = line.strip().removeprefix("my_report").strip()
    assert summary, line
    assert summary in module, (line, module)
    world.ok("engine my_report --help")


@of(
    "docs/write-a-plugin.md",
    STATEMENTS,
    "It is read before any code of the package runs: a package that needs another version is"
    " listed as broken, with what to upgrade, and harms nothing.",
)
def another_version(world: World) -> None:
    world.ok("engine plugin new engine-later --kind loss")
    start = "engine-later/src/engine_later/__init__.py"
    later = re.sub(r'ENGINE_API = "[^"]+"', 'ENGINE_API = "9.0"', world.text(start))
    world.write(start, f'{later}\nraise SystemExit("its code ran")\n')
    world.ok("pip install ./engine-later")
    (broken,) = world.json("engine plugins")["broken"]
    assert "engine-later" in str(broken), broken
    assert "9.0" in str(broken), broken
    world.ok("engine size configs/tiny/sber.yaml")
    world.ok("pip uninstall --yes engine-later engine-my-report")
    assert world.json("engine plugins")["broken"] == []


@of(
    "docs/write-a-plugin.md",
    STATEMENTS,
    "`description=` of a field is what people read:",
)
def described(world: World) -> None:
    found = world.ok("engine explain model.text.gpt3small.width")
    assert "example:" in found, found
    assert "default:" in found or "required" in found, found


ROLE = Role("plugin_author", ["write-a-plugin.md"], STATEMENTS)
