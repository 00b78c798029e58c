"""One module a kind of plugin, named like it: the smallest plugin that works and trains."""
