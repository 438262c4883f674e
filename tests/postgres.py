"""A PostgreSQL server of its own for a test, from Debian's package: started in a folder, stopped at the end.

`postgresql_programs` is None where the package is absent. The server listens on 127.0.0.1 alone, on a free port, and
asks for the password in its URL.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PASSWORD = "not-for-the-log"
# Nothing here outlives the test, so nothing need reach the disk.
FAST = ("-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off", "-c", "shared_buffers=16MB")


def postgresql_programs() -> Path | None:
    """The folder of initdb and pg_ctl, of the newest version installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


@contextmanager
def postgres() -> Iterator[str]:
    """A running server with one empty database; gives postgresql://user:password@127.0.0.1:port/name.

    The server refuses to run as root: it then runs as Debian's user `postgres`.
    """
    programs = postgresql_programs()
    assert programs is not None
    home = Path(tempfile.mkdtemp(prefix="postgres-"))
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    if as_user:
        shutil.chown(home, "postgres", "postgres")

    def call(program: str, *words: str) -> None:
        done = subprocess.run(
            [*as_user, programs / program, *words], cwd=home, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr + done.stdout

    data, secret = home / "data", home / "secret"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    try:
        call("initdb", "-D", str(data), "-U", "music", "--pwfile", str(secret), "-A", "scram-sha-256", "-N")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = " ".join(["-p", str(port), "-k", str(home), "-c", "listen_addresses=127.0.0.1", *FAST])
        call("pg_ctl", "-D", str(data), "-l", str(home / "log"), "-w", "-o", options, "start")
        try:
            yield f"postgresql://music:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            call("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)
