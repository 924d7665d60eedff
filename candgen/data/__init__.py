"""Logs of clicks -> dictionaries, arrays and batches. Imports no paddle."""
