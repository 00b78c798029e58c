"""What came of a download: the table of texts, the failures, the counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.core.files import write_pieces
from engine.data.click_log import written_id
from engine.data.download.outcome import without_password
from engine.data.download.state import State

METADATA = "metadata.json"
FAILED = "failed.json"
REPORT = "report.json"
_BAD_LINES, _HOSTS = 1000, 100


def write_tables(out: Path, state: State) -> dict[str, Any]:
    """Write ``metadata.json``, ``failed.json`` and ``report.json``; gives the report."""
    write_pieces(out / METADATA, _metadata(state))
    write_pieces(out / FAILED, _failed(state))
    report = make_report(state)
    text = json.dumps(report, ensure_ascii=False, indent=1) + "\n"
    write_pieces(out / REPORT, [text.encode()])
    return report


def _metadata(state: State) -> Iterator[bytes]:
    """``{"image": 1, "queries": [...]}`` of each image that was downloaded, in list order."""
    for row in state.rows():
        image = json.dumps(written_id(row.id), ensure_ascii=False)
        yield f'{{"image": {image}, "queries": {row.queries}}}\n'.encode()


def _failed(state: State) -> Iterator[bytes]:
    for id_, url, kind, detail in state.failures():
        row = {
            "image": written_id(id_),
            "url": without_password(url),
            "reason": kind,
            "detail": detail,
        }
        yield (json.dumps(row, ensure_ascii=False) + "\n").encode()


def make_report(state: State) -> dict[str, Any]:
    """The counts; the same for the same result, however it came about.

    Of the first list ``metadata.json``, of the second ``images.json``: every line is good or bad,
    every good line is in both lists or only in its own, every image of both lists was downloaded,
    failed, or is left.
    """
    counts, lines = state.counts(), state.note("lines")
    reasons = state.bad_reasons()
    return {
        "settings": state.note("settings"),
        "lists": {
            name: {
                **lines[name],
                "bad": lines[name]["lines"] - lines[name]["good"],
                "bad_by_reason": reasons[name],
                "only_in_this_list": lines[name]["good"] - counts.images,
            }
            for name in ("metadata", "images")
        },
        "images": {
            "listed": counts.images,
            "downloaded": counts.downloaded,
            "failed": counts.failed,
            "left": counts.left,
        },
        "queries": {
            "listed": counts.texts,
            "downloaded": counts.texts_downloaded,
            "lost_with_their_image": counts.texts - counts.texts_downloaded,
        },
        "failed_by_reason": state.kinds(),
        "failed_by_host": state.hosts(_HOSTS),
        "bad_lines": [
            {"list": name, "line": line, "reason": reason}
            for name, line, reason in state.bad_lines(_BAD_LINES)
        ],
    }
