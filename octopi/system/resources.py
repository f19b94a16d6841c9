"""The cores, memory and disk space that this process may use. Standard library only."""

import contextlib
import functools
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

from octopi.errors import ResourceError, SettingError, shorten

UNLIMITED = 1 << 60  # cgroup v1 writes a number like this where there is no limit
# Looks of an OpenMP thread at its neighbours before it sleeps, GCC's default is millions. Beside 20
# busy processes a step takes a tenth of the time; on free cores 1.06 times the time.
SPINS = "1000"
CGROUPS = Path("/sys/fs/cgroup")
CGROUPS_OF_PROCESS = Path("/proc/self/cgroup")
MEMINFO = Path("/proc/meminfo")


def num_cores() -> int:
    """Count the cores that this process may keep busy.

    That is the fewest that its affinity, its control groups and SLURM give it.

    `joblib.cpu_count()` reads the quota of the root group only: of a process in a group below it,
    as in a systemd slice or a job of a queue, it counts all cores.
    """
    cores = float(len(os.sched_getaffinity(0)))
    for folder in _process_cgroups():
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if quota.isdigit():
            cores = min(cores, int(quota) / int(period or 100_000))
        quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit():
            cores = min(cores, int(quota) / int(period))
    return max(1, int(min(cores, _slurm_cores())))


def _slurm_cores() -> float:
    """Return the cores that SLURM gave this task; many clusters do not bind it to them."""
    if per_task := variable_number("SLURM_CPUS_PER_TASK", 0):
        return per_task
    nodes = variable_number("SLURM_STEP_NUM_NODES") or 1
    tasks_per_node = variable_number("SLURM_STEP_NUM_TASKS") // nodes
    return variable_number("SLURM_CPUS_ON_NODE", UNLIMITED) / max(1, tasks_per_node)


def variable_number(name: str, default: int = 1) -> int:
    """Return the number in an environment variable, such as SLURM sets; the default without it.

    Raises:
        SettingError: it is set to something else.
    """
    text = os.environ.get(name) or str(default)
    if not text.isdecimal():
        raise SettingError(
            f"{name}={shorten(text)} in the environment, which SLURM or torchrun sets to a number. "
            f"Unset it: unset {name}"
        )
    return int(text)


def num_threads(processes: int = 1) -> int:
    """Return the threads that each of some processes may compute with, side by side.

    OMP_NUM_THREADS, where the user sets it, is an upper bound.
    """
    share = max(1, num_cores() // processes)
    typed = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return min(share, int(typed)) if typed.isdecimal() and int(typed) else share


def limit_threads() -> None:
    """Keep OpenMP to the cores of this process, before a library that uses it is imported.

    By itself it knows the affinity only.
    """
    with contextlib.suppress(SettingError):  # told by the command that computes, not by the import
        if num_cores() < len(os.sched_getaffinity(0)):
            os.environ["OMP_NUM_THREADS"] = str(num_threads())
    if "OMP_WAIT_POLICY" not in os.environ:  # the user's
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def memory() -> int:
    """Count the bytes of RAM that this process can still take: free ones, within its limits."""
    free = UNLIMITED
    for line in _read(MEMINFO).splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    for limit, used in _memory_files(CGROUPS_OF_PROCESS, CGROUPS):
        allowed, in_use = _read(limit), _read(used)
        if allowed.isdigit() and int(allowed) < UNLIMITED:
            free = min(free, int(allowed) - int(in_use or 0) + _reclaimable(limit.parent))
    address_space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if address_space != resource.RLIM_INFINITY:
        free = min(free, address_space)
    return max(0, free)


def cpu_seconds_of(pid: int) -> float:
    """Return the CPU-seconds of another process so far; 0 where the system does not tell."""
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    # utime and stime are fields 14 and 15 of proc(5); the first two are cut off
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def peak_memory() -> int:
    """Return the peak RAM of this process in bytes, since it began or since the last call.

    Each call resets the peak where the kernel allows that.
    """
    lines = _read(Path("/proc/self/status")).splitlines()
    peaks = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    with contextlib.suppress(OSError):  # not Linux, or not allowed: the peak stays as it is
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peaks[0] if peaks else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def nearest_existing_folder(path: str | Path) -> Path:
    """Return the path itself, or the closest folder above it that exists."""
    path = Path(path).absolute()
    while not path.exists():
        path = path.parent
    return path


def free_space(path: str | Path) -> int:
    """Count the bytes that may still be written to the disk of a path, which need not exist."""
    return shutil.disk_usage(nearest_existing_folder(path)).free


def check_writable(path: str | Path, advice: str) -> None:
    """Raise ResourceError unless files could be made in a folder; none is made.

    Args:
        path: the folder, which need not exist.
        advice: what to do if not.
    """
    folder = nearest_existing_folder(path)
    is_of_kernel = {Path("/proc"), Path("/sys")} & {folder.resolve(), *folder.resolve().parents}
    if not folder.is_dir() or is_of_kernel or not os.access(folder, os.W_OK | os.X_OK):
        reason = "cannot be written" if folder.is_dir() else "is no folder"
        raise ResourceError(f"Nothing can be written to {path}: {folder} {reason}. {advice}")


def parse_duration(text: str) -> int:
    """Return the seconds of a time that is written as `trainer.max_time` is, DD:HH:MM:SS."""
    days, hours, minutes, seconds = (int(part) for part in text.split(":"))
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def format_time_limit(seconds: int) -> str:
    """Write seconds as `trainer.max_time` is written, DD:HH:MM:SS."""
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours // 24:02}:{hours % 24:02}:{minutes:02}:{seconds:02}"


def format_duration(seconds: float) -> str:
    """Format a time, as in 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def format_bytes(num_bytes: float) -> str:
    """Write a number of bytes for people: 1.5 GB."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if num_bytes >= size:
            return f"{num_bytes / size:.3g} {unit}"
    return f"{num_bytes:.0f} bytes"


@functools.cache
def _memory_files(_process: Path, _groups: Path) -> list[tuple[Path, Path]]:
    """List the files with the limit and the use of memory in this process's control groups.

    They stay the same, and most of these groups have none: looked for once, not for each volume.
    """
    names = (
        ("memory.max", "memory.current"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes"),
    )
    pairs = ((group / limit, group / used) for group in _process_cgroups() for limit, used in names)
    return [pair for pair in pairs if pair[0].exists()]


def _process_cgroups() -> Iterator[Path]:
    """Yield the folders of this process's control groups up to the root; version 2, then 1."""
    for line in _read(CGROUPS_OF_PROCESS).splitlines():
        _, controllers, path = line.split(":", 2)
        roots = [CGROUPS / name for name in controllers.split(",") if name] or [CGROUPS]
        for root in roots:
            folder = root / path.lstrip("/")
            while folder != root:
                yield folder
                folder = folder.parent
            yield root


def _reclaimable(folder: Path) -> int:
    """Count the bytes of cached files that a control group counts as used but would give back."""
    for line in _read(folder / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
