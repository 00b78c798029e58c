"""Losses over named entries of both modalities: what they are given, in pieces, from the cache,
over processes; and what is refused."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.clusters.assign import DatasetLabels
from engine.contracts.dataset import Dataset
from engine.contracts.settings import PluginRef
from engine.contracts.training import Loss
from engine.core.config.schema import EngineConfig
from engine.errors import ConfigError, DataError, PluginError
from engine.train.entries import available_entries, compute_loss, text_ids

from .conftest import Run, weights

Make = Callable[..., EngineConfig]
SIGMOID = "train.stages.0.losses=[{use: sigmoid}]"
BERT = (
    "model.text={use: rubert, width: 16, layers: 2, heads: 2, vocab_size: 400, max_tokens: 15,"
    " n_positions: 32, tokenizer: {use: trained}, weights: {from: scratch}}"
)
CLUSTERED = "model.projection.text={use: clustered, count: 3, of: {use: residual}}"


class Reading(Loss):
    """Reads some entries; its value depends on every number of them."""

    names: ClassVar[frozenset[str]] = frozenset()
    seen: ClassVar[list[dict[str, Tensor]]] = []

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.turn = torch.nn.Parameter(torch.ones(()))

    def needed(self) -> frozenset[str]:
        return self.names

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        self.seen.append({name: tensor.detach().clone() for name, tensor in batch.items()})
        total = self.turn * 0
        for name, tensor in batch.items():
            number = tensor.float()
            if name in ("text.hidden", "text.token_embeddings"):
                number = number[batch["text.mask"]]
            total = total + (number * self.turn).tanh().square().mean()
        return total


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Callable[[set[str]], None]:
    """Let the stage's loss `sigmoid` be one that reads the given entries."""

    def become(names: set[str]) -> None:
        Reading.seen.clear()
        monkeypatch.setattr(Reading, "names", frozenset(names))
        real = PluginRef.create

        def create(self: PluginRef, *args: Any, **more: Any) -> Any:
            return Reading(self.settings) if self.name == "sigmoid" else real(self, *args, **more)

        monkeypatch.setattr(PluginRef, "create", create)

    return become


def labels(dataset: Dataset) -> DatasetLabels:
    texts = [text for i in range(len(dataset)) for text in dataset.record(i).queries]
    return DatasetLabels(np.arange(len(dataset)) % 3, np.arange(len(texts)) % 3, 3)


EVERYTHING = {
    "image.embedding", "image.pooled", "image.hidden", "text.embedding", "text.pooled",
    "text.hidden", "text.mask", "text.ids", "text.token_embeddings", "text.router_logits",
    "text.routed", "scale", "bias", "row.id", "text.id", "cluster",
}  # fmt: skip


@pytest.mark.parametrize("tower", ["gpt", "bert"])
def test_a_loss_is_given_what_it_names_and_nothing_else(
    make_config: Make, trained: Run, reading: Callable[[set[str]], None], tower: str
) -> None:
    reading(EVERYTHING)
    config = make_config(
        SIGMOID, CLUSTERED, "model.logit_bias=-3", "train.stages.0.epochs=1",
        *([BERT] if tower == "bert" else []),
    )  # fmt: skip
    trainer, _ = trained(config, labels=labels, run=False)
    fresh = weights(trainer)
    trainer.run()
    batch = Reading.seen[0]
    assert batch.keys() == EVERYTHING
    rows = batch["row.id"].tolist()
    assert len(set(rows)) == 16
    trainer.model.load_state_dict(fresh)
    trainer.model.eval()
    keep = frozenset({"hidden"})
    with torch.no_grad():
        text = trainer.model.text({"ids": batch["text.ids"], "mask": batch["text.mask"]}, keep)
    mask = batch["text.mask"]
    torch.testing.assert_close(batch["text.pooled"], text["pooled"])
    torch.testing.assert_close(batch["text.hidden"][mask], text["hidden"][mask])
    for modality in ("image", "text"):
        length = batch[f"{modality}.embedding"].norm(dim=1)
        torch.testing.assert_close(length, torch.ones(16))
    data, table = trainer.data, trainer.data.table
    for row, ids, text_id, cluster in zip(
        rows, batch["text.ids"], batch["text.id"].tolist(), batch["cluster"].tolist(), strict=True
    ):
        own = range(int(data.first[row]), int(data.first[row + 1]))
        assert data.text_clusters is not None
        assert any(data.sequence[t] == text_id and data.text_clusters[t] == cluster for t in own)
        tokens = table.tokens(text_id)
        assert ids[: len(tokens)].tolist() == tokens.tolist()
    assert float(batch["bias"]) == -3


