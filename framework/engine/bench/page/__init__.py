"""The leaderboard's page: one HTML file that needs nothing else."""

from engine.bench.page.page import page, write_page
