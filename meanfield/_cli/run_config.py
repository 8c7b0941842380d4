"""``meanfield run config.toml``: train on data of one's own as a configuration file says."""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from meanfield import _settings
from solvers._check import number
from solvers.errors import InputError

EXAMPLES = resources.files("meanfield") / "examples"


def add_parser(subparsers: Any) -> Any:
    parser = subparsers.add_parser(
        "run",
        help="train on your own data as a configuration file says",
        description="Trains an infinitely wide network on a table of data; writes trajectory, measure, summary and "
        "pictures into a folder of results. Exit status 1 if the run diverged.",
    )
    parser.add_argument("config", nargs="?", metavar="CONFIG", help="a TOML file; --list-examples shows some")
    parser.add_argument("--example", metavar="NAME", help="run an example that comes with the package")
    parser.add_argument("--list-examples", action="store_true", help="show the examples and where they are")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        dest="changes",
        help="replace a value of the file; may be repeated",
    )
    parser.add_argument("--out", metavar="DIR", help="folder of results (default: [output] folder)")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the folder")
    parser.add_argument(
        "--force", action="store_true", help="start anew: earlier results are moved aside, not deleted"
    )
    parser.add_argument("--no-plot", action="store_true", help="write no pictures")
    return parser


def main(options: argparse.Namespace) -> int:
    if options.list_examples:
        print(_listing())
        return 0
    path = _config(options)

    from meanfield._experiment import build, folder, pictures, settings

    tables = settings.read(path, options.changes)
    wanted = settings.parse(tables)
    output = wanted.output
    with settings.section("output"):
        pictures.check_formats(output.formats)
    out = Path(options.out or output.folder or Path("results") / path.stem)
    source = wanted.data.source
    inputs = [path, *([] if source.startswith("sklearn:") else [path.parent / source])]
    folder.check(out, inputs, options.resume, options.force)
    experiment = build.build(wanted, path.parent)
    with settings.section("output"):
        checkpoint = _checkpoint(out, output)
    results = folder.open_results(out, options.resume)
    if results.aside is not None:
        print(f"moved earlier results to {results.aside}", file=sys.stderr)
    try:
        return _train(experiment, results, checkpoint, tables, () if options.no_plot else output.formats)
    except KeyboardInterrupt as reason:
        if not checkpoint.path.exists():
            raise
        what = str(reason) or "interrupted"
        print(
            f"meanfield: {what}; {checkpoint.path} is kept: the same command with --resume goes on from it",
            file=sys.stderr,
        )
        return 130


def _train(experiment: Any, results: Any, checkpoint: Any, tables: dict[str, Any], formats: Any) -> int:
    import solvers
    from meanfield._experiment import folder, pictures, summary
    from solvers._files import write_text

    with _stopped_gently():
        run: Any = solvers.integrate(
            experiment.flow,
            experiment.start,
            observers=[_GoingOn(), solvers.Progress(), checkpoint],
            resume=results.resume or None,
            on_divergence="record",
            **experiment.options,
        )
    if run.status is solvers.Status.interrupted:
        raise KeyboardInterrupt(run.message)
    certificate = summary.certify(experiment, run)
    found = summary.summarize(experiment, run, certificate, tables)
    run = dataclasses.replace(run, provenance={**run.provenance, "file": tables})
    written = [results.path(folder.TRAJECTORY), results.path(folder.MEASURE)]
    run.save(written[0])
    run.final.save(written[1])
    if formats:
        written += pictures.write(experiment, run, certificate, results.folder, formats)
    written.append(results.path(folder.SUMMARY))
    found["files"] = [path.name for path in written]
    # Last: a folder with a summary is complete.
    write_text(written[-1], json.dumps(found, indent=2, allow_nan=False) + "\n")
    print(summary.text(experiment, run, certificate, found))
    print()
    for path in written:
        print(f"wrote {path}")
    if run.status is solvers.Status.diverged or run.status is solvers.Status.step_too_small:
        print(f"meanfield: {run.message}. {run.advice}", file=sys.stderr)
        return 1
    return 0


class _GoingOn:
    """Says where a resumed run goes on."""

    def begin(self, view: Any) -> None:
        if view.k:
            print(f"going on from t = {view.t:.6g}, step {view.k}", file=sys.stderr)

    def observe(self, view: Any) -> None:
        return None


@contextmanager
def _stopped_gently() -> Iterator[None]:
    """Inside the block SIGTERM, with which schedulers end jobs, is treated as Ctrl-C is: a checkpoint is written."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _checkpoint(out: Path, output: Any) -> Any:
    import solvers
    from meanfield._experiment import folder

    seconds, steps = output.checkpoint_seconds, output.checkpoint_steps
    if seconds is not None:
        seconds = number(seconds, "checkpoint_seconds", positive=True)
    if steps is not None:
        steps = number(steps, "checkpoint_steps", positive=True, integer=True)
    if seconds is not None and steps is not None:
        raise InputError("set checkpoint_seconds or checkpoint_steps, not both")
    if seconds is None and steps is None:
        seconds = 30.0
    return solvers.Checkpoint(out / folder.CHECKPOINT, seconds=seconds, steps=steps)


# -- examples -----------------------------------------------------------------------------------------------------


def _config(options: argparse.Namespace) -> Path:
    """The configuration file that the command line names."""
    if (options.config is None) == (options.example is None):
        raise InputError(
            "name a configuration file or an example: `meanfield run CONFIG` or `meanfield run --example NAME` "
            "(--list-examples shows them)"
        )
    if options.config is not None:
        return Path(options.config)
    known = examples()
    if options.example not in known:
        raise InputError(f"unknown example {options.example!r}{_settings.nearest(options.example, known)}")
    return known[options.example]


def examples() -> dict[str, Path]:
    """The configuration files that come with the package, by name."""
    found = sorted(Path(str(entry)) for entry in EXAMPLES.iterdir() if entry.name.endswith(".toml"))
    return {path.stem: path for path in found}


def _listing() -> str:
    lines = []
    for name, path in examples().items():
        title = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        lines.append(f"{name}\n    {title}\n    {path}")
    return "\n".join(
        [*lines, "", "Run one by `meanfield run --example NAME`; copy its file to begin one of your own."]
    )
