"""Commands on a folder that cannot be written to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOUNTED = 'mount -o bind,ro "$0" "$0" && exec "$@"'


def command_on(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """``vkdnw-search WORDS`` in a process for which ``folder`` is read-only."""
    command = [sys.executable, "-m", "vkdnw_search", *words]
    if os.getuid() == 0:  # whom permissions do not bind
        command = ["unshare", "-m", "sh", "-c", MOUNTED, str(folder), *command]
        if subprocess.run([*command[:6], "true"], capture_output=True, check=False).returncode != 0:
            pytest.skip("root may not mount anything here, so no folder is read-only for it")
    for file in (folder, *folder.rglob("*")):
        file.chmod(0o555 if file.is_dir() else 0o444)
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    finally:
        for file in (folder, *folder.rglob("*")):
            file.chmod(0o755 if file.is_dir() else 0o644)
