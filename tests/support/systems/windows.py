"""What Windows lacks or forbids, simulated on Linux for the modules of bitnet_onnx.

    python -X warn_default_encoding -m tests.support.systems.windows FOLDER

Runs the commands on the bundled model in one process and prints a JSON object: the outcome of each.
The package's own modules see another ``os``, ``signal`` and ``mmap``, and no module that only POSIX
has. For everybody, a file that is open or mapped cannot be renamed or removed, and a folder cannot
be opened. Other packages take their own care of Windows, so they keep the rest.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import json
import mmap
import os
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.support.paths import DEMO

MODULES = "_posixsubprocess crypt fcntl grp nis pty pwd readline resource spwd syslog termios tty"
NAMES = {
    "os": "EX_USAGE O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_SYNC RTLD_NOW WNOHANG chown "
    "confstr fchmod fchown fdatasync fork forkpty getegid geteuid getgid getloadavg getpgid "
    "getpriority getresuid getsid getuid killpg lchown major minor mkfifo mknod nice openpty "
    "pathconf pipe2 posix_fadvise posix_spawn pread pwrite readv register_at_fork "
    "sched_getaffinity sched_setaffinity sendfile setpgid setsid setuid statvfs sync sysconf "
    "tcgetpgrp ttyname uname wait wait4 writev",
    "signal": "ITIMER_REAL SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP "
    "SIGTTOU SIGUSR1 SIGUSR2 SIGWINCH alarm pause pthread_kill pthread_sigmask setitimer sigwait",
    "mmap": "MADV_DONTNEED MADV_SEQUENTIAL MADV_WILLNEED MAP_PRIVATE MAP_SHARED PROT_READ",
}


NAMES_OF_RUNS = (
    *("export", "export to an empty folder", "info", "generate", "generate from stdin", "chat"),
    *("bench", "verify", "convert to packed", "convert to gguf", "info of gguf", "export of gguf"),
    *("synthesize", "demo"),
)


class _Mapping(mmap.mmap):
    def __getattribute__(self, name: str) -> Any:
        if name == "madvise":
            raise AttributeError(name)
        return super().__getattribute__(name)


def _lacking(module: ModuleType) -> ModuleType:
    """Return a copy of a module without what Windows lacks."""
    copy = ModuleType(module.__name__)
    copy.__dict__.update(module.__dict__)
    for name in NAMES[module.__name__].split():
        copy.__dict__.pop(name, None)
    return copy


def _copies() -> dict[str, ModuleType]:
    copies = {module.__name__: _lacking(module) for module in (os, signal, mmap)}
    copies["os"].__dict__["name"] = "nt"
    copies["mmap"].__dict__["mmap"] = _Mapping
    return copies


def in_use(path: Path) -> bool:
    """Return whether this process has a file open or mapped, or one in a folder."""
    inside = str(path.resolve())
    held = [
        line.split(maxsplit=5)[5:]
        for line in Path("/proc/self/maps").read_text("utf-8").splitlines()
    ]
    names = [part[0].strip() for part in held if part]
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            names.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    return any(name == inside or name.startswith(f"{inside}/") for name in names)


def install() -> None:
    """Make this process lack what Windows lacks; for good."""
    copies, absent, real_import = _copies(), MODULES.split(), builtins.__import__

    def importing(
        name: str,
        globals: Any = None,
        locals: Any = None,
        fromlist: Any = (),
        level: int = 0,
    ) -> ModuleType:
        ours = str((globals or {}).get("__name__")).partition(".")[0] == "bitnet_onnx"
        if ours and not level and name in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if ours and not level and name in copies:
            return copies[name]
        return real_import(name, globals, locals, fromlist, level)

    builtins.__import__ = importing
    for name in ("rename", "replace", "unlink", "remove", "rmdir"):
        _forbid(name, lambda path: in_use(Path(path)))
    _forbid("open", lambda path: isinstance(path, str | Path) and Path(path).is_dir())
    shutil._use_fd_functions = False  # type: ignore[attr-defined]  # as on Windows
    real_sync = os.fsync

    def fsync(fd: Any) -> None:
        import fcntl

        if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        real_sync(fd)

    os.fsync = copies["os"].__dict__["fsync"] = fsync
    for name in ("rename", "replace", "unlink", "remove", "rmdir", "open"):
        copies["os"].__dict__[name] = getattr(os, name)
    warnings.filterwarnings("error", category=EncodingWarning, module="bitnet_onnx")


def _forbid(name: str, forbidden: Callable[[Any], bool]) -> None:
    real = getattr(os, name)

    def guarded(path: Any, *rest: Any, **options: Any) -> Any:
        if "dir_fd" not in options and forbidden(path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, *rest, **options)

    setattr(os, name, guarded)


def commands(folder: Path) -> dict[str, tuple[Sequence[str | Path], str]]:
    """Return the arguments and the standard input of each run, in their order."""
    artifact, gguf = folder / "artifact", folder / "m.gguf"
    (folder / "empty").mkdir()
    few = ("--max-new-tokens", "4")
    return {
        "export": (("export", DEMO, "-o", artifact), ""),
        "export to an empty folder": (("export", DEMO, "-o", folder / "empty"), ""),
        "info": (("info", artifact, "--check"), ""),
        "generate": (("generate", artifact, "What is 27 + 5?", *few), ""),
        "generate from stdin": (("generate", artifact, *few), "What is 27 + 5?"),
        "chat": (("chat", artifact, *few), "What is 27 + 5?\n/reset\nHello\n/exit\n"),
        "bench": (
            ("bench", artifact, "--prompt-tokens", "4", "--max-new-tokens", "25", "--profile"),
            "",
        ),
        "verify": (("verify", DEMO, artifact, "--prompt-ids", "1,2,3", *few), ""),
        "convert to packed": (("convert", DEMO, "-o", folder / "packed", "--to", "packed"), ""),
        "convert to gguf": (("convert", DEMO, "-o", gguf, "--to", "gguf"), ""),
        "info of gguf": (("info", gguf), ""),
        "export of gguf": (("export", gguf, "-o", folder / "from-gguf"), ""),
        "synthesize": (
            ("synthesize", "--preset", "100m", "--layers", "1", "-o", folder / "random"),
            "",
        ),
        "demo": (("demo",), ""),
    }


def outcome(arguments: Sequence[str | Path], given: str) -> str:
    """Run one command; return "" or what went wrong."""
    from bitnet_onnx.cli.main import main

    said = io.StringIO()
    sys.stdin = io.TextIOWrapper(io.BytesIO(given.encode()), encoding="utf-8")
    try:
        with contextlib.redirect_stderr(said):
            code = main(list(map(str, arguments)))
    except BaseException:
        return traceback.format_exc()
    return "" if code == 0 else f"exit code {code}: {said.getvalue()}"


def main(folder: Path) -> None:
    install()
    with contextlib.redirect_stdout(io.StringIO()):
        runs = commands(folder)
        assert tuple(runs) == NAMES_OF_RUNS
        found = {name: outcome(*run) for name, run in runs.items()}
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
