"""Prepares a local `sam deploy`: the built binaries as zips, and a copy of the template that names them."""

import hashlib
import os
import platform
import re
import time
import zipfile
from pathlib import Path

from base import LOCAL, Problem

PACKAGES = LOCAL / "packages"

# How long a zip of another build is kept after its last use.
KEPT_SECONDS = 3600

# Lambda's name for an architecture, by the machine's own.
ARCHITECTURES = {"x86_64": "x86_64", "aarch64": "arm64"}


def architecture():
    """This machine's architecture as the template names it."""
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise Problem(f"Lambda does not support {machine}; use an x86_64 or aarch64 machine")
    return ARCHITECTURES[machine]


def package(binary):
    """A zip with the binary as `bootstrap`. An unchanged binary keeps the zip of the last run."""
    try:
        stat = binary.stat()
    except FileNotFoundError:
        raise Problem(f"{binary} does not exist; run cargo build first") from None
    target = PACKAGES / f"{binary.name}.{stat.st_ino:x}-{stat.st_size:x}-{stat.st_mtime_ns:x}.zip"
    if target.exists():
        os.utime(target)
        return target
    PACKAGES.mkdir(parents=True, exist_ok=True)
    entry = zipfile.ZipInfo("bootstrap", date_time=(1980, 1, 1, 0, 0, 0))
    entry.external_attr = 0o755 << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    partial = target.with_suffix(f".{os.getpid()}.partial")
    with zipfile.ZipFile(partial, "w") as archive:
        # Level 1 compresses about 70 MB/s. A higher level takes seconds longer and saves little.
        archive.writestr(entry, binary.read_bytes(), compresslevel=1)
    partial.rename(target)
    for old in PACKAGES.glob(f"{binary.name}.*.zip"):
        try:
            # Another stack may be deploying what it packaged a moment ago.
            if time.time() - old.stat().st_mtime > KEPT_SECONDS:
                old.unlink()
        except FileNotFoundError:
            pass
    return target


def localise(template, bin_dir):
    """The template's text for the stand-in: CodeUri is a zip, roles name batch calls, no metric math.

    It works on lines, so no YAML library has to know CloudFormation's tags. A block is one resource.
    """
    lines, block = [], []
    for line in [*template.splitlines(), "End:"]:
        if re.match(r"( {2})?\w+:", line):
            lines += _without_metric_math(_with_partiql(_with_zip(block, bin_dir)))
            block = []
        block.append(_with_batch(line))
    return _with_release("\n".join(lines) + "\n")


def _with_release(template):
    """The stand-in transforms a template without its parameters, and SAM requires this one there."""
    digest = hashlib.sha256(template.encode()).hexdigest()
    return template.replace("\n  Release:\n", f"\n  Release:\n    Default: {digest}\n")


def _with_zip(block, bin_dir):
    """A function's block names its `Binary:`; its code is the zip of it."""
    binary = next((found[1] for found in map(re.compile(r".*\bBinary: ([\w-]+)").match, block) if found), None)
    if binary is None:
        return block
    path = package(Path(bin_dir) / binary)
    return [re.sub(r"^(\s+CodeUri:).*", rf"\1 {path}", line) for line in block]


def _with_batch(line):
    """AWS checks a batch call of SQS against the plain action; the stand-in requires an action of its own."""
    found = re.match(r"(\s+Action: )\[?([^\]]*)\]?$", line)
    if not found:
        return line
    actions = re.sub(r"sqs:(?:SendMessage|DeleteMessage|ChangeMessageVisibility)\b", r"\g<0>, \g<0>Batch", found[2])
    return line if actions == found[2] else f"{found[1]}[{actions}]"


def _with_partiql(block):
    """AWS checks the statements of a PartiQL batch; the stand-in requires an action of its own."""
    if not any(re.search(r"dynamodb:PartiQL(Insert|Update)\b", line) for line in block):
        return block
    first, indent = next(
        (index, found[1]) for index, found in enumerate(map(re.compile(r"(\s+)- Sid: ").match, block)) if found
    )
    return [
        *block[:first],
        f"{indent}- Sid: OnlyForTheStandIn",
        f"{indent}  Effect: Allow",
        f"{indent}  Action: dynamodb:BatchExecuteStatement",
        f'{indent}  Resource: "*"',
        *block[first:],
    ]


def _without_metric_math(block):
    """The stand-in rejects alarms over several metrics; `alarms.py` reads them from the template."""
    is_alarm = any(line.strip() == "Type: AWS::CloudWatch::Alarm" for line in block)
    return [] if is_alarm and any(line.strip() == "Metrics:" for line in block) else block


def declared(template, values):
    """The parameter values whose parameters the template declares."""
    section = re.search(r"^Parameters:\n((?:(?:[ #].*)?\n)*)", template, re.MULTILINE)
    names = set(re.findall(r"^ {2}(\w+):", section[1], re.MULTILINE)) if section else set()
    return {key: value for key, value in values.items() if key in names}
