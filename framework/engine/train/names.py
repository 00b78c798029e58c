"""What lies in a run's folder, by name. Imports nothing, so that `engine show` stays quick."""

CONFIG, START, MODEL = "config.yaml", "start", "model"
CHECKPOINTS, CACHE, HISTORY = "checkpoints", "cache", "history.jsonl"
LOCK, STARTING, STARTED = ".lock", ".starting", ".started"
