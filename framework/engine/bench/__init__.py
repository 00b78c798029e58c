"""The bench: suites of models, each evaluated in a process of its own, and their leaderboard."""
