"""Import what all processes need, and leave memory that forked ones can share for long.

A page is shared until one of them writes to it: so the less they write to what is there by then, the less each takes.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

_MADV_DONTNEED = 4
# Python takes small objects from pools of equal blocks; those of up to 32 octets come and go too fast to be counted.
_POOL = 16 * 1024
_BLOCKS = range(48, 512 + 16, 16)
_BYTES = sys.getsizeof(b"")
_GAPS = 3 * 2**20  # octets at most, in case that Python was told to do otherwise
_gaps: list[object] = []
_C = ctypes.CDLL(None)
_clear_caches = getattr(sys, "_clear_internal_caches", sys._clear_type_cache)  # of names that types were asked for


def preload(modules: Iterable[str]) -> None:
    """Import ``modules`` and fill their caches, ready to be shared by forked processes."""
    gc.disable()  # imports produce no garbage, and looking for it takes time
    for name in modules:
        module = importlib.import_module(name)
        if warm_up := getattr(module, "warm_up", None):
            warm_up()
    gc.enable()
    gc.collect()
    _gaps.extend(_fill_gaps())
    gc.freeze()  # a collection would write to every object and so copy the shared pages
    _clear_caches()  # each process would write to all names in it, one by one
    if hasattr(_C, "malloc_trim"):  # glibc's
        _C.malloc_trim(0)
    _give_back_code()


def _give_back_code() -> None:
    """Let go of the pages of code that imports ran through, 11 MiB: what is called again is read from its file."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/maps").read_text().splitlines():
            span, rights, _, _, inode, *_ = line.split()
            if rights == "r-xp" and inode != "0":  # never written to, so nothing is lost
                begin, end = (int(each, 16) for each in span.split("-"))
                _C.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), _MADV_DONTNEED)


def _fill_gaps() -> list[object]:
    """Return objects that take the free blocks between others. Each process would put its first objects there, and so
    copy the pages around them, in place of half a megabyte in pages of its own."""
    filling: list[object] = []
    left = _GAPS
    for size in _BLOCKS:
        blocks, pools = list[object](), Counter[int]()
        while left > 0:
            block = bytes(size - _BYTES)
            blocks.append(block)
            left -= size
            pools[pool := id(block) // _POOL] += 1
            if pools[pool] >= _POOL // size - 2:  # it is ours alone: no gap was left
                blocks = [each for each in blocks if id(each) // _POOL != pool]
                break
        filling += blocks
    return filling
