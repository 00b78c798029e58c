"""The built-in commands beside Engine's own: the demo."""
