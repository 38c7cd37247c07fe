"""Tokenizers: where they come from, text to ids and back, chat templates. Needs the `tokenizers` library at work."""
