"""candgen.options"""

import argparse
import math
import os
import re

MAX_WIDTH = 4096  # of a layer


class _Parser(argparse.ArgumentParser):
    def error(
        self, message
    ):  # argparse's own prints the whole usage before the one line that matters
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def argument_parser(doc, **options):
    """Parser whose `--help` opens with a script's docstring and whose errors are one line."""
    return _Parser(
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        **options,
    )


def refuse_unused(parser, args, names, why):
    """End with a message if one of these flags was given a value: it would do nothing."""
    for name in names:
        if getattr(args, name) != parser.get_default(name):
            parser.error(f"--{name} {why}")


def number_type(kind, minimum, maximum=math.inf, above=False):
    """argparse type: a finite `kind` (int or float) of at least `minimum` (above it, if `above`)."""
    maximum = min(maximum, 1 << 31) if kind is int else maximum  # what numpy and paddle can hold

    def convert(text):
        value = kind(text)
        inside = minimum < value <= maximum or (value == minimum and not above)  # nan is nowhere
        if not inside or value == math.inf:
            bounds = f"{'above' if above else 'at least'} {minimum}"
            bounds += f" and at most {maximum}" if maximum < math.inf else ""
            raise argparse.ArgumentTypeError(f"{text} is out of range: give {bounds}")
        return value

    convert.__name__ = kind.__name__
    return convert


def path_type(text):
    """argparse type of every flag that names a file; the shell leaves the `~` of --flag=~/file alone."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path: is a variable of the shell not set?")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        raise argparse.ArgumentTypeError(f"{text} is a URL: give a local path")
    path = os.path.expanduser(text)
    if path.startswith("~") and not os.path.lexists(path.split(os.sep)[0]):
        raise argparse.ArgumentTypeError(
            f"{text}: no home folder is known: set HOME, or write ./{text} for a name that begins with ~"
        )
    return path


PATHS = {"type": path_type, "nargs": "+"}  # of a flag that names one file or several


def folder_type(text):
    """argparse type: a folder that is there, or may be made."""
    path = path_type(text)
    if os.path.exists(path) and not os.path.isdir(path):
        raise argparse.ArgumentTypeError(f"{text} is a file: give a folder")
    return path


def add_max_bad_lines(parser):
    """The flag of the scripts that read logs."""
    parser.add_argument(
        "--max_bad_lines",
        type=number_type(int, 0),
        default=0,
        metavar="N",
        help="leave out up to N malformed lines, each named on stderr, and go on (%(default)s)",
    )


def add_max_user_clicks(parser):
    """The flag of the scripts that count clicks or learn them."""
    parser.add_argument(
        "--max_user_clicks",
        type=number_type(int, 1),
        metavar="N",
        help="only the last N clicks of a user count, over all lines of the user in their order; give "
        "data_processor.py and train.py the same (default: no limit)",
    )


def add_model_arguments(parser):
    """The flags of every script that opens a model."""
    parser.add_argument(
        "--model_path", type=path_type, required=True, help="a model_pass_*.tar.gz of train.py"
    )
    parser.add_argument(
        "--feature_dict",
        type=path_type,
        required=True,
        help="the feature_dict.pkl it was trained with",
    )


def add_device(parser):
    """The flags of the scripts that run the network."""
    parser.add_argument(
        "--device", help="cpu, gpu, gpu:1, ... (default: a GPU if this paddle has one)"
    )
    parser.add_argument(
        "--threads",
        type=number_type(int, 1),
        default=min(2, os.cpu_count() or 1),
        help="that share the work (%(default)s)",
    )
