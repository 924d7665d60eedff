"""Logs of clicks: dictionaries, encoded logs, batches. Imports no paddle."""
