"""Candidate generation: what the scripts share. Dependencies go from bottom to top: console, environment, options,
files; data; model; serving; training."""

from candgen import environment

environment.load_numpy()  # with one line if it cannot be loaded; before any module of this package imports it
