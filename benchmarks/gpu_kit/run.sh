#!/usr/bin/env bash
# Everything that waits for a GPU, in at most 8 minutes: `bash run.sh` in the folder that `make gpu-kit` made.
#
# Needs Linux, tar, xz and the Python that the kit was packed for, with PyTorch, numpy and Pillow; no network and no
# pip. PYTHON names the interpreter; SMALL=1 tries everything in little, on a CPU too. The parts come in order of value
# and each has a time of its own: what one has found by then is in results/, whatever becomes of it and of those after
# it, and results/table.md is written again after each.
set -u
cd "$(dirname "$0")" || exit 1
PYTHON=${PYTHON:-python3}
SMALL=${SMALL:-}
OUT=$PWD/results
LIMIT=465
PACKED_FOR=$(cat python.txt)
FOUND=$("$PYTHON" -c 'import sys, torch, numpy, PIL; print("%d.%d" % sys.version_info[:2])') || exit 1
if [ "$FOUND" != "$PACKED_FOR" ]; then
    echo "This kit is for Python $PACKED_FOR and $PYTHON is $FOUND: set PYTHON, or make KIT_PYTHON=$FOUND gpu-kit." >&2
    exit 1
fi
rm -rf "$OUT" miniature
mkdir -p "$OUT" site
tar xf project.tar.xz || exit 1
for wheel in wheels/*.whl; do
    "$PYTHON" -m zipfile -e "$wheel" site || exit 1
done
export COMFYUI_PATH=$PWD/comfyui PYTHONPATH=$PWD/project:$PWD/site HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
cd project || exit 1

# part NAME SECONDS COMMAND...: at most so long, and never beyond the whole's time.
part() {
    local name=$1 most=$2 left=$((LIMIT - SECONDS)) began=$SECONDS code=124
    shift 2
    [ "$left" -lt "$most" ] && most=$left
    if [ "$most" -gt 5 ]; then
        echo "$name (at most $most s) ..."
        timeout --kill-after=10 "$most" "$@" >"$OUT/$name.log" 2>&1
        code=$?
    fi
    echo "{\"name\": \"$name\", \"seconds\": $((SECONDS - began)), \"exit\": $code}" >>"$OUT/parts.jsonl"
    cp ../miniature/transformer/log.jsonl "$OUT/miniature.jsonl" 2>/dev/null
    "$PYTHON" -m benchmarks.gpu_kit.table "$OUT" >"$OUT/table.new" && mv "$OUT/table.new" "$OUT/table.md"
}

speed() { # speed NAME SECONDS PARTS_AND_OPTIONS...
    local name=$1 most=$2
    shift 2
    part "$name" "$most" "$PYTHON" -m benchmarks.speed --out "$OUT/$name.json" "$@"
}

slower=1 blocks=24 steps=30 little=() many=(--batches 4 10) scenes=400
if [ -n "$SMALL" ]; then
    slower=8 blocks=1 steps=3 little=(--sides 64 --blocks 1 --rounds 1) many=(--batches 2) scenes=16
    LIMIT=3600
fi
part tests $((40 * slower)) "$PYTHON" -m pytest -v -p no:cacheprovider --confcutdir=tests/cuda tests/cuda
part precision $((50 * slower)) "$PYTHON" -m benchmarks.precision --blocks "$blocks" --out "$OUT/precision.json"
speed pictures $((90 * slower)) --parts pictures --batches 1 --steps "$steps" --rounds 1 "${little[@]}"
speed batches $((90 * slower)) --parts pictures "${many[@]}" --steps 4 --rounds 1 "${little[@]}"
speed codec $((60 * slower)) --parts codec "${little[@]}"
speed training $((45 * slower)) --parts training --batches 1 4 "${little[@]}"
speed sampling $((45 * slower)) --parts sampling "${little[@]}"
# The one part that has no end of its own: what time is left.
changes=(scenes:training="$scenes" scenes:held_out=16 transformer:output.log_every=1 transformer:train.device=auto)
for cache in base base_val davae davae_val; do
    changes+=("cache_$cache:work.device=auto")
done
part miniature 180 "$PYTHON" -m training mini "$PWD/../miniature" --from-bundled-codec "${changes[@]/#/--set=}"
cat "$OUT/table.md"
