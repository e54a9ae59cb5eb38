"""Draw with Comfy-Org's own client.

    COMFY_BASE_URL=http://127.0.0.1:8189 python docs/examples/official_client.py PNG SEED

`pip install comfy-sdk comfy-api-proxy`; `comfy-api-proxy run --comfyui http://127.0.0.1:8188` answers at that address.
"""

import sys

from comfy_sdk import Comfy, ComfyError

picture, seed = sys.argv[1:]
client = Comfy()
workflow = client.workflows.from_file("workflows/api/davae_mini.json")
ids = {node["_meta"]["title"]: number for number, node in workflow.json.items()}
workflow.set_input(
    ids["Positive prompt"], "text", "a yellow star in the centre, on a black background"
)
workflow.set_input(ids["DA-VAE Sampler"], "seed", int(seed))
try:
    (drawn,) = client.run(workflow).get_outputs(ids["Save Image"])
except ComfyError as error:
    # Our own sentences are in the details of what was refused.
    sys.exit(f"{error}: {error.details}")
drawn.to_file(picture)
