"""Upper limits of settings that come from outside. Nothing here imports anything.

A config is untrusted: without a limit, ``layers: 1000000`` keeps a machine busy for minutes before
anybody notices. Every limit lies far above the largest published model, so that no real config
meets it.
"""

from __future__ import annotations

MAX_WIDTH = 2**17
"""Width of a layer or an embedding. GPT-3's is 12,288."""

MAX_LAYERS = 1024
"""Blocks of a tower. The deepest published transformers have under 200, DeepNet's has 1,000."""

MAX_HEADS = 1024
"""Attention heads of a block. GPT-3 has 96."""

MAX_VOCABULARY = 2**24
"""Rows of a token embedding table. XLM-R has 250,002, Gemma 262,144."""

MAX_TOKENS = 2**20
"""Longest token sequence, and rows of a position table."""

MAX_IMAGE_SIDE = 4096
"""Side of a square image or of a patch, in pixels."""

MAX_SEED = 2**32 - 1
"""Largest seed, as in numpy and scikit-learn."""

MAX_COUNT = 10**12
"""Steps, rows and anything else that is counted."""

MAX_WORKERS = 4096
"""Threads or processes."""

MAX_INTEGER = 2**63 - 1
"""Largest whole number in any setting: what an int64 holds."""
