"""How checkpoints of other programs name their tensors."""
