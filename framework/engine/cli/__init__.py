"""The command line: one module a command. None imports torch before it must."""
