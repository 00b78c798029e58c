"""``engine export``: an artifact in the form of another program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from engine.cli.options import Json


def command(
    artifact: Annotated[Path, typer.Argument(help="The artifact, a folder that a build wrote.")],
    to: Annotated[
        Literal["onnx", "transformers", "clip", "open_clip"],
        typer.Option(
            help="onnx: files for onnxruntime; transformers: a VisionTextDualEncoderModel;"
            " clip: a CLIPModel of transformers; open_clip: a folder for its `local-dir:`."
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder (ARTIFACT-TO beside it).")
    ] = None,
    json: Json = False,
) -> None:
    """Export a model, compare the export with it, and write it whole or not at all."""
    from engine.cli.progress import working
    from engine.cli.tables import print_warning, stdout
    from engine.core.terminal import print_json

    folder = output or artifact.absolute().with_name(f"{artifact.absolute().name}-{to}")
    with working(f"exporting {artifact.name}") as say:
        manifest = _export(artifact, folder, to, say)
    if json:
        print_json({"folder": str(folder), **manifest})
        return
    for line in _lines(manifest):
        stdout().print(line)
    for warning in manifest["warnings"]:
        print_warning(warning)
    different = manifest["tokenizer"]["differs_on"]
    if manifest["tokenizer"]["library"] is None:
        print_warning("the tokenizer's form is its plugin's own: only Engine reads it")
    elif different:
        print_warning(
            f"tokenizer.json gives other ids than Engine to {len(different)} of the texts tried:"
            f" see README.md in {folder}"
        )
    stdout().print(f"written to {folder}")


def _export(artifact: Path, folder: Path, to: str, say: Any) -> dict[str, Any]:
    if to == "onnx":
        from engine.exchange.onnx import export_onnx

        return export_onnx(artifact, folder, say)
    if to == "open_clip":
        from engine.exchange.open_clip import export_open_clip

        return export_open_clip(artifact, folder, say)
    from engine.exchange.transformers import export_transformers

    return export_transformers(artifact, folder, "clip" if to == "clip" else "transformers", say)


def _lines(manifest: dict[str, Any]) -> list[str]:
    """One line a tower: what was measured."""
    checks = manifest.get("check") or {side: manifest[side]["check"] for side in ("vision", "text")}
    return [
        f"{side}: largest difference {check['largest_difference']:.1e} over {check['batches']}"
        f" batches ({check['allowed']:.0e} allowed)"
        for side, check in checks.items()
    ]
