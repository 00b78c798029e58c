"""Go through Engine in five roles, and stop at the first statement of the docs that is not true.

    python -m tests.docs.roles [ROLE ...]        # or: make roles

In a clean environment with the wheel of Engine, as in ``tests/scaffold/environment.py``. Each role
reads its pages: their blocks are run in order, and then single sentences are checked.
"""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from ...scaffold.environment import ROOT, Environment, make
from ..blocks import PREPARATIONS, copy_configs, do, nothing
from ..pages import blocks_of
from . import ci_engineer, contest_participant, plugin_author, product_engineer, researcher
from .statements import Role, World

ROLES = {
    role.name: role
    for role in (
        contest_participant.ROLE, plugin_author.ROLE, ci_engineer.ROLE, product_engineer.ROLE,
        researcher.ROLE,
    )
}  # fmt: skip


def play(role: Role, environment: Environment, folder: Path, say: Callable[[str], None]) -> None:
    """Read a role's pages and check its statements.

    Raises:
        AssertionError: of the first block or statement that is not true.
    """
    world = World(environment, folder, folder / "where")
    folder.mkdir(parents=True, exist_ok=True)
    for page in role.pages:
        world.folder = folder / page.replace("/", "-").removesuffix(".md")
        copy_configs(world.folder / "configs")
        blocks = [block for block in blocks_of(ROOT / "docs" / page) if not block.left_out]
        say(f"{role.name} reads docs/{page}, {len(blocks)} blocks")
        with PREPARATIONS.get(page, nothing)(environment, world.folder):
            for block in blocks:
                world.folder = do(block, page, environment, world.folder, world.where)
    if not role.pages:
        world.folder = folder
        if role.configs:
            copy_configs(folder / "configs")
    for statement in role.statements:
        say(f"{role.name}: {statement.page}: {statement.says}")
        statement.quoted()
        statement.check(world)


def main() -> int:
    """Play the roles that are named, or all of them; the exit code."""
    names = sys.argv[1:] or list(ROLES)
    if unknown := [name for name in names if name not in ROLES]:
        print(f"there is no role {unknown[0]!r}; there are: {', '.join(ROLES)}", file=sys.stderr)
        return 2
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="engine-roles-") as temporary:
        folder = Path(temporary)
        print("a clean environment with the wheel ...", flush=True)
        environment = make(folder / "venv")
        for name in names:
            try:
                play(ROLES[name], environment, folder / name, lambda line: print(line, flush=True))
            except AssertionError as error:
                traceback.print_exc(limit=-2)
                print(f"\nnot true, in the role {name}:\n{error}", file=sys.stderr)
                return 1
    count = sum(len(ROLES[name].statements) for name in names)
    seconds = time.monotonic() - started
    print(f"{len(names)} roles, {count} statements, all true; {seconds:.0f} seconds")
    return 0


if __name__ == "__main__":
    sys.exit(main())
