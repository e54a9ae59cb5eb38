#!/usr/bin/env bash
# Everything that waits for a GPU, in at most 8 minutes: `bash run.sh` in the folder that `make gpu-kit` made.
#
# Needs Linux, Python with PyTorch, torchvision, numpy and Pillow, tar and xz; no network and no pip. PYTHON names
# another interpreter; SMALL=1 tries it all in little, on a CPU too. The parts come in order of value and each has a
# time of its own: what one has found by then is in results/, whatever becomes of it and of those after it.
set -u
cd "$(dirname "$0")" || exit 1
PYTHON=${PYTHON:-python3}
SMALL=${SMALL:-}
OUT=$PWD/results
LIMIT=465
mkdir -p "$OUT" site
rm -f "$OUT"/*
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
        timeout --kill-after=5 "$most" "$@" >"$OUT/$name.log" 2>&1
        code=$?
    fi
    echo "{\"name\": \"$name\", \"seconds\": $((SECONDS - began)), \"exit\": $code}" >>"$OUT/parts.jsonl"
}

speed() { # speed NAME SECONDS PARTS_AND_OPTIONS...
    local name=$1 most=$2
    shift 2
    part "$name" "$most" "$PYTHON" -m benchmarks.speed --out "$OUT/$name.json" "$@"
}

little=() blocks=24 scenes=400 training=170
if [ -n "$SMALL" ]; then
    little=(--sides 64 --batches 1 --blocks 1 --rounds 1) blocks=1 scenes=16 training=40
    LIMIT=3600
    slower=8
fi
time=${slower:-1}
part precision $((50 * time)) "$PYTHON" -m benchmarks.precision --blocks "$blocks" --out "$OUT/precision.json"
speed pictures $((100 * time)) --parts pictures --steps 8 --rounds 1 "${little[@]}"
speed codec $((60 * time)) --parts codec "${little[@]}"
speed training $((45 * time)) --parts training "${little[@]}"
part miniature "$training" "$PYTHON" -m training mini "$PWD/../miniature" --from-bundled-codec \
    --set scenes:training="$scenes" --set scenes:held_out=16 --set transformer:train.device=auto \
    --set transformer:output.log_every=1
cp ../miniature/transformer/log.jsonl "$OUT/miniature.jsonl" 2>/dev/null
speed sampling 45 --parts sampling "${little[@]}"
"$PYTHON" -m benchmarks.gpu_kit.table "$OUT" | tee "$OUT/table.md"
