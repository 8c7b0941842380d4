"""The command ``meanfield``: one command a file of ``meanfield/_cli``; every failure is one sentence on stderr.

Exit status: 0 done; 1 a claim failed or a run diverged; 2 the input was refused; 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from meanfield import _settings
from solvers.errors import DivergenceError, FileFormatError, InputError, PluginError

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 2, 130


class Parser(argparse.ArgumentParser):
    """An argument parser whose refusal is one sentence."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see `{self.prog} --help`)")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            what = "command" if action.dest == "command" else [action.dest, *action.option_strings][-1]
            known = [str(choice) for choice in action.choices]
            raise InputError(f"unknown {what} {value!r}{_settings.nearest(str(value), known)}")


def commands() -> dict[str, Any]:
    """The modules of ``meanfield._cli`` that are commands: those with `add_parser` and `main`."""
    from meanfield import _cli

    found = {}
    for entry in pkgutil.iter_modules(_cli.__path__):
        module = importlib.import_module(f"meanfield._cli.{entry.name}")
        if hasattr(module, "add_parser") and hasattr(module, "main"):
            found[entry.name] = module
    return found


def build_parser() -> Parser:
    """The parser with a sub-parser for each command."""
    from meanfield._version import __version__

    parser = Parser(
        prog="meanfield",
        description="Infinitely wide two-layer networks: figures of the papers, and training on data of your own.",
    )
    parser.add_argument("--version", action="version", version=f"meanfield-nets {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where in the code a failure arose")
    subparsers = parser.add_subparsers(dest="command", metavar="command", parser_class=Parser)
    for module in commands().values():
        added = module.add_parser(subparsers)
        added.set_defaults(run_command=module.main)
        # Here too, so that it may stand after the command; SUPPRESS keeps an earlier one.
        added.add_argument(
            "--traceback", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS
        )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; expected failures become one sentence on stderr."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a check mark gets a question mark, not a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    loud = "--traceback" in words or os.environ.get("MEANFIELD_TRACEBACK", "") not in ("", "0")
    try:
        parser = build_parser()
        options = parser.parse_args(words)
        if options.command is None:
            parser.print_help()
            return REFUSED
        status = options.run_command(options)
        sys.stdout.flush()
        return int(status or DONE)
    except KeyboardInterrupt:
        if loud:
            raise
        print("meanfield: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe (head, say) has gone: nothing is wrong; keep Python from flushing once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except DivergenceError as error:
        return _report(error, FAILED, loud)
    except (InputError, PluginError, FileFormatError, OSError, ImportError) as error:
        return _report(error, REFUSED, loud)


def _report(error: BaseException, status: int, loud: bool) -> int:
    """Say what went wrong in one line; with `loud`, where too."""
    if loud:
        raise error
    print(f"meanfield: {sentence(error)}", file=sys.stderr)
    return status


def sentence(error: BaseException) -> str:
    """An exception as one line of text."""
    if isinstance(error, OSError) and error.strerror:
        name = f": {error.filename}" if error.filename is not None else ""
        return f"{error.strerror}{name}"
    if isinstance(error, ModuleNotFoundError):
        return f"{error} (install it, then try again)"
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
