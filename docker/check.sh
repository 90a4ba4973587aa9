#!/usr/bin/env bash
# Builds the Dockerfile without a Docker engine and runs the story in it: prepare, pretrain, fine-tune, on a toy.
#
# Needs root on Debian or Ubuntu, and their package mirrors; installs buildah and debootstrap where they are missing.
# The base is a Debian that debootstrap makes, kept for the next time in $XDG_CACHE_HOME/bertsmith (by default
# ~/.cache/bertsmith). Everything else lies in a temporary folder (5 GB), removed at the end. TORCH_INDEX is handed on.
set -Eeuo pipefail
trap 'echo "docker-check failed in line $LINENO: $BASH_COMMAND" >&2' ERR
cd "$(dirname "$0")/.."

SUITE=bookworm # the oldest Debian with Python 3.11
BASE_TAR=${XDG_CACHE_HOME:-$HOME/.cache}/bertsmith/debian-$SUITE.tar
WORK=$(mktemp --directory --tmpdir bertsmith-docker-check.XXXXXX)
trap 'rm --recursive --force --one-file-system "$WORK"' EXIT

say() { printf '\n[%4d s] %s\n' "$SECONDS" "$*"; }
image_tool() { buildah --storage-driver vfs --root "$WORK/storage" --runroot "$WORK/run" "$@"; }

install_tools() {
    if [ "$(id -u)" != 0 ]; then
        echo "docker-check needs root: buildah's chroot isolation mounts and changes users" >&2
        exit 1
    fi
    if ! command -v buildah >/dev/null || ! command -v debootstrap >/dev/null; then
        say "installing buildah and debootstrap"
        apt-get update --quiet=2
        DEBIAN_FRONTEND=noninteractive \
            apt-get install --quiet=2 --yes --no-install-recommends buildah debootstrap >/dev/null
    fi
}

make_base() {
    if [ ! -f "$BASE_TAR" ]; then
        say "making a Debian $SUITE base, kept as $BASE_TAR"
        debootstrap --variant=minbase "$SUITE" "$WORK/base" >"$WORK/debootstrap.log" \
            || { tail "$WORK/debootstrap.log"; exit 1; }
        rm -rf "$WORK"/base/var/cache/apt/archives/*.deb
        mkdir --parents "$(dirname "$BASE_TAR")"
        tar --create --directory "$WORK/base" --file "$BASE_TAR.partial" .
        mv "$BASE_TAR.partial" "$BASE_TAR"
        rm --recursive --force "$WORK/base"
    fi
    say "importing the base"
    local container
    container=$(image_tool from scratch)
    image_tool add --quiet "$container" "$BASE_TAR" / >/dev/null
    image_tool commit --quiet --rm "$container" debian-base >/dev/null
}

# The build finds the packages that this machine's pip finds: its settings go in as /etc/pip.conf, and the folders and
# files that they name (wheels, indexes, a `constraint` file, a certificate) as read-only mounts; nothing of it stays in
# the image.
pip_volumes() {
    local key values value place
    echo "[global]" >"$WORK/pip.conf"
    echo "--volume=$WORK/pip.conf:/etc/pip.conf:ro"
    # Lines :env:.find-links='…' and global.find-links='…'; the environment comes first, and wins as it does in pip.
    python3 -m pip config list | sed -nE "s/^(:env:|global)\.([a-z-]+)='(.*)'$/\2 \3/p" | awk '!seen[$1]++' \
        | while read -r key values; do
            if [ "$key" = cert ]; then # not in its own place, which a package inside writes
                echo "--volume=$values:/etc/pip-cert.pem:ro"
                values=/etc/pip-cert.pem
            fi
            echo "$key = $values" >>"$WORK/pip.conf"
            for value in $values; do
                case $value in
                    file://*) place=$(dirname "${value#file://}") ;; # an index: its files lie beside it
                    *) place=$value ;;
                esac
                case $place in /*) [ ! -e "$place" ] || echo "--volume=$place:$place:ro" ;; esac
            done
        done | awk '!seen[$0]++'
}

build() {
    say "building the image"
    mapfile -t volumes < <(pip_volumes)
    image_tool build --isolation chroot "${volumes[@]}" --build-arg BASE_IMAGE=localhost/debian-base \
        --build-arg TORCH_INDEX="${TORCH_INDEX:-}" --tag bertsmith . >"$WORK/build.log" 2>&1 \
        || { tail --lines 60 "$WORK/build.log"; exit 1; }
}

# In a container of the image, as the user that the image names.
inside() { image_tool run --isolation chroot --volume "$WORK/data:/data" "$CONTAINER" "$@"; }

write_toys() {
    cat >"$WORK/data/toys.py" <<'PYTHON'
import random
from itertools import islice
from pathlib import Path

from bertsmith.text.docstrings import documents

texts = [" ".join(text.split()) for _, text in islice(documents(["python"]), 2000)]
Path("corpus").mkdir()
for number, text in enumerate(texts):
    Path(f"corpus/{number:04}.txt").write_text(text + "\n", encoding="utf-8")

Path("task").mkdir()
shuffle = random.Random(0)
for name, part in (("train", texts[:200]), ("dev", texts[200:250])):
    rows = ["sentence\tlabel"]
    for text in part:
        words = text.split()[:20]
        rows.append(" ".join(words).replace('"', "") + "\t1")
        shuffle.shuffle(words)
        rows.append(" ".join(words).replace('"', "") + "\t0")
    Path(f"task/{name}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
PYTHON
    inside python toys.py
    inside ls corpus | tail --lines 1
}

run_story() {
    CONTAINER=$(image_tool from localhost/bertsmith)
    install --directory --mode 1777 "$WORK/data"

    say "the image"
    image_tool inspect --format 'user {{.OCIv1.Config.User}}, entry point {{.OCIv1.Config.Entrypoint}}{{println}}' "$CONTAINER"
    [ "$(inside id --user --name)" = bertsmith ]
    inside bertsmith --version
    inside bertsmith doctor

    say "as any other user: HOME, compile cache, compiler and headers"
    image_tool run --isolation chroot --user 12345:12345 "$CONTAINER" python -c \
        'import torch; print(torch.compile(lambda x: x.sin() + 1)(torch.zeros(3)))'

    say "prepare"
    write_toys
    inside bertsmith tokenizer text corpus=corpus size=2000 --out tokenizer
    inside bertsmith prepare text corpus=corpus vocab=tokenizer workers=1 --out tokens
    say "pretrain"
    inside bertsmith pretrain bert-tiny data=tokens plan.steps=20 --out runs/tiny
    say "finetune"
    inside bertsmith finetune custom model=runs/tiny data=task seeds=1 --out runs/task
    test -s "$WORK/data/runs/task/results.json"
    [ "$(stat --format %U "$WORK/data/runs/task/results.json")" != root ]
}

install_tools
make_base
build
run_story
say "passed"
