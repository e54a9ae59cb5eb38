"""Send a photograph through the codec: python docs/examples/photograph.py http://127.0.0.1:8188 PICTURE REBUILT"""

import sys
from pathlib import Path

import comfyui_api as comfyui

server, picture, rebuilt = sys.argv[1:]
graph = comfyui.read_workflow("workflows/api/davae_reconstruct.json")
comfyui.inputs_of(graph, "Load Image")["image"] = comfyui.upload(server, picture)
try:
    outputs = comfyui.wait(server, comfyui.queue(server, graph))
except comfyui.Failed as error:
    sys.exit(str(error))
((_, png),) = comfyui.pictures(server, outputs)
Path(rebuilt).write_bytes(png)
