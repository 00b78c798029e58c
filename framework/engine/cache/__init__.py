"""The feature store: what towers gave, kept on disk by the content that it follows from."""