@pytest.mark.parametrize("chunk", ["null", "5"])
@pytest.mark.parametrize("trains", ["{text: true, vision: true}", "{text: {blocks: last 1}}"])
def test_chunks_and_cache_give_the_same_gradient(
    make_config: Make, trained: Run, reading: Callable[[set[str]], None], chunk: str, trains: str
) -> None:
    reading({"image.pooled", "text.hidden", "text.mask", "image.hidden", "text.embedding"})
    common = (SIGMOID, f"train.stages.0.trains={trains}", "train.stages.0.epochs=1")
    whole, first = trained(make_config(*common, "train.cache.use=false"))
    other, second = trained(make_config(*common, f"train.stages.0.chunk_size={chunk}"))
    assert second.losses == pytest.approx(first.losses, rel=1e-5)
    for name, tensor in weights(other).items():
        torch.testing.assert_close(tensor, weights(whole)[name], rtol=1e-3, atol=2e-4)
    fresh = weights(trained(make_config(*common), run=False)[0])
    moved = {n for n, t in weights(whole).items() if not torch.equal(t, fresh[n])}
    assert any(name.startswith("text.h.3.") for name in moved)


def test_a_frozen_tower_keeps_its_hidden_states_in_the_cache(
    make_config: Make, trained: Run, reading: Callable[[set[str]], None]
) -> None:
    names = {"image.hidden", "text.hidden", "text.mask", "text.pooled", "image.embedding"}
    reading(names)
    frozen = (SIGMOID, "train.stages.0.trains={text: false, vision: false}")
    _, first = trained(make_config(*frozen))
    cached = [batch["text.hidden"].shape for batch in Reading.seen]
    _, second = trained(make_config(*frozen, "train.cache.use=false"))
    assert first.losses == pytest.approx(second.losses, rel=1e-5)
    assert "text: 6 of 6 segments computed once" in first.notes[0]
    assert cached == [batch["text.hidden"].shape for batch in Reading.seen[len(cached) :]]


def test_with_the_mean_over_queries_entries_are_means(
    make_config: Make, trained: Run, reading: Callable[[set[str]], None]
) -> None:
    reading({"text.pooled", "text.embedding", "text.id", "row.id"})
    trainer, _ = trained(make_config(SIGMOID, "train.queries=mean"), run=False)
    fresh = weights(trainer)
    trainer.run()
    batch = Reading.seen[0]
    trainer.model.load_state_dict(fresh)
    data = trainer.data
    seen: dict[tuple[int, ...], int] = {}
    for i, row in enumerate(batch["row.id"].tolist()):
        texts = data.sequence[data.first[row] : data.first[row + 1]]
        with torch.no_grad():
            each = [trainer.model.text(data.table.padded([int(t)]))["pooled"][0] for t in texts]
        torch.testing.assert_close(
            batch["text.pooled"][i], torch.stack(each).mean(0), rtol=1e-4, atol=1e-5
        )
        ids = seen.setdefault(tuple(sorted(texts.tolist())), int(batch["text.id"][i]))
        assert ids == int(batch["text.id"][i])
    assert len(set(seen.values())) == len(seen)


