"""Config to model: settings, the registry, towers and projections put together, bytes, artifacts.

Everything that works with models calls it. Start reading at ``build``: settings become a model, a
model becomes an artifact, and an artifact a model again.
"""
