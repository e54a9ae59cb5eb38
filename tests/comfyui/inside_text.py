"""The miniature text encoder inside a real ComfyUI process (process.py starts it):

python inside_text.py PACK FILE EXPECTED ANSWERS

PACK is this repository, FILE a text encoder, EXPECTED a safetensors file of what davae_core made of its prompts
(tokens, context, pooled; the prompts are JSON in its metadata). ANSWERS becomes a JSON file. Nothing here decides what
is right: tests/nodes/test_text_encoder_inside_comfyui.py does.
"""

import json
import sys
from pathlib import Path
from typing import Any

import inside_pack

PACK, FILE, EXPECTED, ANSWERS = (Path(argument) for argument in sys.argv[1:])
inside_pack.start(PACK)
largest = inside_pack.largest

import torch  # noqa: E402
from safetensors import safe_open  # noqa: E402


def compare(clip: Any) -> list[dict[str, Any]]:
    """ComfyUI's tokens, context and pooled vector of each prompt beside davae_core's."""
    with safe_open(EXPECTED, framework="pt") as file:
        prompts = json.loads(file.metadata()["prompts"])
        tokens, context, pooled = (file.get_tensor(n) for n in ("tokens", "context", "pooled"))
    return [
        compare_one(clip, prompt, *wanted)
        for prompt, *wanted in zip(prompts, tokens, context, pooled, strict=True)
    ]


def compare_one(
    clip: Any, prompt: str, tokens: torch.Tensor, context: torch.Tensor, pooled: torch.Tensor
) -> dict[str, Any]:
    found = clip.tokenize(prompt)
    ((states, extra),) = clip.encode_from_tokens_scheduled(found)
    return {
        "prompt": prompt,
        "tokens": [token for token, _ in found["l"][0]] == tokens.tolist(),
        "shapes": [list(states.shape), list(extra["pooled_output"].shape)],
        "context": largest(states[0] - context),
        "pooled": largest(extra["pooled_output"][0] - pooled),
        "size": largest(context),
    }


def copied(clip: Any) -> dict[str, Any]:
    """What ComfyUI does to copy a text encoder that came from a file."""
    factory, arguments = clip.patcher.cached_patcher_init
    again = factory(*arguments, disable_dynamic=True)
    before, after = clip.patcher.model.state_dict(), again.model.state_dict()
    return {
        "other_object": again.model is not clip.patcher.model,
        "equal": all(torch.equal(before[name], after[name]) for name in before),
    }


if __name__ == "__main__":
    # ComfyUI runs nodes under inference mode.
    with torch.inference_mode():
        clip = inside_pack.part("nodes.compat.text").load_text_encoder(FILE)
        answers = {
            "prompts": compare(clip),
            "copied": copied(clip),
            "parameters": sum(p.numel() for p in clip.cond_stage_model.parameters()),
        }
    ANSWERS.write_text(json.dumps(answers, indent=1))
