"""Exporting: an artifact in the forms of other programs, checked before it is handed over.

========================== ==================================================================
``engine.exchange.onnx``  both towers as ONNX files, for onnxruntime alone
``.transformers``          a folder that transformers loads: ``VisionTextDualEncoderModel``, or
                           ``CLIPModel`` where both towers are CLIP's
========================== ==================================================================

Every export is compared with the model that it came from and is written whole or not at all.
"""