@pytest.mark.parametrize(
    ("name", "overrides", "hint"),
    [
        ("text.router_logits", (), "clustered"),
        ("image.router_logits", (), "gives it"),
        ("cluster", (), "clusters:"),
        ("bias", (), "logit_bias"),
        ("pair.weight", (), "weights"),
        ("text.hiden", (), "gives it"),
        ("image", (), "gives it"),
        ("teacher.big.text", (), "train.teachers"),
        ("text.hidden", ("train.queries=mean",), "gives it"),
        ("text.mask", ("train.queries=mean",), "gives it"),
        ("text.token_embeddings", ("train.queries=mean",), "gives it"),
    ],
)
def test_what_there_is_not_is_refused_with_a_list_of_what_there_is(
    make_config: Make, trained: Run, reading: Callable[[set[str]], None], name: str,
    overrides: tuple[str, ...], hint: str,
) -> None:  # fmt: skip
    reading({name})
    with pytest.raises(ConfigError) as refused:
        trained(make_config(SIGMOID, *overrides))
    assert f"needs `{name}`" in refused.value.message
    assert "available: image.embedding, image.hidden, image.pooled, row.id" in refused.value.message
    assert hint in refused.value.hint


@pytest.mark.parametrize("name", ["text.embedding", "cluster", "text.hidden", "bias"])
def test_a_loss_that_reads_without_naming_it_fails_wherever_it_stands(name: str) -> None:
    class Secret(Loss):
        reads = frozenset({"scale"})

        def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
            return batch["scale"] * batch[name].mean()

    entries = {"scale": torch.ones(()), name: torch.ones(3)}
    with pytest.raises(PluginError, match=f"reads `{name}`, which its `reads` does not name"):
        compute_loss("secret", Secret(None), entries)  # type: ignore[arg-type]


def test_weights_of_rows_reach_the_loss(
    make_config: Make, trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    kind = type(make_config().data.train.create())  # type: ignore[union-attr]
    real = kind.record

    def set_weights(weight: Callable[[int], float]) -> None:
        monkeypatch.setattr(
            kind, "record", lambda self, i: replace(real(self, i), weight=weight(i))
        )

    _, plain = trained(make_config())
    set_weights(lambda i: 1.0)
    assert trained(make_config())[1].losses == plain.losses
    set_weights(lambda i: 2.0)
    assert trained(make_config())[1].losses == pytest.approx(plain.losses, rel=1e-5)
    set_weights(lambda i: 1.0 + i % 3)
    trainer, weighted = trained(make_config())
    assert weighted.losses != pytest.approx(plain.losses, rel=1e-5)
    assert "pair.weight" in available_entries(trainer.model, trainer.data, mean=False)
    for wrong in (-1.0, float("nan"), float("inf")):
        set_weights(lambda i, wrong=wrong: wrong)  # type: ignore[misc]
        with pytest.raises(DataError, match="has the weight"):
            trained(make_config(), run=False)


def test_text_ids_are_equal_where_all_texts_of_two_rows_are() -> None:
    one = np.array([4, 2, 4], dtype=np.int64)
    assert text_ids(one, np.ones(3, dtype=np.int64)).tolist() == [4, 2, 4]
    found = text_ids(np.array([1, 2, 2, 1, 3, 1]), np.array([2, 2, 2]))
    assert found[0] == found[1] != found[2]


def test_entries_that_count_tokens_are_padded_to_the_longest_of_all_processes(
    tmp_path: Path,
) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    script = Path(__file__).with_name("gathered_entries.py")
    started = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(port), str(tmp_path)],
            stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        for process in started:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors[-3000:]
    finally:
        for process in started:
            process.kill()
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for name in ("text.hidden", "text.mask", "text.id", "text.pooled"):
        assert torch.equal(first[name], second[name])
    assert first["text.hidden"].shape == (3, 5, 2)
    assert first["text.mask"].dtype == torch.bool
    assert first["text.mask"].sum(dim=1).tolist() == [3, 5, 5]
    assert first["text.id"].tolist() == [0, 10, 11]
    assert first["text.hidden"][0, 3:].abs().sum() == 0
    assert (first["grad"] == 0).all()
    assert second["grad"][:, 0, 0].tolist() == [1, 2]
