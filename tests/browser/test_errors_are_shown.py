"""The sentence of a node that failed, or that refused a value, stands in the page."""

from scripts.workflows.names import DRAW
from tests.comfyui import base_directory as files
from tests.comfyui.workflows import read


def drawing(**widgets):
    """The workflow of the miniature with some nodes' first widgets changed, by node type."""
    workflow = read(f"{DRAW}.json")
    for node in workflow["nodes"]:
        if node["type"] in widgets:
            node["widgets_values"][0] = widgets[node["type"]]
    return workflow


def test_what_a_node_says_when_it_fails_is_on_the_page(page, run_in_page):
    assert run_in_page(drawing(DAVAE_LoadVAE=files.TRUNCATED)) == "execution_error"
    page.get_by_text(f"vae/{files.TRUNCATED} is cut short").first.wait_for(timeout=10_000)
    assert page.locator(".p-toast").get_by_text("Load DA-VAE", exact=True).count() == 1


def test_what_a_node_says_of_a_wrong_value_is_on_the_page(page, run_in_page):
    assert run_in_page(drawing(DAVAE_EmptyLatent=250)) == "refused"
    page.get_by_text("cannot make a width of 250 pixels").first.wait_for(timeout=10_000)


def test_what_a_draft_that_was_not_asked_for_ends_in_is_on_the_page(page, run_in_page, request):
    # ComfyUI says it once: the same graph again is all in its cache.
    seed = 3000 + request.node.callspec.params["page"]
    assert run_in_page(drawing(DAVAE_Decode="full", DAVAE_Sampler=seed)) == "execution_error"
    page.get_by_text("makes no draft in the mode full").first.wait_for(timeout=10_000)
