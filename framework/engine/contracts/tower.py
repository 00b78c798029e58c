"""Towers: the contract of text encoders and vision towers.

A tower is ``stem -> block 0 .. block n-1 -> head``. It names these segments and can run any range
of them. Freezing, the table of parameters and the cache of frozen prefixes all stand on this, for
every tower alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from engine.contracts.description import Description, Difference, Table, compare
from engine.contracts.filling import adapting, fill
from engine.contracts.state import MixesRows, Output, Segment, State
from engine.contracts.tokenizer import Tokenizer
from engine.contracts.tower_settings import TextEncoderSettings, VisionTowerSettings

if TYPE_CHECKING:  # so that the cached activations of texts do not depend on it
    from engine.contracts.preprocess import Preprocess


class Tower(nn.Module, ABC):
    """Base of both kinds of tower.

    A subclass sets ``width`` and gives :meth:`segments` and :meth:`run`. Its constructor takes the
    settings only, builds its modules without reading weights (so it also builds on the meta
    device), and initialises them from torch's own random generator: those are the weights of a
    build from scratch.

    Every tensor it keeps is a parameter or a buffer. Every parameter trains: each has its part in
    the features, and a stage of training decides which are frozen; what is never to train is a
    buffer. Moved to another floating dtype, or under autocast, it computes there. Every number that
    it stores is finite: a mask of minus infinity is a buffer with ``persistent=False``.

    In training mode, too, no row sees the others, unless ``mixes_rows`` says so.

    Attributes:
        width: the width of the features, ``state["pooled"]`` is [B, width].
        mixes_rows: see :data:`engine.contracts.state.MixesRows`.
    """

    width: int
    mixes_rows: MixesRows = False

    outputs: ClassVar[Mapping[str, Output]] = {
        "pooled": Output("the features that the projection reads", "[B, width]")
    }
    """What :meth:`run` can leave in the state at the tower's end: ``pooled``, and usually
    ``hidden``, the last hidden states before the head. A loss reads them as ``text.hidden`` or
    ``image.hidden``, a projection as ``hidden``."""

    described: ClassVar[tuple[Table, ...]] = ()
    """What the tower does in the place of other programs' settings (``contracts/description.py``).
    """

    @abstractmethod
    def segments(self) -> list[Segment]:
        """Stem, blocks and head in order; every parameter in exactly one of them."""

    @abstractmethod
    def run(
        self, state: State, start: int, stop: int, *, keep: frozenset[str] = frozenset()
    ) -> State:
        """Run segments ``start`` to ``stop`` (exclusive, as in a slice).

        ``run(run(x, 0, k), k, n)`` equals ``run(x, 0, n)`` for every k. A row's result depends
        neither on the other rows nor on the amount of padding. In eval mode the same state gives
        the same result.

        Args:
            state: what the segment before ``start`` returned; for ``start == 0`` the input
                (``ids`` and ``mask``, or ``pixels``). Not changed.
            start: index of the first segment to run.
            stop: index after the last; with ``stop == len(segments())`` the result has
                ``pooled`` [B, width].
            keep: names of :attr:`outputs` that stay in the result besides what it has anyway:
                with ``stop == len(segments())`` every one of them is there. Other names are
                ignored. (:func:`engine.contracts.state.take` uses an entry up unless it is kept.)
        """

    def forward(self, state: State, keep: frozenset[str] = frozenset()) -> State:
        """Run the whole tower; the result has ``pooled`` [B, width].

        Args:
            state: the input.
            keep: see :meth:`run`.
        """
        return self.run(state, 0, len(self.segments()), keep=keep)

    def merge(self) -> None:
        """Fold adapters (LoRA, say) into the weights, in place, before an artifact is saved.

        Afterwards the features are the same, and the state dict has the names and shapes of the
        plain tower, which are those of ``settings.plan()``. A second call does nothing. It also
        works on the meta device: an artifact is read back into a tower that was merged before it
        is filled. By default there is nothing to fold.
        """

    def adapt(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename a source's tensors to this tower's own names (default: they are the same).

        Override it where the source is a whole checkpoint, of which the tower takes its part.
        Names that the tower does not know are an error later, so leave out what is not a weight.
        """
        return dict(weights)

    def described_by(self, description: Description) -> list[Difference]:
        """What a file beside the weights says, and this tower does not do.

        Engine calls it for every file that lies beside weights before they are loaded, and once
        with the program ``NOTHING`` where there is none. A difference that changes what the tensors
        compute is refused (the number of heads, the activation, where it pools); others are shown
        as warnings. By default the tables in :attr:`described` answer; without a table the user is
        warned that nothing was compared.

        Args:
            description: one file, or the section of it that is about this tower.
        """
        return compare(self, self.described, description)

    def describe(self, weights: Mapping[str, Tensor]) -> Description | None:
        """What the tensors of a source say themselves of settings, where they do (default: no).

        Args:
            weights: as :meth:`adapt` receives them.
        """
        return None

    def load_weights(self, weights: Mapping[str, Tensor], source: str) -> None:
        """Load a source's tensors, every one of them fitting.

        Of tensors that the tower ties, one name is enough. Where all names of the tower begin with
        one prefix (``model.``), a source may leave it out.

        Raises:
            WeightsError: a name is missing or unknown, a shape or the sort of its numbers differs
                (lists the first few), or a number is not finite.
        """
        with adapting(source, type(self).__name__):
            fitted = self._fitted(weights)
        fill(
            self,
            fitted,
            source,
            misfit=f"the weights of {source} do not fit {type(self).__name__}",
            hint="check the numbers in the config (width, layers, vocab_size ...) against the"
            " source",
        )

    def _fitted(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The source's tensors by the tower's own names, as far as they can be placed."""
        own = self.state_dict()
        fitted = self.adapt(weights)
        prefix = f"{next(iter(own), '').partition('.')[0]}."
        if fitted.keys() & own.keys() or not all(name.startswith(prefix) for name in own):
            return fitted
        again = self.adapt({prefix + name: tensor for name, tensor in weights.items()})
        return again if again.keys() & own.keys() else fitted


class TextEncoder(Tower):
    """Token ids to features.

    Input state: ``ids`` [B, L] int64 and ``mask`` [B, L] bool, padding on the right, L at most
    ``settings.max_tokens``. A text's last token (the end mark, where its tokenizer writes one) is
    at ``last_place(mask)``.

    Attributes:
        embedding_width: width E of :meth:`embed`.
        padding_costs: whether a place of padding costs as much time as a token. ``False`` for a bag
            of tokens that leaves padding out: texts of all lengths then run together, where others
            are split into groups of like length.
    """

    embedding_width: int
    padding_costs: bool = True

    def __init__(self, settings: TextEncoderSettings) -> None:
        super().__init__()
        self.settings = settings

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """[B, L] int64 -> [B, L, E]: the token embeddings alone, without positions.

        A router (see the ``clustered`` projection) reads these beside the tower.
        """

    def fit(self, tokenizer: Tokenizer) -> str:
        """Compute the weights in closed form, from what the settings name (default: nothing).

        Engine calls it once, when it builds a model from a config whose ``weights`` are
        ``scratch``. What is read from an artifact or a checkpoint is not fitted again.

        Args:
            tokenizer: the model's.

        Returns:
            What it was fitted on, in words, for the artifact; empty where nothing was fitted.

        Raises:
            DataError: what the settings name does not fit the model.
        """
        return ""


class VisionTower(Tower):
    """Pixels to features.

    Input state: ``pixels`` [B, 3, preprocess.size, preprocess.size], float, as
    ``preprocess.to_tensor`` gives them.

    Attributes:
        preprocess: how a picture becomes pixels; set by the constructor.
            :class:`engine.contracts.SquarePreprocess` is the usual way.
    """

    preprocess: Preprocess

    def __init__(self, settings: VisionTowerSettings) -> None:
        super().__init__()
        self.settings = settings
