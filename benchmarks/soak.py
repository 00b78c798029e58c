"""Commands killed at random moments, then given again: same result, no leftovers, no dead end.

    python benchmarks/soak.py [--kills 200] [--seed 0] [--only build] [--json]

Each command runs in a process of its own and is ended by SIGKILL (some by SIGTERM) at a random
moment, one to three times in a row. Then the same command is given until it is done: what it says
about `--resume` is followed. What comes out must equal what an undisturbed run gives, nothing
temporary may be left, and no process that it started may go on.

Half of the runs are in a PID namespace of their own, as in a container, where process numbers come
back and where nothing survives the first process. That needs Linux and the right to make one; where
there is none, all kills are made without, and it says so.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from soak_commands import COMMANDS, Command, prepare, serve, write_inputs
from soak_process import start

_MARK = "ENGINE_SOAK"
_TEMPORARY = (".tmp", ".old", ".lock", "lock")
_TURNS = 4
"""Times that the same command may be needed after a kill."""


@dataclass
class Count:
    """What was seen of one command."""

    kills: int = 0
    terms: int = 0
    in_namespace: int = 0
    too_late: int = 0
    resumed: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


class Soak:
    """Kills and their consequences.

    Args:
        work: an empty folder.
        seed: of every choice.
        namespace: whether half of the runs are in a PID namespace.
    """

    def __init__(self, work: Path, seed: int, *, namespace: bool) -> None:
        self.work, self.chance, self.namespace = work, random.Random(seed), namespace
        self.inputs = work / "inputs"
        self.log = work / "log.txt"
        self.expected: dict[str, str] = {}
        self.usual: dict[str, float] = {}
        os.environ[_MARK] = str(work)

    def arguments(self, command: Command, out: Path) -> list[str]:
        """A command's arguments with its folders."""
        return [part.format(inputs=self.inputs, out=out) for part in command.given]

    def run(self, arguments: list[str], *, namespace: bool = False) -> tuple[int, str]:
        """Run a command undisturbed; exit code and what it said."""
        self.log.unlink(missing_ok=True)
        code = start(arguments, self.log, namespace=namespace).wait(600)
        said = self.log.read_text(errors="replace") if self.log.exists() else ""
        if code is None:
            raise RuntimeError(f"{' '.join(arguments)} does not come to an end")
        return code, said

    def measure(self, command: Command) -> None:
        """What an undisturbed run gives, and how long it takes."""
        with self._place(command, prepare_old=False) as out:
            started = time.monotonic()
            code, said = self.run(self.arguments(command, out))
            if code != 0:
                raise RuntimeError(f"{command.name} fails without any kill: {said[-2000:]}")
            self.usual[command.name] = time.monotonic() - started
            self.expected[command.name] = command.result(out)

    @contextlib.contextmanager
    def _place(self, command: Command, *, prepare_old: bool) -> Iterator[Path]:
        place = self.work / "place"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        temporary = self.work / "tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        tempfile.tempdir = None
        os.environ["TMPDIR"] = str(temporary)
        out = place / "out"
        prepare(command, self.inputs, out)
        if prepare_old and command.old:
            arguments = [part for part in self.arguments(command, out) if part != "--force"]
            code, said = self.run([*arguments, *command.old])
            if code != 0:
                raise RuntimeError(f"{command.name}, the old result: {said[-2000:]}")
        yield out

    def round(self, command: Command, count: Count, maximum: int) -> None:
        """Kill a command one to three times, then bring it to its end."""
        namespace = self.namespace and self.chance.random() < 0.5
        with self._place(command, prepare_old=self.chance.random() < 0.7) as out:
            arguments = self.arguments(command, out)
            for _ in range(min(maximum, self.chance.choice((1, 1, 1, 2, 3)))):
                if not self._kill(command, self._next(command, arguments, out), count, namespace):
                    break
            self._finish(command, arguments, out, count, namespace)
            self._judge(command, out, count)

    def _next(self, command: Command, arguments: list[str], out: Path) -> list[str]:
        """What a careful user gives after a kill: `--resume` where a run has begun."""
        if command.resume and "--force" not in arguments and (out / "config.yaml").exists():
            return [*arguments, "--resume"]
        return arguments

    def _kill(self, command: Command, arguments: list[str], count: Count, namespace: bool) -> bool:
        """Start it and end it at a random moment; whether it was still running."""
        number = signal.SIGTERM if self.chance.random() < 0.2 else signal.SIGKILL
        process = start(arguments, self.log, namespace=namespace)
        code = process.wait(self.chance.uniform(0, 1.05 * self.usual[command.name]))
        if code is not None:
            count.too_late += 1
            return False
        code = process.end(number)
        if number == signal.SIGTERM and code not in (0, 143, -15):
            count.faults.append(f"SIGTERM ended it with code {code}: {self._said()}")
        count.kills += 1
        count.terms += number == signal.SIGTERM
        count.in_namespace += namespace
        return True

    def _finish(
        self, command: Command, arguments: list[str], out: Path, count: Count, namespace: bool
    ) -> None:
        more: list[str] = []
        for _ in range(_TURNS):
            code, said = self.run([*arguments, *more], namespace=namespace)
            if "Traceback" in said:
                count.faults.append(f"a traceback: {said[-1500:]}")
            if code == 0:
                return
            if command.resume and "`--resume` goes on" in said and not more:
                arguments, more = [a for a in arguments if a != "--force"], ["--resume"]
                count.resumed += 1
                continue
            break
        count.faults.append(f"a dead end, exit code {code}: {said[-1500:]}")

    def _judge(self, command: Command, out: Path, count: Count) -> None:
        if count.faults:
            return
        try:
            found = command.result(out)
        except (OSError, ValueError, KeyError) as error:
            count.faults.append(f"no whole result: {error}")
            return
        if found != self.expected[command.name]:
            count.faults.append("another result than an undisturbed run")
        left = [p.relative_to(self.work).as_posix() for p in self._all() if _temporary(p)]
        if left:
            count.faults.append(f"left over: {', '.join(left[:5])}")
        alive = orphans(self.work)
        if alive:
            count.faults.append(f"processes that go on: {alive}")

    def _all(self) -> Iterator[Path]:
        yield from (self.work / "place").rglob("*")
        yield from (self.work / "tmp").iterdir()

    def _said(self) -> str:
        return self.log.read_text(errors="replace")[-1000:]


