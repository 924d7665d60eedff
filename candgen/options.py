"""argparse types, and the flags that several scripts have."""

from __future__ import annotations

import argparse
import math
import os
import re
from collections.abc import Iterable
from typing import Any, Callable, NoReturn

MAX_WIDTH = 4096  # units of a layer
MAX_INT = 1 << 31  # the largest integer that numpy and paddle accept for every setting


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit with one line; argparse prints the whole usage before it."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def argument_parser(doc: str, **options: Any) -> argparse.ArgumentParser:
    """Parser whose `--help` begins with a script's docstring and whose errors are one line.

    Parameters
    ----------
    doc : str
        Docstring of the script.
    **options
        Further arguments of argparse.ArgumentParser.
    """
    return _Parser(
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        **options,
    )


def refuse_unused(
    parser: argparse.ArgumentParser, args: argparse.Namespace, names: Iterable[str], reason: str
) -> None:
    """End with a message if one of these flags, which have no effect, was given."""
    for name in names:
        if getattr(args, name) != parser.get_default(name):
            parser.error(f"--{name} {reason}")


def refuse_second_stdin(
    parser: argparse.ArgumentParser, inputs: Iterable[list[str] | None]
) -> None:
    """End with a message if standard input (-) is given for several inputs, or several times."""
    if sum(paths.count("-") for paths in inputs if paths) > 1:
        parser.error("only one input can be standard input (-)")


def number_type(
    kind: type, minimum: float, maximum: float = math.inf, above: bool = False
) -> Callable[[str], Any]:
    """argparse type: a finite number within bounds.

    Parameters
    ----------
    kind : type
        int or float.
    minimum, maximum : number
        Bounds, inclusive.
    above : bool
        Whether `minimum` itself is excluded.
    """
    if kind is int:
        maximum = min(maximum, MAX_INT)
    bounds = f"{'above' if above else 'at least'} {minimum}"
    if maximum < math.inf:
        bounds += f" and at most {maximum}"

    def convert(text: str) -> Any:
        value = kind(text)
        inside = minimum <= value <= maximum and not math.isinf(value)  # False for nan
        if not inside or (above and value == minimum):
            raise argparse.ArgumentTypeError(f"{text} is out of range: give {bounds}")
        return value

    convert.__name__ = kind.__name__  # argparse names it in its own messages
    return convert


def path_type(text: str) -> str:
    """argparse type of a flag that names a file.

    `~` is expanded, since the shell does not do so in --flag=~/file.
    """
    if not text:
        raise argparse.ArgumentTypeError("an empty path: is a variable of the shell not set?")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        raise argparse.ArgumentTypeError(f"{text} is a URL: give a local path")
    path = os.path.expanduser(text)
    if path.startswith("~") and not os.path.lexists(path.split(os.sep)[0]):
        raise argparse.ArgumentTypeError(
            f"{text}: the home folder is unknown: set HOME, or write ./{text} for a name that "
            "begins with ~"
        )
    return path


PATHS = {"type": path_type, "nargs": "+"}  # options of a flag that names one or several files


def folder_type(text: str) -> str:
    """argparse type of a flag that names a folder, which need not exist yet."""
    path = path_type(text)
    if os.path.exists(path) and not os.path.isdir(path):
        raise argparse.ArgumentTypeError(f"{text} is a file: give a folder")
    return path


def add_max_bad_lines(parser: argparse._ActionsContainer) -> None:
    """Add the flag of the scripts that read logs."""
    parser.add_argument(
        "--max_bad_lines",
        type=number_type(int, 0),
        default=0,
        metavar="N",
        help="skip up to N malformed lines, each of which is named on stderr (default: 0)",
    )


def add_max_user_clicks(parser: argparse._ActionsContainer) -> None:
    """Add the flag of the scripts that count clicks or train on them."""
    parser.add_argument(
        "--max_user_clicks",
        type=number_type(int, 1),
        metavar="N",
        help="use only the last N clicks of each user, over all lines of the user in their order; "
        "give data_processor.py and train.py the same value (default: no limit)",
    )


def add_model_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the flags of the scripts that load a model."""
    parser.add_argument(
        "--model_path", type=path_type, required=True, help="a model_pass_*.tar.gz of train.py"
    )
    parser.add_argument(
        "--feature_dict",
        type=path_type,
        required=True,
        help="the feature_dict.pkl that the model was trained with",
    )


def add_device(parser: argparse._ActionsContainer) -> None:
    """Add the flags of the scripts that run the network."""
    parser.add_argument(
        "--device", help="cpu, gpu, gpu:1, ... (default: a GPU if this paddle has one)"
    )
    parser.add_argument(
        "--threads",
        type=number_type(int, 1),
        default=min(2, os.cpu_count() or 1),
        metavar="N",
        help="number of worker threads (default: %(default)s)",
    )
