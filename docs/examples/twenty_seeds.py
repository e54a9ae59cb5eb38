"""Draw one prompt with twenty seeds: python docs/examples/twenty_seeds.py http://127.0.0.1:8188 FOLDER"""

import sys
from pathlib import Path

import comfyui_api as comfyui

server, folder = sys.argv[1], Path(sys.argv[2])
how_many = int(sys.argv[3]) if len(sys.argv) > 3 else 20
folder.mkdir(exist_ok=True)
graph = comfyui.read_workflow("workflows/api/davae_mini.json")
comfyui.inputs_of(graph, "Positive prompt")["text"] = (
    "a green star in the centre, on a white background"
)
queued = {}
for seed in range(how_many):
    comfyui.inputs_of(graph, "DA-VAE Sampler")["seed"] = seed
    queued[seed] = comfyui.queue(server, graph)
for seed, prompt in queued.items():
    for _, picture in comfyui.pictures(server, comfyui.wait(server, prompt)):
        (folder / f"seed_{seed:02d}.png").write_bytes(picture)
    print(f"seed {seed} is drawn, {how_many - seed - 1} to go")
