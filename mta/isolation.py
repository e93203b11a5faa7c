"""Run only code that was installed: nothing from the directory one stands in, nor from a user's own packages.

Python puts the current directory into its path for ``python -m`` and for an empty or relative entry of $PYTHONPATH, and
a folder of the user's home into that of most installations. The service reads its configuration as ``config``, and
often runs as root: a file of that name must not become its code.

Invariants: imports nothing but modules that every Python has loaded when it starts, for they would be looked for in the
path that is not yet clean.

Limitations: ``python -m mta`` where a folder ``mta`` lies is that folder's; ``mta`` and ``python -P -m mta`` are not.
An absolute entry of $PYTHONPATH other than the current directory is kept: an operator named it, for rules of their own.
"""

import os
import sys

# Run by a new interpreter, with our path as its first argument: whatever $PYTHONPATH may be by then.
_RUN = """\
import sys
sys.path[:] = sys.argv.pop(1).split(":")
del sys.argv[0]
import runpy
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def isolate() -> None:
    """Clean the paths of this process, for modules and for programs, and those that its children inherit."""
    ours = _folder(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    unwanted = _unwanted() - {ours}
    sys.path[:] = [entry for entry in sys.path if os.path.isabs(entry) and _folder(entry) not in unwanted]
    for name in ("PYTHONPATH", "PATH"):
        entries = [entry for entry in os.environ.get(name, "").split(os.pathsep) if os.path.isabs(entry)]
        if name == "PYTHONPATH":
            entries = [entry for entry in entries if _folder(entry) not in unwanted]
        if entries:
            os.environ[name] = os.pathsep.join(entries)
        else:
            os.environ.pop(name, None)
    os.environ |= {"PYTHONSAFEPATH": "1", "PYTHONNOUSERSITE": "1"}


def python_command(module: str, *words: str) -> list[str]:
    """Return the command that runs ``module`` of this installation in a new interpreter, with the path of this one."""
    path = [entry for entry in sys.path if os.path.isabs(entry)]
    return [sys.executable, "-P", "-s", "-c", _RUN, ":".join(path), module, *words]


def _unwanted() -> set[str]:
    """Return the current directory, that of the script, and that of the user's own packages."""
    found = set()
    try:
        found.add(_folder(os.getcwd()))
    except OSError:
        pass  # it was removed
    if sys.argv and sys.argv[0]:
        found.add(_folder(os.path.dirname(os.path.realpath(sys.argv[0]))))
    user_site = getattr(sys.modules.get("site"), "USER_SITE", None)
    if user_site:
        found.add(_folder(user_site))
    return found - {_folder(entry) for entry in _installed()}


def _installed() -> list[str]:
    """Return the folders of Python's library and of the packages installed for all."""
    site = sys.modules.get("site")
    packages = site.getsitepackages() if site else []
    return [os.path.dirname(os.__file__), *packages]


def _folder(path: str) -> str:
    return os.path.realpath(path)
