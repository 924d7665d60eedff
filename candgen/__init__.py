"""Candidate generation: what the scripts share.

Each area may import those before it: console, environment, options, files, archives, output_folder;
data; model; serving; training.
"""

from candgen import environment

environment.load_numpy()  # before any module of this package imports numpy
