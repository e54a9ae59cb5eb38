"""Damaged tar files, and members that lead elsewhere or are no files."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable

from .any_bytes import BYTES, Damage, Maker
from .pictures import PICTURE
from .text_files import JSON
from .values import Random


def tar_member(whole: bytes, random: Random) -> Damage:
    """One member's header changed, its sum set right."""
    members = _tar_members(whole)
    number = random.randrange(len(members))
    info, data = members[number]
    words, change = random.choice(TAR_CHANGES)
    change(info)
    members[number] = (info, data)
    return Damage(f"{number}: {words}", _tarred(members))


def tar_content(whole: bytes, random: Random) -> Damage:
    """One member's content damaged in the manner of its kind."""
    members = _tar_members(whole)
    number = random.randrange(len(members))
    info, data = members[number]
    makers = {"json": JSON, "png": PICTURE}.get(info.name.rpartition(".")[2], BYTES)
    made = random.choice(makers)(data, random)
    info.size = len(made.data)
    members[number] = (info, made.data)
    return Damage(f"{info.name}: {made.name}", _tarred(members))


def tar_size(whole: bytes, random: Random) -> Damage:
    """A header that announces more than there is, or less than nothing, its sum set right."""
    data = bytearray(whole)
    size = random.choice(
        (b"77777777777\0", b"\x80" + b"\xff" * 11, b"\xff" * 12, b"-0000000001\0", b"x" * 12)
    )
    at = 512 * random.randrange(max(len(data) // 512 - 20, 1))
    data[at + 124 : at + 136] = size
    data[at + 148 : at + 156] = b" " * 8
    data[at + 148 : at + 156] = b"%06o\0 " % (sum(data[at : at + 512]) & 0o777777)
    return Damage(f"size {size!r} at {at}", bytes(data))


def _named(name: str) -> Callable[[tarfile.TarInfo], None]:
    def change(info: tarfile.TarInfo) -> None:
        info.name = name

    return change


def _typed(kind: bytes, target: str = "") -> Callable[[tarfile.TarInfo], None]:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname = kind, target

    return change


TAR_CHANGES: tuple[tuple[str, Callable[[tarfile.TarInfo], None]], ...] = (
    ("outside", _named("../../outside.png")),
    ("absolute", _named("/absolute.png")),
    ("no name", _named("")),
    ("control characters", _named("a\x1b[2Jb\nc.png")),
    ("markup", _named("<img src=x onerror=alert(1)>.png")),
    ("a long name", _named("long/" * 400 + "a.png")),
    ("a surrogate", _named("\udcff.png")),
    ("a symbolic link", _typed(tarfile.SYMTYPE, "/etc/passwd")),
    ("a hard link", _typed(tarfile.LNKTYPE, "0.png")),
    ("a device", _typed(tarfile.CHRTYPE)),
    ("a pipe", _typed(tarfile.FIFOTYPE)),
    ("a folder", _typed(tarfile.DIRTYPE)),
    ("a sparse file", _typed(tarfile.GNUTYPE_SPARSE)),
    ("a type of its own", _typed(b"Z")),
)


def _tar_members(whole: bytes) -> list[tuple[tarfile.TarInfo, bytes]]:
    try:
        with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
            return [
                (info, content.read() if (content := tar.extractfile(info)) else b"")
                for info in tar.getmembers()
            ]
    except tarfile.TarError as error:
        raise ValueError("no tar file") from error


def _tarred(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return target.getvalue()


TAR: tuple[Maker, ...] = (tar_member, tar_content, tar_content, tar_size)
