"""Several processes on a Ray cluster: the same processes as torchrun's, started by Ray.

Each worker is an actor that trains as one process (see ``distribution.py``). The run's folder must
be reachable under the same name by all of them; only the first one writes there, beside the cache.
Ray is optional: `pip install ray`.
"""

from __future__ import annotations

import importlib
import os
import socket
import tempfile
from pathlib import Path
from typing import Any, Literal

from engine.core.config import dump_config, load_config
from engine.core.config.schema import EngineConfig
from engine.core.ray_cluster import joined_cluster
from engine.errors import EngineError
from engine.train.ray_workers import Need, Outcome, Workers

_OTHERWISE = "torchrun, or `engine data prepare --worker I/N`"


def train_on_ray(
    config: EngineConfig,
    folder: Path,
    *,
    workers: int,
    resume: bool | Literal["auto"],
    force: bool,
) -> Outcome:
    """Train with so many workers; joins the cluster that ``RAY_ADDRESS`` names, else starts one.

    Returns:
        ``manifest``, the artifact's, and ``bytes`` of its weights.

    Raises:
        PluginError: Ray is not installed.
        TrainingError: the cluster has no room for the workers, or one of them failed; says why.
    """
    gpus = 1 if config.train is not None and _wants_gpu(config.train.device) else 0
    text, where, here = dump_config(config), str(folder.absolute()), str(Path.cwd())
    with (
        joined_cluster(_OTHERWISE, log_to_driver=True) as ray,
        Workers(ray, Worker, workers, Need(gpus=gpus)) as started,
    ):
        address, port = started.first(lambda actor: actor.address.remote())
        found = started.together(
            lambda rank, actor: actor.train.remote(
                rank, workers, address, port, text, where, here, resume, force
            )
        )
    return found[0]


def prepare_on_ray(config: EngineConfig, *, workers: int) -> None:
    """Compute the parts of ``engine data prepare`` with so many workers, each its share.

    The folder of prepared data must be reachable under the same name by all of them. What is there
    already is not computed again; a worker that is lost costs the part that it was at.

    Raises:
        PluginError: Ray is not installed.
        TrainingError: the cluster has no room for the workers, or one of them failed; says why.
    """
    text, here = dump_config(config), str(Path.cwd())
    with (
        joined_cluster(_OTHERWISE, log_to_driver=True) as ray,
        Workers(ray, Worker, workers, Need()) as started,
    ):
        started.together(lambda number, actor: actor.prepare.remote(number, workers, text, here))


def _read_config(text: str, here: str) -> EngineConfig:
    """The config in a worker; its paths are relative to where the command was given."""
    if Path(here).is_dir():
        os.chdir(here)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return load_config(path)


def _wants_gpu(device: str) -> bool:
    if device == "auto":
        import torch

        return torch.cuda.is_available()
    return device.startswith("cuda")


class Worker:
    """One process of the training, or of preparing data: an actor."""

    def prepare(self, number: int, count: int, config_text: str, here: str) -> Outcome:
        """Compute share ``number`` of ``count``. An error of ours comes back in words."""
        from engine.prepare.work import Share, prepare

        try:
            found = prepare(_read_config(config_text, here), Share(number, count))
        except EngineError as error:
            return {"error": error.message, "hint": error.hint}
        return {"missing": found.missing}

    def address(self) -> tuple[str, int]:
        """Where the others meet this worker: its address and a port that is free."""
        ray: Any = importlib.import_module("ray")
        with socket.socket() as probe:
            probe.bind(("", 0))
            return ray.util.get_node_ip_address(), int(probe.getsockname()[1])

    def train(
        self,
        rank: int,
        count: int,
        address: str,
        port: int,
        config_text: str,
        folder: str,
        here: str,
        resume: bool | Literal["auto"],
        force: bool,
    ) -> Outcome:
        """Train as process ``rank`` of ``count``. An error of ours comes back in words."""
        os.environ |= {
            "RANK": str(rank),
            "WORLD_SIZE": str(count),
            "LOCAL_RANK": "0",  # Ray shows each worker its own GPU alone
            "MASTER_ADDR": address,
            "MASTER_PORT": str(port),
        }
        from engine.train.distribution import OtherEnded
        from engine.train.run import train

        try:
            config = _read_config(config_text, here)
            built, report = train(config, Path(folder), resume=resume, force=force)
        except EngineError as error:
            follows = isinstance(error, OtherEnded)
            return {"error": error.message, "hint": error.hint, "follows": follows}
        written = 0 if report is None else report.total
        return {"manifest": built.manifest, "bytes": written, "warnings": built.warnings}
