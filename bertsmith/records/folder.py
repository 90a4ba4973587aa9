"""The folder of an entry: written from the folders of runs, and checked by itself or against these.

ENTRY/entry.json       what is claimed, which follows from the rest
      manifest.json    a hash of each file
      run/…            manifest, recipe and log of the pre-training run, and its last checkpoint's hashes
      data/…           manifest of the data folder, with the hashes of the corpus and of all shards
      reference/…      manifests and results of the GLUE run with that protocol, a folder a task and seed
      cramming/…       likewise
"""

import os
import shutil
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

from bertsmith.errors import UserError, quoted
from bertsmith.records.agreement import compared, contradictions, stored_averages
from bertsmith.records.entry import entry_of
from bertsmith.records.evidence import Evidence, Sources, newest_checkpoint_folder, read_evidence, sources_of
from bertsmith.reports.averages import PROTOCOLS
from bertsmith.storage.files import atomic_folder, make_folder, reported, sha256_file
from bertsmith.storage.folders import no_empty_folder
from bertsmith.storage.json_files import check_shape, read_json, write_json
from bertsmith.storage.manifests import folder_type, read_manifest, word, write_manifest
from bertsmith.tasks.pretrained_encoder import open_pretrained_encoder

ENTRY_FILE = "entry.json"
MAX_FILE_BYTES = 64 << 20
"""Of a file in an entry; the log of a million steps is half of it."""


def find_sources(runs: Sequence[Path], data: Path | None = None) -> Sources:
    """Return the folders of one pre-training run and of GLUE runs of its model, by their manifests.

    Args:
        data: the data folder, where it is no longer where the run's recipe has it.

    Raises:
        UserError: a folder is of another type; there is no pre-training run or several; two GLUE runs have one
            protocol; the data folder is not there.
    """
    pretraining, glue = [], {}
    for run in runs:
        kind = folder_type(run, strict=True)
        if kind == "pretrain":
            pretraining.append(run)
        elif kind == "glue":
            manifest = read_manifest(run, "glue")
            check_shape(manifest, {"settings": {"protocol": str}}, str(run / "manifest.json"))
            protocol = manifest["settings"]["protocol"]
            if protocol not in PROTOCOLS or protocol in glue:
                raise UserError(f"{run}: protocol {quoted(protocol, 40)}; give one GLUE run each of {_PROTOCOLS}")
            glue[protocol] = run
        else:
            what = "no run of ours" if kind is None else f"a {word(kind)} folder"
            raise UserError(f"{run}: {what}; an entry is made of a run of `pretrain` and of runs of `glue`")
    if len(pretraining) != 1:
        raise UserError(f"record: {len(pretraining)} pre-training runs; an entry is of one")
    [run] = pretraining
    data = data or Path(read_manifest(run, "pretrain")["data"]["path"])
    if not data.is_dir():
        raise UserError(f"{run}: its data, {data}, is not there; name the folder with --data DIR")
    return Sources(run, data, {protocol: glue[protocol] for protocol in PROTOCOLS if protocol in glue})


_PROTOCOLS = " and ".join(PROTOCOLS)


@no_empty_folder
def write_entry(sources: Sources, out: Path) -> dict[str, Any]:
    """Write the entry of these runs to the folder `out`, which may hold an earlier one; returns its entry.json.

    Raises:
        UserError: a file is missing or damaged; files contradict each other; a GLUE run is of another model; `out`
            holds something else, or is in use.
    """
    names = _replaceable(out)
    evidence = read_evidence(sources)
    if found := _faults(evidence):
        raise UserError("\n".join([*found[:1], "so no entry can be made of it; run the command again that wrote it"]))
    _check_model(evidence)
    entry = entry_of(evidence)
    make_folder(out.resolve().parent)
    with atomic_folder(out, names) as folder:
        files = sources.files()
        for name, path in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with reported(path):
                shutil.copyfile(path, folder / name)
        write_json(folder / ENTRY_FILE, entry)
        hashes = {name: sha256_file(folder / name) for name in (*sorted(files), ENTRY_FILE)}
        write_manifest(folder, "record", {"files": hashes, "names": list(hashes)})
    return entry


