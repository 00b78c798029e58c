"""Models of other programs come in, and Engine's go out; both are held to the original.

========================== ==================================================================
``engine.exchange.by_name``  a source's own description becomes a config, its tensors a model
``.importing``             a checkpoint and a config of the user's
``.onnx``                  both towers as ONNX files, for onnxruntime alone
``.int8``                  their matrices as 8-bit numbers, behind a gate of quality
``.running``               such an export answers in the place of the model
``.transformers``          a folder that transformers loads: the class that fits the towers
``.sentences``             what makes one that sentence-transformers loads of it
``.open_clip``             a folder that open_clip loads: ``local-dir:FOLDER``
========================== ==================================================================

``engine import`` and ``engine export`` call it. Every export is compared with the model that it
came from and is written whole or not at all. Start reading at ``by_name`` and ``open_clip``.
"""
