"""Checks the plugins against their contracts."""

from __future__ import annotations

from engine.testing import Check, plugin_checks

SMALL = {
    "width": 16, "layers": 2, "heads": 2, "vocab_size": 64, "max_tokens": 12, "n_positions": 16,
    "tokenizer": {"use": "trained"},
}  # fmt: skip


@plugin_checks("text_encoder", "lora_rubert", SMALL)
def test_encoder(check: Check) -> None:
    check()


@plugin_checks("loss", "same_relations")
def test_loss(check: Check) -> None:
    check()


@plugin_checks("loss", "same_relations", {"teacher": "large"})
def test_loss_with_a_teacher(check: Check) -> None:
    check()