def check_entry(folder: Path, against: Sources | None = None) -> list[str]:
    """Return what is wrong with the entry in `folder`, a line each; none where all that it claims follows from its
    files. That it is eligible is another matter: entry.json says so, and is held to it.

    Args:
        against: the runs themselves, to hold the copies and the hashes to.

    Raises:
        UserError: it is no entry; a file of the runs themselves is missing or damaged.
    """
    manifest = read_manifest(folder, "record")
    found = _files(folder, manifest["files"])
    try:
        evidence = read_evidence(sources_of(folder))
        found += _faults(evidence)
        said = read_json(folder / ENTRY_FILE, dict)
        found += [f"{folder / ENTRY_FILE}: {line}" for line in compared(said, entry_of(evidence))]
    except (UserError, OSError) as error:
        found.append(str(error).partition("\n")[0])
    if against is not None:
        found += _against(folder, manifest["files"].keys() - {ENTRY_FILE}, against)
    return list(dict.fromkeys(found))


def read_entry(folder: Path) -> dict[str, Any]:
    """Return the content of an entry's entry.json, as it is. Raises UserError where there is none."""
    return read_json(folder / ENTRY_FILE, dict)


def _faults(evidence: Evidence) -> list[str]:
    return [*contradictions(evidence), *stored_averages(evidence)]


def _files(folder: Path, hashes: dict[str, str]) -> list[str]:
    """Hold the files in an entry to the hashes in its manifest."""
    found, there = [], set()
    for parent, folders, names in os.walk(folder):
        places = [Path(parent) / name for name in (*folders, *names)]
        found += [f"{place}: a link; an entry has files alone" for place in places if place.is_symlink()]
        there |= {(Path(parent) / name).relative_to(folder).as_posix() for name in names}
    there -= {"manifest.json", ".lock"}
    found += [f"{folder / name}: is not in the entry's manifest.json" for name in sorted(there - hashes.keys())]
    found += [f"{folder}: {quoted(name, 100)} is missing" for name in sorted(hashes.keys() - there)]
    for name in sorted(there & hashes.keys()):
        path = folder / name
        if not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
            found.append(f"{path}: no file of at most {MAX_FILE_BYTES >> 20} MB")
        elif sha256_file(path) != hashes[name]:
            found.append(f"{path}: its hash is not the one in manifest.json")
    return found


def _against(folder: Path, names: Set[str], sources: Sources) -> list[str]:
    """Hold the copies in an entry, of these names, to the runs' own files, and the hashes in these to weights and
    predictions. What is missing of the copies is a line, whatever it is."""
    found = []
    originals = sources.files()
    for name in sorted(originals.keys() | names):
        original, copy = originals.get(name), folder / name
        if not copy.is_file():
            found.append(f"{folder}: {quoted(name, 100)} is missing")
        elif original is None or not original.is_file():
            found.append(f"{copy}: the run has no such file")
        elif sha256_file(original) != sha256_file(copy):
            found.append(f"{copy}: is not the run's own, {original}")
    folders = [
        newest_checkpoint_folder(sources.run),
        *(path.parent for name, path in originals.items() if "/trials/" in name),
    ]
    for inside in dict.fromkeys(folders):
        kind = "checkpoint" if inside.parent.name == "checkpoints" else "trial"
        for name, known in read_manifest(inside, kind)["files"].items():
            path = inside / name
            if not path.is_file() or sha256_file(path) != known:
                found.append(f"{path}: its hash is not the one in manifest.json, or it is missing")
    try:
        _check_model(read_evidence(sources))
    except UserError as error:
        found.append(str(error).partition("\n")[0])
    return found


def _check_model(evidence: Evidence) -> None:
    """Raise UserError where the scores are of another model than the weights of the run, which are read."""
    fingerprint = open_pretrained_encoder(evidence.sources.run).fingerprint()
    for glue in evidence.glue.values():
        if glue.manifest["identity"]["model"] != fingerprint:
            raise UserError(
                f"{glue.folder}: scores of another model than the newest weights of {evidence.sources.run}; run "
                f"`bertsmith glue` on these, to another --out"
            )


def _replaceable(out: Path) -> list[str]:
    """Return the names of an earlier entry's files in `out`. Raises UserError where something else is there."""
    if not os.path.lexists(out):
        return []
    if out.is_dir() and folder_type(out) == "record":
        return [*read_manifest(out, "record")["files"], "manifest.json"]
    if not out.is_dir() or os.listdir(out):
        raise UserError(f"{out}: is there already, and is no entry of the record; choose another --out")
    return []
