"""Workers on a Ray cluster: all of them get their place, or none; the first error ends them all.

Knows nothing of training: it starts actors, waits for their answers, and never waits without end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import EngineError, TrainingError

Outcome = dict[str, Any]
"""What a worker comes back with; ``error`` and ``hint`` where an error of ours ended it, and
``follows`` where it ended only because another one did."""

PATIENCE = 25.0
"""Seconds that a cluster has to give all workers their place."""

_START = 300.0
"""Seconds that a worker has to import PyTorch: the first one on a machine may be slow."""

_GRACE = 15.0
"""Seconds that the others have to finish after the first error: one of them may be saving, or know
the reason."""


@dataclass(frozen=True)
class Need:
    """What a worker takes of the cluster.

    Attributes:
        cpus: processor cores.
        gpus: GPUs.
    """

    cpus: int = 1
    gpus: int = 0

    @property
    def bundle(self) -> dict[str, float]:
        """As Ray has it."""
        found = {"CPU": float(self.cpus)}
        return found | {"GPU": float(self.gpus)} if self.gpus else found

    def __str__(self) -> str:
        gpus = f" and {self.gpus} GPU" if self.gpus else ""
        return f"{self.cpus} CPU{gpus}"


class Workers:
    """Actors, one for each place of a placement group. Used in a ``with``: they end with it.

    Args:
        ray: the module.
        actor: the class of the actors.
        count: how many.
        need: of each.
        patience: seconds to wait for their places.

    Raises:
        TrainingError: (in the ``with``) the cluster has no room for them; says what is missing.
    """

    def __init__(
        self, ray: Any, actor: type, count: int, need: Need, *, patience: float = PATIENCE
    ) -> None:
        self._ray, self._actor, self._need = ray, actor, need
        self.count, self._patience = count, patience
        self.actors: list[Any] = []
        self._group: Any = None

    def __enter__(self) -> Workers:
        util = self._ray.util
        try:
            self._place()
            strategy = util.scheduling_strategies.PlacementGroupSchedulingStrategy
            remote = self._ray.remote(num_cpus=self._need.cpus, num_gpus=self._need.gpus)
            self.actors = [
                remote(self._actor)
                .options(
                    scheduling_strategy=strategy(self._group, placement_group_bundle_index=number)
                )
                .remote()
                for number in range(self.count)
            ]
        except BaseException:
            self.__exit__()
            raise
        return self

    def _place(self) -> None:
        util = self._ray.util
        missing = self._missing(self._ray.cluster_resources())
        if missing and not os.environ.get("RAY_ADDRESS"):  # no machine will join our own cluster
            raise self._no_room(missing)
        bundles = [self._need.bundle] * self.count
        self._group = util.placement_group(bundles, strategy="PACK")
        if not self._group.wait(self._patience):
            raise self._no_room(missing or self._missing(self._ray.available_resources()))

    def _missing(self, there: Mapping[str, float]) -> list[str]:
        """What a cluster of these resources lacks, in words."""
        return [
            f"{self.count * wanted:g} {name} {'are' if self.count > 1 else 'is'} needed,"
            f" {there.get(name, 0):g} {'is' if there.get(name, 0) == 1 else 'are'} there"
            for name, wanted in self._need.bundle.items()
            if there.get(name, 0) < self.count * wanted
        ]

    def _no_room(self, missing: Sequence[str]) -> TrainingError:
        what = "; ".join(missing) or "what is free lies on several machines in too small pieces"
        return TrainingError(
            f"Ray has no room for {self.count} workers of {self._need} each: {what}",
            hint="fewer `--workers`, or a cluster with more (`RAY_ADDRESS` names it); `ray status`"
            " shows what is in use",
        )

    def first(self, call: Callable[[Any], Any]) -> Any:
        """What the first worker answers to a short call.

        Raises:
            TrainingError: it fails, or does not answer.
        """
        try:
            return self._ray.get(call(self.actors[0]), timeout=_START)
        except self._ray.exceptions.GetTimeoutError as error:
            raise TrainingError(
                f"the first worker on Ray did not start within {_START:.0f} seconds",
                hint="`ray status` and `ray logs` show why",
            ) from error
        except self._ray.exceptions.RayError as error:
            raise failure(error) from error

    def together(
        self, call: Callable[[int, Any], Any], *, grace: float = _GRACE, tick: float = 1.0
    ) -> list[Outcome]:
        """Call all workers at once and wait for their answers; the first error ends them all.

        Args:
            call: gives the ticket of a worker's call, of its number and the worker.
            grace: seconds that the others have after the first error.
            tick: seconds between two looks, so that Ctrl-C is heard.

        Returns:
            The answers, worker by worker.

        Raises:
            EngineError: the first error; one of ours, which has the reason, before that a worker
                died, and that before what the others say of a connection that was closed.
        """
        tickets = [call(number, actor) for number, actor in enumerate(self.actors)]
        answers: dict[Any, Outcome] = {}
        failures: list[tuple[int, EngineError]] = []
        waiting, until = list(tickets), float("inf")
        while waiting and time.monotonic() < until:
            ready, waiting = self._ray.wait(waiting, timeout=min(tick, grace))
            for ticket in ready:
                answer = self._answer(ticket)
                if isinstance(answer, tuple):
                    failures.append(answer)
                    until = min(until, time.monotonic() + grace)
                else:
                    answers[ticket] = answer
        if failures:
            raise min(failures, key=lambda failure: failure[0])[1]
        return [answers[ticket] for ticket in tickets]

    def _answer(self, ticket: Any) -> Outcome | tuple[int, EngineError]:
        """What a worker came back with, or its error, behind how far that is from the reason."""
        try:
            outcome: Outcome = self._ray.get(ticket)
        except self._ray.exceptions.RayError as error:
            found = failure(error)
            found.__cause__ = error
            return 1, found
        if "error" in outcome:
            own = TrainingError(f"a worker on Ray: {outcome['error']}", hint=outcome["hint"])
            return 2 if outcome.get("follows") else 0, own
        return outcome

    def __exit__(self, *_: object) -> None:
        for actor in self.actors:
            self._ray.kill(actor)
        self.actors = []
        if self._group is not None:
            self._ray.util.remove_placement_group(self._group)
            self._group = None


def check_machine(ray: Any, cpus: int, *, patience: float = PATIENCE) -> None:
    """Whether a machine of the cluster has so many CPUs: without one, a task waits without end.

    Args:
        ray: the module.
        cpus: that a single task takes.
        patience: seconds for a cluster that may grow.

    Raises:
        TrainingError: there is none.
    """
    there = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    largest = max(there, default=0)
    if largest >= cpus:
        return
    if os.environ.get("RAY_ADDRESS"):
        group = ray.util.placement_group([Need(cpus).bundle])
        placed = group.wait(patience)
        ray.util.remove_placement_group(group)
        if placed:
            return
    raise TrainingError(
        f"Ray has no machine for a task of {cpus} CPUs: the largest has {largest:g}",
        hint="fewer `threads`, or a cluster with larger machines (`RAY_ADDRESS` names it)",
    )


def failure(error: BaseException) -> TrainingError:
    """An error of Ray in one line: the worker's own, where it has one."""
    cause = getattr(error, "cause", None)
    shown = cause if isinstance(cause, BaseException) else error
    lines = [line.strip() for line in str(shown).splitlines() if line.strip()]
    text = (lines or [""])[0 if isinstance(cause, BaseException) else -1][:500]
    return TrainingError(
        f"a worker on Ray failed: {type(shown).__name__}{f': {text}' if text else ''}",
        hint="`--resume` goes on from the last checkpoint",
    )
