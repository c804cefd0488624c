"""The `spineseg` command. Only argparse is imported here: `spineseg --help` must answer at once."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, TextIO

from SpineSegLib import __version__
from SpineSegLib.cli import cases, compare, evaluate, models, phantom, segment, train, web
from SpineSegLib.engine.errors import SpineSegError

COMMANDS = (segment, compare, evaluate, models, cases, train, web, phantom)
INTERRUPTED = 130

EPILOG = """\
examples:
  spineseg segment chest.nii.gz                       writes chest.seg.nrrd, which opens in 3D Slicer
  spineseg segment dicom/ --reference manual.nii.gz   also compares with a manual segmentation
  spineseg compare spine.seg.nrrd manual.nii.gz       distances, agreement, worst slices
  spineseg evaluate cases --report evaluation         a whole data set, with a report
  spineseg train corrected/ --out better.weights.h5 --from default
  spineseg phantom cases --count 2                    synthetic CT with known truth, to try things out

exit codes:
  0    done
  1    an unexpected error (report it with what --debug shows)
  2    the command line is wrong
  3    the CT, mask or data set can't be used
  4    the model can't be used
  5    a result can't be written
  6    the network can't be run
  130  stopped by Ctrl-C
"""


def parser() -> argparse.ArgumentParser:
    """The command line with all its commands."""
    top = argparse.ArgumentParser(
        prog="spineseg",
        description="Segment the spine in CT on your own computer, compare with manual segmentations and re-train.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"SpineSeg {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--quiet", action="store_true", help="show no progress")
    common.add_argument("--debug", action="store_true", help="show what libraries say and where an error comes from")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands, common)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code; every error is one sentence on stderr."""
    options = parser().parse_args(arguments)
    if not options.debug:
        _silence_libraries()
    options.stopped = _Stopped()
    try:
        with options.stopped, _listeners():
            code = options.run(options)
            sys.stdout.flush()
            return code
    except BrokenPipeError:
        # whoever read our output has enough; what Python flushes at exit must not complain again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (KeyboardInterrupt, Exception) as error:
        if options.stopped.by_user or isinstance(error, KeyboardInterrupt):
            return _fail("Stopped; nothing was left half-written.", INTERRUPTED)
        if options.debug:
            raise
        if isinstance(error, SpineSegError):
            return _fail(str(error), error.exit_code)
        if isinstance(error, MemoryError):
            return _fail("The computer ran out of memory; close other programs or give it a smaller CT.", 6)
        # an OSError's text names the file, and names of DICOM files may name patients
        what = str(getattr(error, "strerror", None) or error)
        what = " ".join(what.split())[:200] or "no further information"
        return _fail(f"Unexpected {type(error).__name__} ({what}); run again with --debug to see where.", 1)


@contextmanager
def _listeners() -> Iterator[None]:
    """Make both outputs fit for whatever listens, or has stopped to."""
    before = sys.stdout, sys.stderr
    if sys.stdout is None:  # closed by the shell
        sys.stdout = io.TextIOWrapper(io.BytesIO())
    # file names may hold characters that the terminal's encoding lacks
    sys.stdout.reconfigure(errors="backslashreplace")
    # nobody needs to see progress for the work to be worth finishing
    sys.stderr = _Unheard(sys.stderr)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _Unheard:
    """A stream that goes on where nobody reads it any more."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream or io.StringIO()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with suppress(BrokenPipeError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(BrokenPipeError):
            self._stream.flush()


def _fail(sentence: str, code: int) -> int:
    print(f"spineseg: {sentence}", file=sys.stderr)
    return code


class _Stopped:
    """While entered, Ctrl-C and a request to terminate raise KeyboardInterrupt.

    A library may turn that into an error of its own; `by_user` remembers what it was.
    """

    def __init__(self) -> None:
        self.by_user = False

    def __enter__(self) -> None:
        self._before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.by_user = True
        raise KeyboardInterrupt


def _silence_libraries() -> None:
    """Keep TensorFlow, absl and OpenVINO from writing start-up notes to the terminal; they read these when imported."""
    import warnings

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("OPENVINO_LOG_LEVEL", "0")
    warnings.simplefilter("ignore")
