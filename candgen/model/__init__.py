"""What networks are built from, their files, and what is carried over from earlier ones."""
