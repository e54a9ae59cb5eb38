#!/bin/sh
# Draw the miniature's picture with curl alone: sh docs/examples/draw.sh http://127.0.0.1:8188 picture.png
set -eu
answer=$(printf '{"prompt": %s}' "$(cat workflows/api/davae_mini.json)" |
    curl --silent --fail-with-body -H 'Content-Type: application/json' -d @- "$1/prompt") || { echo "$answer"; exit 1; }
id=$(echo "$answer" | grep -o '"prompt_id": *"[^"]*"' | cut -d '"' -f 4)
until finished=$(curl --silent --fail "$1/history/$id") && echo "$finished" | grep -q '"status_str"'; do sleep 1; done
name=$(echo "$finished" | grep -o '"filename": *"[^"]*\.png"' | head -1 | cut -d '"' -f 4)
[ -n "$name" ] || { echo "$finished" | grep -o '"exception_message": *"[^"]*"'; exit 1; }
curl --silent --fail --output "$2" "$1/view?filename=$name&type=output"
