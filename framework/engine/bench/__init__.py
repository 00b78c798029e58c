"""The bench: suites of models, each judged in a process of its own, and their board."""
