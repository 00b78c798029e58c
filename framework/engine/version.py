"""The version of Engine, where every module may read it without importing the package's names."""

__version__ = "0.1.0"
