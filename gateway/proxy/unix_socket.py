"""The gateway's Unix socket: where it is, who may open it, and which gateways of this user are listening now.

Only the user who runs the gateway can open its socket, and so needs no key: a socket is 0600 in a directory that
is that user's own and 0700. A living gateway's socket is never taken from it; one that a killed gateway left
behind is replaced. What is served on it is the data plane's.
"""

import errno
import os
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

LONGEST = 107 if sys.platform == "linux" else 103
"""Bytes of a path that fit in a socket's address."""
BACKLOG = 128
SUFFIX = ".sock"


class NoSocket(OSError):
    """Why there is no socket, in one sentence."""

    def __init__(self, text: str, number: int = errno.EINVAL) -> None:
        super().__init__(number, text)


@dataclass(frozen=True, slots=True)
class LocalGateway:
    """A gateway of this user that answers on its socket."""

    name: str
    """Its port, unless somebody named the file otherwise."""
    path: Path


def runtime_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the sockets of this user's gateways are, whether or not it is there yet."""
    given = environment.get("XDG_RUNTIME_DIR", "")
    if given.startswith("/") and Path(given).is_dir():
        return Path(given) / "smg-console"
    return Path(tempfile.gettempdir()) / f"smg-console-{os.getuid()}"


def usual_path(port: int, environment: Mapping[str, str] = os.environ) -> Path:
    """The socket of the gateway on a port."""
    return runtime_directory(environment) / f"{port}{SUFFIX}"


def fault_of(directory: Path) -> str:
    """Why sockets in this directory are not to be trusted; empty: they are this user's alone."""
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode):
        return f"{directory} is no directory"
    if found.st_uid != os.getuid():
        return f"{directory} belongs to another user (uid {found.st_uid})"
    if found.st_mode & 0o077:
        return f"{directory} is open to others (mode {stat.S_IMODE(found.st_mode):04o}, expected 0700)"
    return ""


def too_long(path: str | Path) -> str:
    """Why no socket can be at this path; empty: it is short enough."""
    size = len(os.fsencode(path))
    return "" if size <= LONGEST else f"{size} bytes, and a socket's path has at most {LONGEST}"


def is_answered(path: Path) -> bool:
    """Whether a living process listens there. Raises OSError where nothing is, or this user may not know."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except BlockingIOError:  # it is there, with many in its queue
            return True
    return True


def local_gateways(environment: Mapping[str, str] = os.environ) -> list[LocalGateway]:
    """This user's gateways that are running here, by name. Raises NoSocket if their directory is not to be trusted."""
    directory = runtime_directory(environment)
    try:
        if fault := fault_of(directory):
            raise NoSocket(fault)
        paths = sorted(path for path in directory.iterdir() if path.suffix == SUFFIX)
    except FileNotFoundError:
        return []
    return [LocalGateway(path.stem, path) for path in paths if lives(path)]


def lives(path: Path) -> bool:
    """Whether one can connect there."""
    try:
        return is_answered(path)
    except OSError:
        return False


class UnixSocket:
    """A listening socket at a path; `close` takes the path away again, if it is still this one's."""

    def __init__(self, path: Path, sock: socket.socket) -> None:
        self.path = path
        self.socket = sock
        self._is = _identity(path)

    def close(self) -> None:
        """Take the path away. The socket itself is closed by who serves it."""
        try:
            if _identity(self.path) == self._is:
                self.path.unlink()
        except OSError:  # somebody else was quicker, or took the directory away
            pass


def listening(given: str | None, port: int, environment: Mapping[str, str] = os.environ) -> UnixSocket:
    """A listening socket at the path that was given, else at the usual one for this port. Raises NoSocket."""
    path = Path(given) if given is not None else usual_path(port, environment)
    try:
        if given is None:
            _make_private(path.parent)
        if fault := too_long(path):
            raise NoSocket(f"{path}: {fault}", errno.ENAMETOOLONG)
        with _alone_in(path.parent):
            if given is None:
                _sweep(path.parent)
            _make_room(path)
            return UnixSocket(path, _bound(path))
    except NoSocket as error:
        raise NoSocket(f"cannot listen on a Unix socket: {error.strerror}", error.errno or 0) from None
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise NoSocket(f"cannot listen on {path}: {why}", error.errno or errno.EINVAL) from None


def _make_private(directory: Path) -> None:
    with suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    if fault := fault_of(directory):
        raise NoSocket(fault, errno.EPERM)


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Of gateways that start at the same moment one looks and binds after the other."""
    import fcntl

    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _sweep(directory: Path) -> None:
    """Take away what killed gateways left: their ports may never be used again."""
    for path in directory.glob(f"*{SUFFIX}"):
        try:
            if stat.S_ISSOCK(path.lstat().st_mode) and not is_answered(path):
                path.unlink()
        except OSError:  # none of ours
            continue


def _make_room(path: Path) -> None:
    """Take away a dead gateway's socket. Raises NoSocket for anything else that is there."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise NoSocket(f"{path} is there already and is no socket", errno.EEXIST)
        if is_answered(path):
            raise NoSocket(f"another process listens on {path}", errno.EADDRINUSE)
        path.unlink()
    except FileNotFoundError:
        return


def _bound(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        path.chmod(0o600)  # nobody can connect before it listens
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _identity(path: Path) -> tuple[int, int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino, found.st_mtime_ns  # the number of a file that went is given anew
