"""Files and folders that are written whole or not at all, whatever happens to the process.

One implementation for artifacts, exports, checkpoints, downloads, tables and pages:

``steps``      the few system calls that change files for good, in one place so that tests can cut
               each one off
``temporary``  temporary names that nobody else has, and the removal of those whose process is gone
``locks``      one process at a time at a folder, with a message that says who is there
``whole``      a file that takes the place of another
``folders``    a folder that takes the place of another, by an exchange that a crash cannot split
``ours``       what in a folder may be replaced: what our own list names
``trouble``    what a full disk looks like from the libraries that write
"""

from __future__ import annotations

from engine.core.files import steps
from engine.core.files.folders import recover, replacing_folder, sync_tree
from engine.core.files.locks import Lock, locked
from engine.core.files.ours import foreign, refuse_foreign
from engine.core.files.temporary import scratch, sweep
from engine.core.files.trouble import disk_trouble, explained
from engine.core.files.whole import (
    check_outputs,
    check_target,
    replacing,
    target_of,
    write_pieces,
    write_text,
)

__all__ = [
    "Lock",
    "check_outputs",
    "check_target",
    "disk_trouble",
    "explained",
    "foreign",
    "locked",
    "recover",
    "refuse_foreign",
    "replacing",
    "replacing_folder",
    "scratch",
    "steps",
    "sweep",
    "sync_tree",
    "target_of",
    "write_pieces",
    "write_text",
]
