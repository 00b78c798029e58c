"""Teachers: frozen models whose outputs another model learns from."""
