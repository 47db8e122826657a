"""Memory that is freed goes back to the system, so that a server takes what its sessions need and no more.

glibc gives back a large block when it is freed, until one was: then blocks of that size, and up to 32 MiB, come from
heaps, one for each thread, of which only the top can be given back. Sessions that come and go in some order leave holes
there: 50 clients grew a server by 35 MiB a minute, with nothing held. With thresholds that stay where they are, and two
heaps, it rests (`benchmarks/load.py`), and a step takes as long.
"""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Of malloc.h."""


def give_back_what_is_freed() -> bool:
    """For this process, from now on; False where the allocator is none of glibc's, and nothing is changed."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    choices = ((_ARENA_MAX, 2), (_TRIM_THRESHOLD, 1 << 17), (_MMAP_THRESHOLD, 1 << 17))
    return all([mallopt(choice, value) == 1 for choice, value in choices])
