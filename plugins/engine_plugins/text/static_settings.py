"""Settings of static text encoders. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from engine.contracts.description import Description
from engine.contracts.limits import MAX_TOKENS, MAX_VOCABULARY, MAX_WIDTH
from engine.contracts.plan import TowerPlan
from engine.contracts.proposal import Proposal
from engine.contracts.refs import TeacherRef, TokenizerRef
from engine.contracts.settings import Settings
from engine.contracts.tower_settings import TextEncoderSettings
from engine_plugins import plans
from engine_plugins.text import proposed


class StaticStart(Settings):
    """A teacher's vectors of the vocabulary's pieces, as model2vec distils them."""

    teacher: TeacherRef = Field(description="reads each piece of the vocabulary by itself")
    pca: bool = Field(
        True, description="principal components, `width` of them; false: the teacher's own width"
    )
    zipf: float | None = Field(
        1e-4,
        gt=0,
        lt=1,
        description="a in the weight a / (a + p) of a piece, whose frequency p follows from its"
        " place in the vocabulary by Zipf's law; null: one weight for all",
    )


class StaticTextSettings(TextEncoderSettings):
    """The mean of a text's token embeddings; the defaults are potion-base-8M's (model2vec)."""

    tokenizer: TokenizerRef = {  # type: ignore[assignment]
        "use": "tokenizer_json",
        "from": "hf:minishlab/potion-base-8M",
        "marks": False,
    }
    vocab_size: int = Field(
        29528, ge=1, le=MAX_VOCABULARY, description="rows of the token embedding table"
    )
    max_tokens: int = Field(
        512, ge=2, le=MAX_TOKENS, description="longest token sequence; what follows is cut"
    )
    width: int = Field(256, ge=1, le=MAX_WIDTH, description="width of the embeddings")
    table_rank: int | None = Field(
        None,
        ge=1,
        le=MAX_WIDTH,
        description="numbers of each row of the token table, which a matrix makes `width` of; null:"
        " the table is as wide itself",
    )
    unknown_id: int | None = Field(
        None,
        ge=0,
        le=MAX_VOCABULARY,
        description="id of unknown tokens, which model2vec leaves out of the mean (WordPiece: 1);"
        " null: every token counts",
    )

    start: StaticStart | None = Field(
        None, description="where the table begins without weights; null: random numbers"
    )

    @classmethod
    def propose(cls, description: Description, aside: Sequence[Description]) -> Proposal | None:
        """See the contract."""
        return proposed.static(description, aside)

    def plan(self) -> TowerPlan:
        """The tensor of ``engine_plugins.text.static.StaticText``."""
        tensors = plans.token_table("embedding", self.vocab_size, self.width, self.table_rank)
        return TowerPlan(self.width, tensors, embedding_width=self.width)
