"""A run folder: what a run was asked, is and found; a kill at any moment loses nothing.

    config.json        what was asked for, and the folder's `format`; written last, so that a folder
                       without it is not yet a run
    environment.json   versions, machine, commit at creation; data hashes once confirmed
    metrics.jsonl      one record a line, appended
    checkpoints/NAME/  whole folders that appear at once
    result.json        what came out; present means finished

An appended line counts once its newline is there; a torn last line is cut off when the folder is
opened. One process at a time holds a folder, by `flock`, which dies with the process; it fails on
file systems without it (some network mounts).

>>> import tempfile
>>> with RunFolder.resume(tempfile.mkdtemp() + "/run", {"seed": 0}, data_hashes={}) as folder:
...     folder.log({"round": 1, "kl": 0.5})
...     folder.metrics()
[{'round': 1, 'kl': 0.5}]
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import trueline.atomic as atomic
from trueline.errors import InvalidExperiment, SetupError

__all__ = ["FORMAT", "RunFolder"]

FORMAT, LOCK = 1, ".lock"
"""Version of the layout above; a folder of another version is refused, never guessed at."""
PACKAGES = (
    *("accelerate", "numpy", "pandas", "peft", "safetensors", "scikit-learn", "scipy"),
    *("sqlalchemy", "tokenizers", "torch", "transformers"),
)


class RunFolder:
    """One run's folder; `resume` holds it for this process until `close` or the end of a `with`."""

    def __init__(self, folder: Path, *, lock: int | None) -> None:
        self.folder = folder
        self._lock = lock
        config = _read_object(folder / "config.json")
        version = config.pop("format", None)
        if version != FORMAT:
            raise SetupError(
                f"a run folder must have format {FORMAT}",
                got=f"format {version!r} in {folder}",
                do="open it with the version of trueline that wrote it, or start a new folder",
            )
        self.config = config
        self.environment = _read_object(folder / "environment.json")

    @classmethod
    def resume(
        cls,
        path: str | os.PathLike[str],
        config: Mapping[str, Any],
        *,
        data_hashes: Mapping[str, str] | None = None,
    ) -> RunFolder:
        """Open the run at `path`, mended if it was killed, or begin it; without `data_hashes` its
        data are still to be confirmed, and until then it may begin with another configuration.

        Raises:
            SetupError: it began with another configuration, another process holds it, or `path`
                holds something else.
            InvalidExperiment: its data have changed.
        """
        folder = Path(path)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise SetupError("a run needs a folder", got=f"a file in the way of {path}") from None
        with _held(folder) as lock:
            if not (folder / "config.json").exists():
                _begin(folder, config)
            run = cls(folder, lock=lock)
            if "data_hashes" not in run.environment and run.config != config:
                atomic.atomic_write(folder / "config.json", _as_json(config))
                run.config = dict(config)
            changed = [name for name, value in config.items() if run.config.get(name) != value]
            if changed:
                raise SetupError(
                    "a run is resumed with the configuration it began with",
                    got=f"another {', '.join(changed)} in {path}",
                    do="choose another --out, or give the same options",
                )
            if data_hashes is not None:
                run.confirm(data_hashes)
            run._mend()
            return run

    def confirm(self, data_hashes: Mapping[str, str]) -> None:
        """Keep what the run is made on, or refuse others (`InvalidExperiment`) if it is kept."""
        was = self.environment.get("data_hashes")
        if was is None:
            self.environment["data_hashes"] = dict(data_hashes)
            facts = atomic.to_json(self.environment)
            atomic.atomic_write(self.folder / "environment.json", facts)
        elif dict(data_hashes) != was:
            raise InvalidExperiment(
                "a run must be resumed on the data it began with",
                got="changed: " + ", ".join(sorted(dict(data_hashes.items() ^ was.items()))),
                do="restore the data, or start a new run",
            )

    @classmethod
    def view(cls, path: str | os.PathLike[str]) -> RunFolder:
        """Open the run at `path` to be read only, also while another process works on it."""
        folder = Path(path)
        if not (folder / "config.json").is_file():
            raise SetupError("a run folder must hold config.json", got=f"none in {folder}")
        return cls(folder, lock=None)

    def close(self) -> None:
        """Let go of the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one record; on a full disk the file stays as it was."""
        atomic.append_line(self._metrics, atomic.to_json(record, indent=None))

    def metrics(self) -> list[dict[str, Any]]:
        """Return all whole records, in order; `SetupError` where a line is none."""
        lines = self._lines()
        for number, line in enumerate(lines, 1):
            if not _is_record(line):
                raise SetupError(
                    "every line of metrics.jsonl must be one JSON object",
                    got=f"something else at {self._metrics}:{number}",
                    do="resume the run, which mends its last line",
                )
        return [json.loads(line) for line in lines]

    def rewrite_metrics(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Drop the records that `keep` is false of, such as those of an interrupted round."""
        kept = (atomic.to_json(row, indent=None) + "\n" for row in self.metrics() if keep(row))
        atomic.atomic_write(self._metrics, "".join(kept))

    def checkpoint(self, name: str) -> contextlib.AbstractContextManager[Path]:
        """Give a folder to fill in a `with` block; it is checkpoint NAME when that ends well."""
        # Labels and answers lie in it.
        (self.folder / "checkpoints").mkdir(mode=0o700, exist_ok=True)
        return atomic.atomic_folder(self.path(name))

    def path(self, name: str) -> Path:
        """Return where checkpoint NAME is or would be; a folder that is there is whole."""
        return self.folder / "checkpoints" / name

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write result.json: the run is finished."""
        atomic.atomic_write(self.folder / "result.json", atomic.to_json(result))

    @property
    def result(self) -> dict[str, Any] | None:
        """What `finish` wrote; None while the run is not finished."""
        file = self.folder / "result.json"
        return _read_object(file) if file.exists() else None

    @property
    def _metrics(self) -> Path:
        return self.folder / "metrics.jsonl"

    def _lines(self) -> list[bytes]:
        # What follows the last newline is still being written, or was when the writer died.
        return self._metrics.read_bytes().split(b"\n")[:-1] if self._metrics.exists() else []

    def _mend(self) -> None:
        """Cut a torn end off the metrics and clear away half-written files and checkpoints."""
        lines = self._lines()
        # After a power cut a file may have its length and not its bytes: that tail is torn too.
        while lines and not _is_record(lines[-1]):
            lines.pop()
        whole = b"".join(line + b"\n" for line in lines)
        if self._metrics.exists() and self._metrics.read_bytes() != whole:
            atomic.atomic_write(self._metrics, whole)
        self.metrics()
        atomic.mend(self.folder)
        atomic.mend(self.folder / "checkpoints")


def _begin(folder: Path, config: Mapping[str, Any]) -> None:
    """Write what makes a held, empty folder a run; a creation that was cut short is done again."""
    names = sorted({p.name for p in folder.iterdir()} - {LOCK, "environment.json"})
    strange = [name for name in names if not name.startswith(atomic.FRESH)]
    if strange:
        raise SetupError(
            "a new run needs an empty folder",
            got=f"{folder} holding {strange[0]}",
            do="resume the run in it, or choose another folder",
        )
    atomic.mend(folder)
    atomic.atomic_write(folder / "environment.json", atomic.to_json(_environment()))
    atomic.atomic_write(folder / "config.json", _as_json(config))


def _as_json(config: Mapping[str, Any]) -> str:
    return atomic.to_json({**config, "format": FORMAT})


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[int]:
    """Take the folder's lock; keep it if the block ends well and let go if it fails."""
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SetupError(
                "only one process may work in a run folder",
                got=f"another one in {folder}",
                do="wait for it to end, or choose another folder",
            ) from None
        yield lock
    except BaseException:
        os.close(lock)
        raise


def _read_object(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SetupError("a run folder must be whole", got=f"no {file.name} in it") from None
    except ValueError as error:
        raise SetupError(f"{file.name} must hold JSON", got=f"{error} in {file}") from None
    if not isinstance(value, dict):
        raise SetupError(f"{file.name} must hold JSON", got=f"no object in {file}")
    return value


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _environment() -> dict[str, Any]:
    """Return the versions, machine and commit that a result depends on; None: not to be had.

    Nothing heavy is imported; no host name, user or path is recorded: a result may be published.
    """
    return {
        "trueline": _version("trueline"),
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "num_cpus": os.cpu_count(),
        "packages": {package: _version(package) for package in PACKAGES},
    }


def _version(package: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    return None


def _commit() -> str | None:
    """Return the package's git commit, `+changes` if edited; None where it is no checkout."""
    here = Path(__file__).resolve()

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here.parent), *arguments]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=10)
        return done.stdout.strip()

    try:
        # An installed copy may lie inside somebody else's repository: that is not our commit.
        git("ls-files", "--error-unmatch", here.name)
        edited = git("status", "--porcelain", "--untracked-files=no", "--", ".")
        return git("rev-parse", "HEAD") + ("+changes" if edited else "")
    except (OSError, subprocess.SubprocessError):
        return None
