"""User vectors -> lists, metrics and files of vectors."""
