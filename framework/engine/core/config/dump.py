"""A config as YAML, every default filled in."""

from __future__ import annotations

from typing import Any

import yaml

from engine.contracts.settings import Settings
from engine.core.config.yaml_reader import FLOAT


class _Dumper(yaml.SafeDumper):
    """Quotes what PyYAML reads as a text and we as a number; writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def text(self, text: str) -> yaml.ScalarNode:
        # PyYAML's plain and single-quoted styles lose U+0085 and its like.
        style = None if text.isprintable() else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _Dumper.text)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+.0123456789"))  # type: ignore[no-untyped-call]


def dump_config(config: Settings) -> str:
    """The resolved config: plain values alone, in the order of the schema.

    The same config gives the same text, and the text loads to an equal config. ``extends`` is gone:
    what it brought is written out.
    """
    plain = config.model_dump(mode="json", by_alias=True, round_trip=True)
    return yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