def _temporary(path: Path) -> bool:
    if path.parent.name == "tmp":  # others put caches there (torch's compiler, onnxruntime)
        return "engine" in path.name and path.name.endswith(_TEMPORARY)
    if {"cache", "features"} & {*path.parts}:  # the store of features keeps the files of its locks
        return path.name.endswith((".tmp", ".old"))
    return path.name.startswith(".") or path.name.endswith(_TEMPORARY)


def orphans(work: Path, seconds: float = 15.0) -> list[int]:
    """Processes of this soak that have not ended some seconds later."""
    mark = f"{_MARK}={work}".encode()
    until = time.monotonic() + seconds
    while True:
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.1)


def can_isolate(work: Path) -> bool:
    """Whether this user may make PID namespaces here."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        return start(["--version"], work / "log.txt", namespace=True).wait(120) == 0
    except RuntimeError:
        return False


@contextlib.contextmanager
def server() -> Iterator[int]:
    """A server of pictures in a process of its own; gives its port."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        try:
            serve(lambda port: os.write(write, b"%d\n" % port) and None)
        finally:
            os._exit(0)
    os.close(write)
    try:
        with os.fdopen(read) as caught:
            yield int(caught.readline())
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def shares(kills: int, only: str | None) -> dict[str, int]:
    """How many kills each command gets."""
    chosen = [command for command in COMMANDS if only in (None, command.name)]
    if not chosen:
        raise SystemExit(f"--only is one of: {', '.join(c.name for c in COMMANDS)}")
    whole = sum(command.share for command in chosen)
    found = {command.name: kills * command.share // whole for command in chosen}
    for command in chosen[: kills - sum(found.values())]:
        found[command.name] += 1
    return found


def soak(
    work: Path, kills: int, seed: int, only: str | None = None, *, isolate: bool = True
) -> tuple[dict[str, Count], bool]:
    """Kill commands ``kills`` times; counts of each, and whether PID namespaces were used."""
    _import_everything()
    wanted = shares(kills, only)
    namespace = isolate and can_isolate(work)
    counts: dict[str, Count] = {}
    with server() as port:
        it = Soak(work, seed, namespace=namespace)
        write_inputs(it.inputs, port)
        _build_inputs(it, foreign=bool(wanted.get("import")))
        for command in COMMANDS:
            if not wanted.get(command.name):
                continue
            count = counts[command.name] = Count()
            started = time.monotonic()
            it.measure(command)
            rounds = 0
            while count.kills < wanted[command.name] and rounds < 5 * wanted[command.name] + 5:
                rounds += 1
                it.round(command, count, wanted[command.name] - count.kills)
                if count.faults:
                    break
            count.seconds = time.monotonic() - started
            print(line(command.name, count), file=sys.stderr, flush=True)
    return counts, namespace


def _build_inputs(it: Soak, *, foreign: bool) -> None:
    """A model to export, and another program's form of one to import."""
    inputs = it.inputs
    given = [["build", f"{inputs}/little.yaml", "-o", f"{inputs}/model"]]
    if foreign:
        given += [
            ["build", f"{inputs}/clip.yaml", "-o", f"{inputs}/clip_model"],
            ["export", f"{inputs}/clip_model", "--to", "clip", "-o", f"{inputs}/clip"],
        ]
    for arguments in given:
        code, said = it.run(arguments)
        if code != 0:
            raise RuntimeError(said)


def _import_everything() -> None:
    """Once, before the forks: a start costs seconds otherwise. No thread may be running."""
    import torch

    import engine.bench.run
    import engine.cli.main
    import engine.clusters.place
    import engine.data.download.run
    import engine.data.text.clean
    import engine.exchange.importing
    import engine.exchange.onnx
    import engine.train.run  # noqa: F401

    torch.set_num_threads(1)


def line(name: str, count: Count) -> str:
    """A row for people."""
    message = f"{name}: {count.kills} kills ({count.terms} SIGTERM, {count.in_namespace} in a PID"
    message += f" namespace), {count.resumed} by --resume, {count.seconds:.0f} s"
    return message + "".join(f"\n  FAULT: {fault}" for fault in count.faults)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="one command")
    parser.add_argument("--no-namespace", action="store_true", help="no PID namespaces")
    parser.add_argument("--json", action="store_true", help="the last line is JSON")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="engine-soak-") as work:
        counts, namespace = soak(
            Path(work), chosen.kills, chosen.seed, chosen.only, isolate=not chosen.no_namespace
        )
    faults = sum(len(count.faults) for count in counts.values())
    total: Counter[str] = Counter()
    for count in counts.values():
        total.update(kills=count.kills, sigterm=count.terms, in_namespace=count.in_namespace,
                     resumed=count.resumed)  # fmt: skip
    if not namespace and not chosen.no_namespace:
        print("no PID namespace can be made here: every kill was made without", file=sys.stderr)
    print(f"{total['kills']} kills ({total['in_namespace']} in a PID namespace), {faults} faults")
    if chosen.json:
        rows = {name: vars(count) for name, count in counts.items()}
        print(json.dumps({**total, "namespace": namespace, "faults": faults, "commands": rows}))
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
