"""Settings of both kinds of tower. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from engine.contracts.description import Description
from engine.contracts.limits import MAX_TOKENS, MAX_VOCABULARY
from engine.contracts.plan import TowerPlan
from engine.contracts.proposal import Proposal
from engine.contracts.settings import Settings
from engine.contracts.tokenizer import TokenizerRef
from engine.contracts.values import SourceName


class WeightsSettings(Settings):
    """Where a part's weights come from, and what to do when they cannot be reached."""

    from_: SourceName = Field(
        "scratch",
        alias="from",
        description="hf:<repository>, open_clip:<arch>/<tag>, file:<path>, artifact:<folder>,"
        " package:<distribution>/<path> (a file of an installed package) or scratch",
    )
    otherwise: Literal["scratch"] | None = Field(
        None,
        description="`scratch`: where the source cannot be reached, start from random weights,"
        " say so loudly, and record it in the artifact",
    )


class TowerSettings(Settings):
    """Base of the settings of both kinds of tower."""

    preferred_files: ClassVar[tuple[str, ...]] = ()
    """Names of files of weights that this tower takes where a source has several; after them come
    the usual ones (``model.safetensors``, ``pytorch_model.bin``)."""

    weights: WeightsSettings = WeightsSettings()

    def plan(self) -> TowerPlan | None:
        """The tower's tensors and widths, where they follow from the settings (see ``plan.py``)."""
        return None

    @classmethod
    def propose(cls, description: Description, aside: Sequence[Description]) -> Proposal | None:
        """The settings under which the tower computes what another program describes.

        ``engine import SOURCE`` asks every installed tower (see ``contracts/proposal.py``).

        Args:
            description: the tower of the other program: its name of the architecture is ``kind``.
            aside: details from the same source. Of pictures: how they are prepared (``"transformers
                pictures"``). Of texts: what describes the tokenizer; how a sentence encoder pools
                (``"sentence_transformers"``), its dense layer (``"sentence_transformers dense"``).

        Returns:
            ``None`` for an architecture that this tower does not compute.

        Raises:
            ValueError: it is of this tower's architecture and cannot be represented; names the
                setting.
        """
        return None


class TextEncoderSettings(TowerSettings):
    """Base of every text encoder's settings."""

    tokenizer: TokenizerRef
    vocab_size: int = Field(
        ge=1, le=MAX_VOCABULARY, description="rows of the token embedding table"
    )
    max_tokens: int = Field(
        ge=2,
        le=MAX_TOKENS,
        description="longest token sequence, marks of beginning and end included",
    )

    def padding_id(self) -> int | None:
        """The id of padding, where the encoder reads padding as a part of every text.

        SigLIP and MobileCLIP fill each text up to ``max_tokens`` and let every token see all of
        it. Such an encoder fills up by itself; Engine refuses a tokenizer whose ``pad_id`` is
        another one. ``None`` (the default): padding is not read, so any id does.
        """
        return None


class VisionTowerSettings(TowerSettings):
    """Base of every vision tower's settings."""

    @property
    def foldable_norms(self) -> float | None:
        """The ``eps`` of batch norms that can be folded into the convolutions before them.

        A tower that has such ones has a setting ``fold_norms`` too: with it, each batch norm is a
        bias alone. ``None`` (the default): there is nothing to fold, or it is folded already.
        """
        return None
